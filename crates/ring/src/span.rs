//! What is known of the size of an operand's values.

use crate::word::{Ring, sign_extend};

/// Values that an operand is promised to lie among. A public or plain operand of few bits
/// takes fewer products of limbs in the tile unit; the shares of such a one are as wide as
/// any others. Vectors multiply whole words at the same rate whatever is in them (halves
/// take two products each, which is no gain), so there the promise changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of the ring.
    Full,
    /// `0..2^bits`.
    Unsigned {
        /// At least 1.
        bits: u32,
    },
    /// `-2^(bits - 1)..2^(bits - 1)`, modulo 2^k of the ring.
    Signed {
        /// At least 1.
        bits: u32,
    },
}

/// A value is not among those that were promised.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value does not fit the promised span {span:?}")]
pub struct OutsideSpan {
    /// What was promised.
    pub span: Span,
}

impl Span {
    /// Whether all `words` keep the promise. Takes the same time wherever one does not.
    pub(crate) fn check<R: Ring>(self, words: &[R::Word]) -> Result<(), OutsideSpan> {
        let width = R::WIDTH.bits();
        let fits = |word: R::Word| match self {
            Self::Full => true,
            Self::Unsigned { bits } => sign_extend(word, width) as u64 & crate::mask(width) & !crate::mask(bits) == 0,
            Self::Signed { bits } if bits >= width => true,
            Self::Signed { bits } => sign_extend(word, bits.max(1)) == sign_extend(word, width),
        };
        let all = words.iter().fold(true, |all, &word| all & fits(word));
        if all { Ok(()) } else { Err(OutsideSpan { span: self }) }
    }

    /// The span to work with: the promise, or all if that is as good.
    pub(crate) fn of<R: Ring>(self) -> Self {
        match self {
            Self::Unsigned { bits } | Self::Signed { bits } if bits.div_ceil(8) < R::WIDTH.bits() / 8 => self,
            Self::Full | Self::Unsigned { .. } | Self::Signed { .. } => Self::Full,
        }
    }

    /// Limbs of eight bits that a lifted value has.
    pub(crate) fn limbs<R: Ring>(self) -> usize {
        match self {
            Self::Full => R::WIDTH.bits() as usize / 8,
            Self::Unsigned { bits } | Self::Signed { bits } => bits.max(1).div_ceil(8) as usize,
        }
    }

    /// What to add to a value to make it unsigned.
    pub(crate) fn lift(self) -> u64 {
        match self {
            Self::Full | Self::Unsigned { .. } => 0,
            Self::Signed { bits } => 1 << (bits.max(1) - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::{Z32, Z48};

    #[test]
    fn promises_are_checked() {
        let signed = Span::Signed { bits: 8 };
        assert_eq!(signed.check::<Z32>(&[127, u32::MAX - 127, 0]), Ok(()));
        assert_eq!(signed.check::<Z32>(&[0, 128]), Err(OutsideSpan { span: signed }));
        // Bits above the ring's do not count.
        assert_eq!(signed.check::<Z48>(&[0xabcd_ffff_ffff_ff80]), Ok(()));
        assert_eq!(Span::Unsigned { bits: 9 }.check::<Z48>(&[0xabcd_0000_0000_01ff]), Ok(()));
        assert!(Span::Unsigned { bits: 9 }.check::<Z48>(&[0x200]).is_err());
        assert_eq!(Span::Full.check::<Z32>(&[u32::MAX]), Ok(()));
        assert!(Span::Unsigned { bits: 0 }.check::<Z32>(&[1]).is_err());
    }

    #[test]
    fn promises_that_do_not_help_are_forgotten() {
        assert_eq!(Span::Signed { bits: 25 }.of::<Z32>(), Span::Full);
        assert_eq!(Span::Signed { bits: 24 }.of::<Z32>().limbs::<Z32>(), 3);
        assert_eq!(Span::Unsigned { bits: 64 }.of::<Z48>().limbs::<Z48>(), 6);
    }
}
