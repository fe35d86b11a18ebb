//! What party 2 deals in the preprocessing, and the masks that all draw.
//!
//! The preprocessing is a run of the program without its inputs: each primitive draws the
//! masks of its results, computes what depends on masks only, and leaves [`Material`] for
//! its turn online. Party 2, who knows every mask, deals functions of them: to parties 0
//! and 1 as two additive parts, party 0's from a stream of slot 0, party 1's sent. All of a
//! batch is two messages, one each to parties 0 and 1: one round. Nothing is sent to party
//! 2, in the preprocessing or online.

use super::compare::{self, CompareMaterial};
use super::share::{add_into, sub_from, zip};
use super::streams::{narrow_words, planes, words};
use super::{Rep3, compare::dealt_planes};
use crate::Error;
use crate::protocol::{Form, Primitive};
use std::sync::Arc;
use subrosa_core::Cost;
use subrosa_net::EndpointId;
use subrosa_ring::bits::{plane_bytes, plane_words, planes_from_bytes, planes_to_bytes, xor_assign};
use subrosa_ring::{Ring, Word, pack, packed_len, unpack};
use zeroize::Zeroize;

/// What a party is doing.
pub(super) enum Stage {
    /// Nothing is prepared.
    Setup,
    /// Preprocessing.
    Offline(Dealing),
    /// Consuming the material.
    Online,
}

/// Party 2's messages: written by it, read by the others.
pub(super) struct Dealing {
    /// At party 2: to parties 0 and 1.
    pub(super) to: [Vec<u8>; 2],
    /// At parties 0 and 1.
    received: Vec<u8>,
    read: usize,
}

/// What one primitive consumes at one party.
pub(super) struct Material<W: Word> {
    /// The call it was made for: any other must not consume it (a mask narrower than the
    /// value it hides would show the rest).
    pub(super) call: Primitive,
    pub(super) parts: Parts<W>,
}

/// The parts of [`Material`]; what a primitive does not need is empty.
#[derive(Default)]
pub(super) struct Parts<W> {
    /// What is added to a product's online part before it is opened. At party 2: the part
    /// of a result that it sends to the receiver.
    pub(super) offset: Vec<W>,
    /// The masks of two factors, neither known before.
    pub(super) factors: [Option<Arc<Vec<W>>>; 2],
    pub(super) compare: Option<CompareMaterial>,
    /// Part of the sign's mask in the ring.
    pub(super) slope: Vec<W>,
    /// What is added where the masked sign is 0, and where it is 1: the new mask included.
    pub(super) base: [Vec<W>; 2],
    /// The same, where the truncated value did not wrap around.
    pub(super) wrap: [Vec<W>; 2],
}

// Wiped when it was used, or when a batch is given up.
impl<W: Word> Drop for Material<W> {
    fn drop(&mut self) {
        let Parts { offset, factors, compare: _, slope, base, wrap } = &mut self.parts;
        offset.zeroize();
        slope.zeroize();
        [base, wrap].into_iter().for_each(Zeroize::zeroize);
        factors.iter_mut().flatten().filter_map(Arc::get_mut).for_each(Zeroize::zeroize);
    }
}

impl Dealing {
    /// At parties 0 and 1: to be read.
    pub(super) fn of(received: Vec<u8>) -> Self {
        Self { to: Default::default(), received, read: 0 }
    }

    /// At party 2: to be written, messages of these lengths.
    pub(super) fn with_capacity(lens: [usize; 2]) -> Self {
        Self { to: lens.map(Vec::with_capacity), received: Vec::new(), read: 0 }
    }

    /// The next `len` bytes of what was dealt; their number was checked.
    fn take(&mut self, len: usize) -> &[u8] {
        let start = self.read;
        self.read += len;
        self.received.get(start..start + len).unwrap_or(&[])
    }
}

impl<R: Ring> Rep3<R> {
    /// New masks of `n` words: this party's part, at party 2 the sum.
    pub(super) fn mask_words(&mut self, n: usize) -> Vec<R::Word> {
        match self.me {
            0 => words(&mut self.a.mask, n),
            1 => words(&mut self.b.mask, n),
            _ => {
                let mut sum = words(&mut self.a.mask, n);
                add_into(&mut sum, &words(&mut self.b.mask, n));
                sum
            }
        }
    }

    /// As [`Rep3::mask_words`], of `n` bits.
    pub(super) fn mask_plane(&mut self, n: usize) -> Vec<u64> {
        match self.me {
            0 => planes(&mut self.a.mask_bits, 1, n),
            1 => planes(&mut self.b.mask_bits, 1, n),
            _ => {
                let mut sum = planes(&mut self.a.mask_bits, 1, n);
                xor_assign(&mut sum, &planes(&mut self.b.mask_bits, 1, n));
                sum
            }
        }
    }

    /// Keeps material for its turn.
    pub(super) fn keep(&mut self, call: Primitive, parts: Parts<R::Word>) {
        self.material.push_back(Material { call, parts });
    }

    fn dealing(&mut self) -> Result<&mut Dealing, Error> {
        match &mut self.stage {
            Stage::Offline(dealing) => Ok(dealing),
            Stage::Setup | Stage::Online => Err(Error::Misuse("rep3: dealt outside of the preprocessing".into())),
        }
    }

    /// Additive parts modulo 2^bits of what party 2 knows: nothing is left at party 2.
    pub(super) fn deal_words(
        &mut self,
        n: usize,
        bits: u32,
        secret: Option<Vec<R::Word>>,
    ) -> Result<Vec<R::Word>, Error> {
        match (self.me, secret) {
            (0, _) => Ok(narrow_words(&mut self.a.dealt, n, bits)),
            (1, _) => Ok(unpack(self.dealing()?.take(packed_len(n, bits)), bits, n)),
            (_, secret) => {
                let mut part = secret.unwrap_or_default();
                sub_from(&mut part, &narrow_words(&mut self.b.dealt, n, bits));
                append(&mut self.dealing()?.to[1], &part, bits);
                Ok(Vec::new())
            }
        }
    }

    /// As [`Rep3::deal_words`], `count` planes of bits.
    pub(super) fn deal_planes(&mut self, n: usize, count: usize, secret: Option<Vec<u64>>) -> Result<Vec<u64>, Error> {
        match (self.me, secret) {
            (0, _) => Ok(planes(&mut self.a.dealt_bits, count, n)),
            (1, _) => {
                let bytes = self.dealing()?.take(count * plane_bytes(n));
                Ok(match n % 64 {
                    0 => bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect(),
                    _ => planes_from_bytes(bytes, count, n).words().to_vec(),
                })
            }
            (_, secret) => {
                let mut part = secret.unwrap_or_default();
                xor_assign(&mut part, &planes(&mut self.b.dealt_bits, count, n));
                let planes: Vec<&[u64]> = part.chunks_exact(plane_words(n).max(1)).collect();
                let bytes = planes_to_bytes(&planes, n);
                self.dealing()?.to[1].extend(bytes);
                Ok(Vec::new())
            }
        }
    }

    /// Splits party 2's part of a product between parties 0, who is sent its part, and 1.
    pub(super) fn split_product(&mut self, n: usize, z: Option<&[R::Word]>) -> Result<Vec<R::Word>, Error> {
        let k = R::WIDTH.bits();
        match self.me {
            0 => Ok(unpack(self.dealing()?.take(packed_len(n, k)), k, n)),
            1 => Ok(words(&mut self.b.product, n)),
            _ => {
                let theirs: Vec<R::Word> = words(&mut self.a.product, n);
                let zero = R::Word::default();
                let part: Vec<R::Word> = match z {
                    Some(z) => zip(z, &theirs, Word::sub),
                    None => theirs.iter().map(|&t| zero.sub(t)).collect(),
                };
                append(&mut self.dealing()?.to[0], &part, k);
                Ok(Vec::new())
            }
        }
    }

    /// Parties 0 and 1 send each other messages of one length. One round.
    pub(super) fn swap(&mut self, message: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (peer, len) = (1 - self.me.min(1), message.len());
        let received = round(&mut self.session, vec![(peer, message)], &[(peer, len)])?;
        Ok(received.into_iter().next().unwrap_or_default())
    }

    /// Parties 0 and 1 add their parts, which fresh masks hide. One round.
    pub(super) fn open(&mut self, mut part: Vec<R::Word>) -> Result<Vec<R::Word>, Error> {
        let k = R::WIDTH.bits();
        let received = self.swap(pack(&part, k))?;
        match k {
            32 => received.as_chunks().0.iter().zip(&mut part).for_each(|(&theirs, part)| {
                *part = part.add(R::Word::from_u64(u32::from_le_bytes(theirs).into()));
            }),
            _ => {
                let theirs: Vec<R::Word> = unpack(&received, k, part.len());
                add_into(&mut part, &theirs);
            }
        }
        Ok(part)
    }
}

/// Packs words behind what a message holds.
fn append<W: Word>(message: &mut Vec<u8>, words: &[W], bits: u32) {
    if bits != 32 {
        return message.extend(pack(words, bits));
    }
    let start = message.len();
    message.resize(start + 4 * words.len(), 0);
    for (bytes, word) in message[start..].as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = (word.to_u64() as u32).to_le_bytes();
    }
}

/// Bytes that party 2 sends to parties 0 and 1 for a primitive.
fn dealt_bytes(call: &Primitive, k: u32) -> [usize; 2] {
    let opened = |n: usize, form: Form| match form {
        Form::Share => 0,
        Form::Product => packed_len(n, k),
    };
    let signs = |n: usize, width: u32| dealt_planes(width) * plane_bytes(n);
    match *call {
        Primitive::Input { .. }
        | Primitive::OpenTo { .. }
        | Primitive::Mul { .. }
        | Primitive::MatMul { .. }
        | Primitive::Conv { .. } => [0, 0],
        Primitive::Trunc { n: 0, .. }
        | Primitive::Ltz { n: 0, .. }
        | Primitive::Relu { n: 0, .. }
        | Primitive::TruncRelu { n: 0, .. } => [0, 0],
        Primitive::Reshare { n } => [packed_len(n, k), 0],
        Primitive::Trunc { n, shift, form } => [opened(n, form), packed_len(n, k) + packed_len(n, shift)],
        Primitive::Ltz { n, width } => [0, signs(n, width) + packed_len(n, k)],
        Primitive::Relu { n, width } => [0, signs(n, width) + 2 * packed_len(n, k)],
        Primitive::TruncRelu { n, shift, width, form } => {
            [opened(n, form), signs(n, width) + 3 * packed_len(n, k) + 2 * packed_len(n, shift)]
        }
    }
}

/// The lengths of party 2's two messages for all of `demand`.
pub(super) fn message_bytes(demand: &[Primitive], k: u32) -> [usize; 2] {
    demand.iter().map(|call| dealt_bytes(call, k)).fold([0, 0], |sum, b| [sum[0] + b[0], sum[1] + b[1]])
}

/// Declared cost of the preprocessing.
pub(super) fn cost(demand: &[Primitive], k: u32) -> Cost {
    let sent: Vec<u64> = message_bytes(demand, k).into_iter().filter(|&b| b > 0).map(|b| b as u64).collect();
    if sent.is_empty() { Cost::FREE } else { Cost::round(sent) }
}

/// Declared online cost of a primitive.
pub(super) fn online_cost(call: &Primitive, k: u32, dealt_input: [u64; 3]) -> Cost {
    let packed = |n: usize| packed_len(n, k) as u64;
    let swapped = |n: usize| if n == 0 { Cost { rounds: 1, bytes: 0 } } else { Cost::messages(2, packed(n)) };
    let opened = |n: usize, form: Form| match form {
        Form::Share => Cost::FREE,
        Form::Product => swapped(n),
    };
    match *call {
        Primitive::Input { n } => Cost::round(dealt_input) + swapped(n),
        Primitive::OpenTo { n: 0 } => Cost { rounds: 1, bytes: 0 },
        Primitive::OpenTo { n } => Cost::messages(3, packed(n)),
        Primitive::Mul { .. } | Primitive::MatMul { .. } | Primitive::Conv { .. } => Cost::FREE,
        Primitive::Trunc { n: 0, .. }
        | Primitive::Ltz { n: 0, .. }
        | Primitive::Relu { n: 0, .. }
        | Primitive::TruncRelu { n: 0, .. } => Cost::FREE,
        Primitive::Reshare { n } => swapped(n),
        Primitive::Trunc { n, form, .. } => opened(n, form) + swapped(n),
        Primitive::Ltz { n, width } | Primitive::Relu { n, width } => compare::cost(n, width) + swapped(n),
        Primitive::TruncRelu { n, width, form, .. } => opened(n, form) + compare::cost(n, width) + swapped(n),
    }
}

/// About how many bytes a party keeps of what it prepared.
pub(super) fn memory(demand: &[Primitive], k: u32) -> u64 {
    let word = k.next_power_of_two() as u64 / 8;
    let words = |n: usize, count: u64| n as u64 * word * count;
    let opened = |form: Form| u64::from(form == Form::Product);
    let signs = |n: usize, width: u32| (n as u64 * (dealt_planes(width) as u64 + u64::from(width))) / 8;
    let each = |call: &Primitive| match *call {
        Primitive::Input { n } | Primitive::OpenTo { n } | Primitive::Reshare { n } => words(n, 1),
        Primitive::Mul { n } => words(n, 2),
        Primitive::MatMul { .. } | Primitive::Conv { .. } => 0,
        Primitive::Trunc { n, form, .. } => words(n, 2 + opened(form)),
        Primitive::Ltz { n, width } => signs(n, width) + words(n, 2),
        Primitive::Relu { n, width } => signs(n, width) + words(n, 3),
        Primitive::TruncRelu { n, width, form, .. } => signs(n, width) + words(n, 5 + opened(form)),
    };
    // The message is there while the material is made from it.
    demand.iter().map(each).sum::<u64>() + message_bytes(demand, k)[1] as u64
}

/// A round in which empty messages are neither sent nor expected.
pub(super) fn round(
    session: &mut subrosa_net::Session,
    sends: Vec<(EndpointId, Vec<u8>)>,
    receives: &[(EndpointId, usize)],
) -> Result<Vec<Vec<u8>>, Error> {
    let sends = sends.into_iter().filter(|(_, m)| !m.is_empty()).collect();
    let receives: Vec<_> = receives.iter().copied().filter(|&(_, len)| len > 0).collect();
    Ok(session.round(sends, &receives)?)
}
