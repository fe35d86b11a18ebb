//! How an owner shares an input between the parties, and how a receiver puts a result together.
//!
//! That is all of a protocol that somebody needs who takes no part in it. So it builds without the rest of
//! this crate, and for wasm32. The engines deal and reconstruct by the same functions; [`Sharing`] names
//! those protocols whose owner needs to know nothing of the parties, and can share an input before there is
//! a session.

use crate::Error;
use serde::{Deserialize, Serialize};
use subrosa_core::{Prg, RingWidth, Seed};
use subrosa_net::{EndpointId, PeerFault, Session};
use subrosa_ring::{Ring, Word, Z32, Z48, Z64, mask, pack, packed_len, sign_extend, unpack};

/// Bytes of a seed on the wire.
pub(crate) const SEED_BYTES: usize = 32;

/// A protocol in which an owner shares an input on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sharing {
    /// `rep3`: a seed, what the input lacks of its stream, and nothing.
    Rep3,
    /// `rep3-malicious`: three pieces, of which each party gets two.
    Rep3Malicious,
    /// `rep4`: the same, and nothing for the helper.
    Rep4,
}

/// Evaluates `$body` with `$r` naming the ring.
macro_rules! over {
    ($ring:expr, $r:ident => $body:expr) => {
        match $ring {
            RingWidth::W32 => {
                type $r = Z32;
                $body
            }
            RingWidth::W48 => {
                type $r = Z48;
                $body
            }
            RingWidth::W64 => {
                type $r = Z64;
                $body
            }
        }
    };
}

impl Sharing {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Rep3, Self::Rep3Malicious, Self::Rep4];

    /// The protocol's name, as `--via` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rep3 => "rep3",
            Self::Rep3Malicious => "rep3-malicious",
            Self::Rep4 => "rep4",
        }
    }

    /// How many parties there are.
    pub const fn parties(self) -> usize {
        match self {
            Self::Rep3 | Self::Rep3Malicious => 3,
            Self::Rep4 => 4,
        }
    }

    /// Length of the message to each party that gets one, for an input of `n` elements.
    pub fn input_bytes(self, ring: RingWidth, n: usize) -> Vec<usize> {
        let words = packed_len(n, ring.bits());
        match self {
            Self::Rep3 => vec![SEED_BYTES, words, 0],
            Self::Rep3Malicious | Self::Rep4 => pieces_bytes(words)[..HELPER].to_vec(),
        }
    }

    /// Length of the message from each party that sends one, for a result of `n` elements.
    pub fn opening_bytes(self, ring: RingWidth, n: usize) -> Vec<usize> {
        let words = packed_len(n, ring.bits());
        match self {
            Self::Rep3 => vec![words; 3],
            Self::Rep3Malicious | Self::Rep4 => vec![words + DIGEST; HELPER],
        }
    }

    /// The messages that share `secret`, in the parties' order.
    ///
    /// **Errors:** [`Error::Entropy`].
    pub fn deal(self, ring: RingWidth, secret: &[i64]) -> Result<Vec<Vec<u8>>, Error> {
        over!(ring, R => {
            let words: Vec<<R as Ring>::Word> = secret.iter().map(|&v| Word::from_i64(v)).collect();
            match self {
                Self::Rep3 => {
                    let mut messages = deal_added::<R>(self.name(), 2, &words)?;
                    messages.push(Vec::new());
                    Ok(messages)
                }
                Self::Rep3Malicious | Self::Rep4 => deal_pieces::<R>(self.name(), &words),
            }
        })
    }

    /// The result of `n` elements, from messages of the right lengths in the parties' order.
    ///
    /// **Errors:** [`Contradiction`], of protocols that detect a party that deviates.
    pub fn open(self, ring: RingWidth, n: usize, messages: &[Vec<u8>]) -> Result<Vec<i64>, Contradiction> {
        over!(ring, R => {
            let words = match self {
                Self::Rep3 => open_added::<R>(n, messages),
                Self::Rep3Malicious | Self::Rep4 => open_pieces::<R>(n, messages)?,
            };
            Ok(words.into_iter().map(|w| sign_extend(w, ring.bits())).collect())
        })
    }

    /// Whether two parties are dealt something in common, so that an owner can deal inconsistently.
    pub const fn overlaps(self) -> bool {
        match self {
            Self::Rep3 => false,
            Self::Rep3Malicious | Self::Rep4 => true,
        }
    }

    /// What a party's message for `n` elements has in common with another party's, if its owner follows the
    /// protocol. Empty where that is nothing.
    pub fn common(self, ring: RingWidth, party: usize, other: usize, n: usize, message: &[u8]) -> &[u8] {
        let held = |party: usize| HELD[..HELPER].get(party).copied().filter(|_| self.overlaps()).unwrap_or_default();
        let len = |piece: usize| if piece == WORDS { packed_len(n, ring.bits()) } else { SEED_BYTES };
        let mut at = 0;
        for &piece in held(party) {
            if party != other && held(other).contains(&piece) {
                return message.get(at..at + len(piece)).unwrap_or_default();
            }
            at += len(piece);
        }
        &[]
    }

    /// What a party makes of its message: the sum of what it stands for, `n` words whose low bits are
    /// random to whoever has no other message. Empty for an empty message.
    pub fn stands_for(self, ring: RingWidth, party: usize, n: usize, message: &[u8]) -> Vec<u64> {
        over!(ring, R => {
            let pieces: Vec<Vec<<R as Ring>::Word>> = match self {
                Self::Rep3 if party == 0 => message.first_chunk().map(|seed| expand(self.name(), seed, n)).into_iter().collect(),
                Self::Rep3 if party == 1 => vec![unpack(message, ring.bits(), n)],
                Self::Rep3 => vec![],
                Self::Rep3Malicious | Self::Rep4 => read_pieces::<R>(self.name(), party, n, message),
            };
            let sum = pieces.into_iter().reduce(|sum, piece| sum.iter().zip(piece).map(|(&x, y)| x.add(y)).collect());
            sum.unwrap_or_default().into_iter().map(|w| w.to_u64() & mask(ring.bits())).collect()
        })
    }
}

/// What one party sent is not what another vouches for: one of the two deviates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Who sent it.
    pub sender: EndpointId,
    /// Who vouches for something else.
    pub by: EndpointId,
}

impl Contradiction {
    /// Ends `session` with the error that names both.
    pub fn accuse(self, session: &mut Session) -> Error {
        let by = session.names().get(self.by).cloned().unwrap_or_default();
        Error::Peer(session.accuse(self.sender, PeerFault::Contradicted { by }))
    }
}

/// What a dealt seed stands for. A fresh seed a vector.
pub(crate) fn expand<W: Word>(name: &str, seed: &[u8; SEED_BYTES], n: usize) -> Vec<W> {
    words(&mut Seed::from_bytes(*seed).stream(&format!("{name} deal")), n)
}

/// Messages that add up: the streams of fresh seeds, and last what these lack.
pub(crate) fn deal_added<R: Ring>(name: &str, parties: usize, secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
    let (mut last, mut messages) = (secret.to_vec(), Vec::new());
    for _ in 1..parties {
        let seed = Seed::random()?;
        sub_from(&mut last, &expand(name, seed.expose(), secret.len()));
        messages.push(seed.expose().to_vec());
    }
    messages.push(pack(&last, R::WIDTH.bits()));
    Ok(messages)
}

/// The sum of all messages.
pub(crate) fn open_added<R: Ring>(n: usize, messages: &[Vec<u8>]) -> Vec<R::Word> {
    let mut sum = vec![R::Word::default(); n];
    messages.iter().for_each(|m| add_into(&mut sum, &unpack(m, R::WIDTH.bits(), n)));
    sum
}

/// The party that holds all masks, where there is one, and gets no part of an input.
pub(crate) const HELPER: usize = 3;

/// The pieces that each party holds, in the order in which vectors of pieces are kept: at
/// parties 0 to 2 first the piece that the party sends to whoever lacks it, then the one
/// that it vouches for.
pub(crate) const HELD: [&[usize]; 4] = [&[2, 1], &[0, 2], &[1, 0], &[0, 1, 2]];

/// The piece of an input that is dealt as words, the others being seeds.
const WORDS: usize = 2;

pub(crate) fn next(party: usize) -> usize {
    (party + 1) % 3
}

pub(crate) fn previous(party: usize) -> usize {
    (party + 2) % 3
}

/// Lengths of a data owner's messages, where what is dealt as words takes `words` bytes.
pub(crate) fn pieces_bytes(words: usize) -> [usize; 4] {
    let of = |piece: &usize| if *piece == WORDS { words } else { SEED_BYTES };
    HELD.map(|held| held.iter().map(of).sum())
}

/// Two pieces are the streams of fresh seeds, the third is what these lack.
pub(crate) fn deal_pieces<R: Ring>(name: &str, secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
    let seeds = [Seed::random()?, Seed::random()?];
    let mut last = secret.to_vec();
    seeds.iter().for_each(|seed| sub_from(&mut last, &expand(name, seed.expose(), secret.len())));
    let last = pack(&last, R::WIDTH.bits());
    let piece = |piece: usize| seeds.get(piece).map_or(last.as_slice(), |seed| seed.expose().as_slice());
    Ok(HELD[..HELPER].iter().map(|held| held.iter().flat_map(|&p| piece(p).iter().copied()).collect()).collect())
}

/// The pieces of what an owner shares, from its message to party `me`.
pub(crate) fn read_pieces<R: Ring>(name: &str, me: usize, n: usize, message: &[u8]) -> Vec<Vec<R::Word>> {
    let (bits, mut rest) = (R::WIDTH.bits(), message);
    let mut pieces = Vec::new();
    for &piece in HELD.get(me).copied().unwrap_or_default() {
        let len = if piece == WORDS { packed_len(n, bits) } else { SEED_BYTES };
        let (now, later) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        rest = later;
        pieces.push(match piece {
            WORDS => unpack(now, bits, n),
            _ => now.first_chunk().map_or_else(Vec::new, |seed| expand(name, seed, n)),
        });
    }
    pieces
}

/// Bytes of a digest. Masks come from seeds of which a cheater may choose its part last, so it can
/// try parts until two of its messages collide: it takes resistance against collisions at
/// 128 bits.
pub(crate) const DIGEST: usize = 32;

/// What a party sends that vouches for `message`: whoever sends something else needs another
/// message of the same digest, as the honest voucher computes the right one by itself.
pub(crate) fn digest(message: &[u8]) -> [u8; DIGEST] {
    blake3::derive_key("subrosa 2026-11 vouching", message)
}

/// The sum of three pieces, each sent by one party and vouched for by another.
///
/// **Errors:** [`Contradiction`].
pub(crate) fn open_pieces<R: Ring>(n: usize, messages: &[Vec<u8>]) -> Result<Vec<R::Word>, Contradiction> {
    let k = R::WIDTH.bits();
    let split = |party: usize| {
        let message = messages.get(party).map_or(&[] as &[u8], Vec::as_slice);
        message.split_at_checked(packed_len(n, k)).unwrap_or((&[], &[]))
    };
    let mut sum = vec![R::Word::default(); n];
    for piece in 0..HELPER {
        let (sender, by) = (next(piece), previous(piece));
        let (sent, vouched) = (split(sender).0, split(by).1);
        if n > 0 && digest(sent) != vouched {
            return Err(Contradiction { sender, by });
        }
        add_into(&mut sum, &unpack(sent, k, n));
    }
    Ok(sum)
}

/// Equal parts of a vector, each packed by itself, one after another.
pub(crate) fn pack_parts<W: Word>(x: &[W], parts: usize, bits: u32) -> Vec<u8> {
    let n = x.len().checked_div(parts).unwrap_or(0).max(1);
    x.chunks(n).flat_map(|part| pack(part, bits)).collect()
}

/// The next `n` random words of a stream.
pub(crate) fn words<W: Word>(prg: &mut Prg, n: usize) -> Vec<W> {
    narrow_words(prg, n, W::BITS)
}

/// The next `n` random words of `bits` bits.
pub(crate) fn narrow_words<W: Word>(prg: &mut Prg, n: usize, bits: u32) -> Vec<W> {
    // Whole words are drawn: cheaper than unpacking narrow ones.
    let low = mask(bits);
    let words: Vec<W> = match W::BITS {
        32 => prg.u32s(n).into_iter().map(|v| W::from_u64(u64::from(v) & low)).collect(),
        _ => prg.u64s(n).into_iter().map(|v| W::from_u64(v & low)).collect(),
    };
    #[cfg(all(test, feature = "parties"))]
    let words = crate::masked::leak_tests::flattened(prg, bits, words);
    words
}

/// `x += y`, elementwise.
pub(crate) fn add_into<W: Word>(x: &mut [W], y: &[W]) {
    x.iter_mut().zip(y).for_each(|(x, &y)| *x = x.add(y));
}

/// `x -= y`, elementwise.
pub(crate) fn sub_from<W: Word>(x: &mut [W], y: &[W]) {
    x.iter_mut().zip(y).for_each(|(x, &y)| *x = x.sub(y));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parties_have_one_piece_in_common() {
        let secret = [5, -6, 7];
        for sharing in Sharing::ALL {
            let messages = sharing.deal(RingWidth::W48, &secret).unwrap();
            let common = |a: usize, b: usize| {
                let message = messages.get(a).map_or(&[] as &[u8], Vec::as_slice);
                sharing.common(RingWidth::W48, a, b, 3, message).to_vec()
            };
            let mut pieces = Vec::new();
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                assert_eq!(common(a, b), common(b, a), "{sharing:?}");
                assert_eq!(common(a, b).is_empty(), !sharing.overlaps());
                pieces.push(common(a, b));
            }
            assert!(!sharing.overlaps() || pieces[0] != pieces[1] && pieces[1] != pieces[2]);
            assert!(common(0, 3).is_empty() && common(3, 1).is_empty() && common(1, 1).is_empty());
        }
    }

    #[test]
    fn what_is_dealt_has_the_lengths_and_adds_up() {
        let secret = [0, 1, -1, 123_456, -654_321, i64::from(i32::MAX), i64::from(i32::MIN)];
        for sharing in Sharing::ALL {
            for ring in RingWidth::ALL {
                let messages = sharing.deal(ring, &secret).unwrap();
                let lens: Vec<usize> = messages.iter().map(Vec::len).collect();
                assert_eq!(lens, sharing.input_bytes(ring, secret.len()), "{sharing:?} {ring}");
                // Pieces: of three, each party has two, so all parties' sums have each piece twice.
                let mut sum = vec![0u64; secret.len()];
                for (party, message) in messages.iter().enumerate().filter(|(_, m)| !m.is_empty()) {
                    let part = sharing.stands_for(ring, party, secret.len(), message);
                    sum.iter_mut().zip(part).for_each(|(x, y)| *x = x.wrapping_add(y));
                }
                let times = if sharing == Sharing::Rep3 { 1 } else { 2 };
                let expected: Vec<u64> = secret.iter().map(|&v| (times * v) as u64 & mask(ring.bits())).collect();
                let sum: Vec<u64> = sum.into_iter().map(|v| v & mask(ring.bits())).collect();
                assert_eq!(sum, expected, "{sharing:?} {ring}");
            }
        }
    }
}
