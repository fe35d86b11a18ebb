//! The little of CBOR (RFC 8949) that Nitro documents use.
//!
//! Lengths are definite, integers fit in 64 bits, nothing is tagged but the whole; anything
//! else is refused. Nothing is copied, and nothing is allocated for a length that was only
//! announced.

/// CBOR being read, from the front.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

/// The head of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head<'a> {
    Unsigned(u64),
    /// -1 - n.
    Negative(u64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Array(u64),
    /// Pairs that follow.
    Map(u64),
    Tag(u64),
    Null,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next head; `None` for anything that such documents do not contain.
    pub(super) fn head(&mut self) -> Option<Head<'a>> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        if first == 0xf6 {
            return Some(Head::Null);
        }
        let argument = self.argument(first & 31)?;
        match first >> 5 {
            0 => Some(Head::Unsigned(argument)),
            1 => Some(Head::Negative(argument)),
            2 => self.take(argument).map(Head::Bytes),
            3 => self.take(argument).and_then(|b| std::str::from_utf8(b).ok()).map(Head::Text),
            4 => Some(Head::Array(argument)),
            5 => Some(Head::Map(argument)),
            6 => Some(Head::Tag(argument)),
            _ => None,
        }
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        match self.head()? {
            Head::Bytes(bytes) => Some(bytes),
            Head::Unsigned(_)
            | Head::Negative(_)
            | Head::Text(_)
            | Head::Array(_)
            | Head::Map(_)
            | Head::Tag(_)
            | Head::Null => None,
        }
    }

    /// Bytes, or null as an absent value.
    pub(super) fn bytes_or_null(&mut self) -> Option<Option<&'a [u8]>> {
        if let [0xf6, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(None);
        }
        self.bytes().map(Some)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number in or after the first byte, in its shortest form only.
    fn argument(&mut self, low: u8) -> Option<u64> {
        let (length, least) = match low {
            0..=23 => return Some(u64::from(low)),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 0),
            _ => return None,
        };
        let bytes = self.take(length)?;
        let number = bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        // The security module writes time stamps and lengths in full; only what would be a
        // second spelling of a one-byte number is refused.
        (number >= least).then_some(number)
    }

    fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        let (now, rest) = self.0.split_at_checked(usize::try_from(n).ok()?)?;
        self.0 = rest;
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_are_those_of_rfc_8949_appendix_a() {
        let head = |bytes: &'static [u8]| Reader::new(bytes).head();
        assert_eq!(head(&[0x17]), Some(Head::Unsigned(23)));
        assert_eq!(head(&[0x18, 0x18]), Some(Head::Unsigned(24)));
        assert_eq!(head(&[0x19, 0x03, 0xe8]), Some(Head::Unsigned(1000)));
        assert_eq!(head(&[0x1b, 0, 0, 0, 0xe8, 0xd4, 0xa5, 0x10, 0]), Some(Head::Unsigned(1_000_000_000_000)));
        assert_eq!(head(&[0x38, 0x63]), Some(Head::Negative(99)));
        assert_eq!(head(&[0x44, 1, 2, 3, 4]), Some(Head::Bytes(&[1, 2, 3, 4])));
        assert_eq!(head(b"\x64IETF"), Some(Head::Text("IETF")));
        assert_eq!(head(&[0x83]), Some(Head::Array(3)));
        assert_eq!(head(&[0xa2]), Some(Head::Map(2)));
        assert_eq!(head(&[0xd2]), Some(Head::Tag(18)));
        assert_eq!(head(&[0xf6]), Some(Head::Null));
    }

    #[test]
    fn what_documents_do_not_contain_is_refused() {
        for bytes in [
            &[][..],
            &[0x18, 0x17],       // a second spelling of 23
            &[0x5f],             // indefinite length
            &[0xbf],             // likewise
            &[0xf5],             // true
            &[0xfb, 0, 0, 0],    // a float
            &[0x44, 1, 2, 3],    // cut off
            &[0x62, 0xff, 0xff], // no UTF-8
            &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(Reader::new(bytes).head(), None, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_reading_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            for _ in 0..=bytes.len() {
                if reader.head().is_none() { return Ok(()) }
            }
            prop_assert!(reader.is_empty());
        }
    }
}
