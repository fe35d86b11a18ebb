//! How a payload's numbers lie in the words of a key.

use super::dcf::FIELDS;

/// The two highest bits of a level's last word correct the control bits of both children.
pub(super) const FLAGS: u64 = 3 << 62;

/// How a payload's numbers lie in words of 64 bits, [`FLAGS`] beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The first number alone, of at most 62 bits.
    One,
    /// The first number, of up to 64 bits.
    Alone,
    /// All three in two words: two of `k` bits, the third in what is left of both.
    Packed,
    /// All three, the last of at most 62 bits wherever there is a level.
    Wide,
}

impl Layout {
    /// Of a node's correction.
    pub(super) const fn words(self) -> usize {
        match self {
            Self::One => 1,
            Self::Alone | Self::Packed => 2,
            Self::Wide => 3,
        }
    }

    /// Of a leaf's correction.
    pub(super) const fn leaf_words(self) -> usize {
        match self {
            Self::One | Self::Alone => 1,
            Self::Packed => 2,
            Self::Wide => 3,
        }
    }
}

/// A [`Layout`] as a type, so that its loops are compiled for it.
pub(super) trait Fields {
    const LAYOUT: Layout;
    /// The numbers in these words; bits above a number's own are anything.
    fn split(words: [u64; FIELDS], k: u32) -> [u64; FIELDS];
    /// The words of these numbers, the last one's flags whatever they are.
    fn join(fields: [u64; FIELDS], k: u32) -> [u64; FIELDS];
}

pub(super) struct One;
pub(super) struct Alone;
pub(super) struct Packed;
pub(super) struct Wide;

impl Fields for One {
    const LAYOUT: Layout = Layout::One;
    #[inline(always)]
    fn split([p, _, _]: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        [p, 0, 0]
    }
    #[inline(always)]
    fn join(fields: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        fields
    }
}

impl Fields for Alone {
    const LAYOUT: Layout = Layout::Alone;
    // The second word holds flags, and no number: it is carried along so that all its bits are random.
    #[inline(always)]
    fn split([p, rest, _]: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        [p, 0, rest]
    }
    #[inline(always)]
    fn join([p, _, rest]: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        [p, rest, 0]
    }
}

impl Fields for Packed {
    const LAYOUT: Layout = Layout::Packed;
    #[inline(always)]
    fn split([p, q, _]: [u64; FIELDS], k: u32) -> [u64; FIELDS] {
        [p, q, p >> k | q >> k << (64 - k)]
    }
    #[inline(always)]
    fn join([p, q, c]: [u64; FIELDS], k: u32) -> [u64; FIELDS] {
        let low = (1 << k) - 1;
        [p & low | c << k, q & low | c >> (64 - k) << k, 0]
    }
}

impl Fields for Wide {
    const LAYOUT: Layout = Layout::Wide;
    #[inline(always)]
    fn split(words: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        words
    }
    #[inline(always)]
    fn join(fields: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        fields
    }
}
