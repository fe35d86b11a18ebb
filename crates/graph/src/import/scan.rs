//! Bounds what decoding a protobuf will allocate, before it is decoded.
//!
//! An empty message takes two bytes in a file and hundreds in memory, so a hostile file
//! could ask for a few hundred times its size. Entries are counted first; real models
//! have few of them for their size.

/// Bytes that one entry may take once decoded: the largest message (an attribute).
const ENTRY: usize = 640;
/// Memory for entries that is always granted.
const GRANT: usize = 1 << 26;
/// Memory for entries granted for each byte of the file.
const PER_BYTE: usize = 8;

/// Whether the entries of a model file would take far more memory than the file.
pub(crate) fn is_bloated(bytes: &[u8]) -> bool {
    let mut left = (GRANT + bytes.len().saturating_mul(PER_BYTE)) / ENTRY;
    !count(bytes, Message::Model, 0, &mut left)
}

/// The messages that contain repeated entries.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    ValueInfo,
    Other,
}

impl Message {
    /// What a length-delimited field of this message contains. Field numbers as in
    /// `onnx.proto`; `None` for strings, bytes and packed numbers.
    fn field(self, number: u64) -> Option<Self> {
        match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Graph, 11..=13) => Some(Self::ValueInfo),
            (Self::Model, 8 | 14 | 20 | 25) | (Self::Graph, 5 | 14 | 15) | (Self::Attribute, 5 | 10 | 14 | 15) => {
                Some(Self::Other)
            }
            (Self::ValueInfo, 2) => Some(Self::Other),
            _ => None,
        }
    }
}

/// Nesting that is followed; the decoder has its own limit.
const MAX_DEPTH: usize = 32;

/// Counts entries down from `left`; false once there are none left. A malformed file ends
/// the count: the decoder will refuse it at that byte.
fn count(mut bytes: &[u8], message: Message, depth: usize, left: &mut usize) -> bool {
    while let Some((number, content)) = next_field(&mut bytes) {
        let Some(content) = content else { continue };
        let Some(less) = left.checked_sub(1) else { return false };
        *left = less;
        if let Some(inner) = message.field(number)
            && depth < MAX_DEPTH
            && !count(content, inner, depth + 1, left)
        {
            return false;
        }
    }
    true
}

/// The next field's number, and its content if it has a length.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let tag = varint(bytes)?;
    let skip = match tag & 7 {
        0 => return varint(bytes).map(|_| (tag >> 3, None)),
        1 => 8,
        5 => 4,
        2 => usize::try_from(varint(bytes)?).ok()?,
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(skip)?;
    *bytes = rest;
    Some((tag >> 3, (tag & 7 == 2).then_some(content)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * i).min(63);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model whose graph (field 7) holds `n` empty nodes (field 1).
    fn empty_nodes(n: usize) -> Vec<u8> {
        let mut graph = [0x0a, 0x00].repeat(n);
        let mut bytes = vec![0x3a];
        let mut length = graph.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.append(&mut graph);
        bytes
    }

    #[test]
    fn empty_entries_are_counted() {
        assert!(!is_bloated(&empty_nodes(1000)));
        assert!(is_bloated(&empty_nodes(1 << 20)));
        assert!(!is_bloated(&[0xff; 100]));
        assert!(!is_bloated(&[]));
    }
}
