//! What the dealer deals in the preprocessing, and the masks that all draw.
//!
//! The preprocessing is a run of the program without its inputs: each primitive draws the
//! masks of its results, computes what depends on masks only, and leaves [`Material`] for
//! its turn online. The dealer, who knows every mask, deals functions of them as additive
//! parts: all but one come from streams that it shares with their receivers, and the last,
//! the *correction*, is sent: those of products to party 0, all others to the last party.
//! So a batch is two messages and one round, whatever the number of parties. Nothing is sent
//! to the dealer, in the preprocessing or online.

use super::cast::{Cast, Gates};
use super::compare::{self, CompareMaterial, dealt_planes};
use super::keys::{self, Gate, Keys};
use super::streams::{Streams, planes};
use super::{Masked, SEED_BYTES};
use crate::Error;
use crate::protocol::{Form, Primitive};
use crate::sharing::{add_into, narrow_words, sub_from, words};
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

/// The dealer's messages: written by it, read by the others.
pub(super) struct Dealing {
    /// At the dealer: to party 0.
    pub(super) to_first: Vec<u8>,
    /// At the dealer: to the last computing party.
    pub(super) to_last: Vec<u8>,
    /// At the computing parties.
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
    /// What is added to a product's online part before it is opened. At the dealer: the part
    /// of a result that it sends to the receiver.
    pub(super) offset: Vec<W>,
    /// The masks of two factors, neither known before.
    pub(super) factors: [Option<Arc<Vec<W>>>; 2],
    pub(super) compare: Option<CompareMaterial>,
    /// The keys of comparisons.
    pub(super) keys: Option<Keys>,
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
        let Parts { offset, factors, compare: _, keys: _, slope, base, wrap } = &mut self.parts;
        offset.zeroize();
        slope.zeroize();
        [base, wrap].into_iter().for_each(Zeroize::zeroize);
        factors.iter_mut().flatten().filter_map(Arc::get_mut).for_each(Zeroize::zeroize);
    }
}

impl Dealing {
    /// At the computing parties: to be read.
    pub(super) fn of(received: Vec<u8>) -> Self {
        Self { to_first: Vec::new(), to_last: Vec::new(), received, read: 0 }
    }

    /// At the dealer: to be written, messages of these lengths.
    pub(super) fn with_capacity(lens: [usize; 2]) -> Self {
        let [to_first, to_last] = lens.map(Vec::with_capacity);
        Self { to_first, to_last, received: Vec::new(), read: 0 }
    }

    /// The next `len` bytes of what was dealt; their number was checked.
    fn take(&mut self, len: usize) -> &[u8] {
        let start = self.read;
        self.read += len;
        self.received.get(start..start + len).unwrap_or(&[])
    }
}

impl<R: Ring, C: Cast> Masked<R, C> {
    /// New masks of `n` words: this party's part, at the dealer the sum.
    pub(super) fn mask_words(&mut self, n: usize) -> Vec<R::Word> {
        let mut masks = self.streams.iter_mut().map(|streams| words(&mut streams.mask, n));
        let first = masks.next().unwrap_or_default();
        masks.fold(first, |mut sum, mask| {
            add_into(&mut sum, &mask);
            sum
        })
    }

    /// As [`Masked::mask_words`], of `n` bits.
    pub(super) fn mask_plane(&mut self, n: usize) -> Vec<u64> {
        let mut masks = self.streams.iter_mut().map(|streams| planes(&mut streams.mask_bits, 1, n));
        let first = masks.next().unwrap_or_default();
        masks.fold(first, |mut sum, mask| {
            xor_assign(&mut sum, &mask);
            sum
        })
    }

    /// Keeps material for its turn, which is all that was dealt for `call`.
    pub(super) fn keep(&mut self, call: Primitive, parts: Parts<R::Word>) -> Result<(), Error> {
        self.finish(call)?;
        self.store(call, parts);
        Ok(())
    }

    /// As [`Masked::keep`], where what was dealt is out already.
    pub(super) fn store(&mut self, call: Primitive, parts: Parts<R::Word>) {
        self.material.push_back(Material { call, parts });
    }

    fn dealing(&mut self) -> Result<&mut Dealing, Error> {
        match &mut self.stage {
            Stage::Offline(dealing) => Ok(dealing),
            Stage::Setup | Stage::Online => {
                Err(Error::Misuse(format!("{}: dealt outside of the preprocessing", C::NAME)))
            }
        }
    }

    /// Additive parts modulo 2^bits of what the dealer knows: nothing is left at the dealer.
    pub(super) fn deal_words(
        &mut self,
        n: usize,
        bits: u32,
        secret: Option<Vec<R::Word>>,
    ) -> Result<Vec<R::Word>, Error> {
        if self.is_dealer() {
            let mut part = secret.unwrap_or_default();
            for streams in self.streams.iter_mut().take(C::COMPUTING - 1) {
                sub_from(&mut part, &narrow_words(&mut streams.dealt, n, bits));
            }
            append(&mut self.dealing()?.to_last, &part, bits);
            return Ok(Vec::new());
        }
        match self.me == C::COMPUTING - 1 {
            true => Ok(unpack(self.dealing()?.take(packed_len(n, bits)), bits, n)),
            false => self.own(|streams| narrow_words(&mut streams.dealt, n, bits)),
        }
    }

    /// As [`Masked::deal_words`], `count` planes of bits.
    pub(super) fn deal_planes(&mut self, n: usize, count: usize, secret: Option<Vec<u64>>) -> Result<Vec<u64>, Error> {
        if self.is_dealer() {
            let mut part = secret.unwrap_or_default();
            for streams in self.streams.iter_mut().take(C::COMPUTING - 1) {
                xor_assign(&mut part, &planes(&mut streams.dealt_bits, count, n));
            }
            let planes: Vec<&[u64]> = part.chunks_exact(plane_words(n).max(1)).collect();
            let bytes = planes_to_bytes(&planes, n);
            self.dealing()?.to_last.extend(bytes);
            return Ok(Vec::new());
        }
        if self.me < C::COMPUTING - 1 {
            return self.own(|streams| planes(&mut streams.dealt_bits, count, n));
        }
        let bytes = self.dealing()?.take(count * plane_bytes(n));
        Ok(match n % 64 {
            0 => bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect(),
            _ => planes_from_bytes(bytes, count, n).words().to_vec(),
        })
    }

    /// Splits the dealer's part of a product among the computing parties. Here party 0 is the
    /// one who is sent its part.
    pub(super) fn split_product(&mut self, n: usize, z: Option<&[R::Word]>) -> Result<Vec<R::Word>, Error> {
        let k = R::WIDTH.bits();
        if self.is_dealer() {
            let mut part = z.map_or_else(|| vec![R::Word::default(); n], <[R::Word]>::to_vec);
            for streams in self.streams.iter_mut().skip(1) {
                sub_from(&mut part, &words(&mut streams.product, n));
            }
            append(&mut self.dealing()?.to_first, &part, k);
            return Ok(Vec::new());
        }
        match self.me {
            0 => Ok(unpack(self.dealing()?.take(packed_len(n, k)), k, n)),
            _ => self.own(|streams| words(&mut streams.product, n)),
        }
    }

    /// A draw from what a computing party shares with the dealer.
    fn own<T>(&mut self, draw: impl FnOnce(&mut Streams) -> T) -> Result<T, Error> {
        let missing = || Error::Misuse(format!("{}: a party has no streams", C::NAME));
        self.streams.first_mut().map(draw).ok_or_else(missing)
    }

    /// The computing parties send each other messages of one length. One round.
    pub(super) fn swap(&mut self, message: Vec<u8>) -> Result<Vec<Vec<u8>>, Error> {
        let others: Vec<EndpointId> = (0..C::COMPUTING).filter(|&p| p != self.me).collect();
        let receives: Vec<_> = others.iter().map(|&p| (p, message.len())).collect();
        let mut sends: Vec<_> = others.iter().skip(1).map(|&p| (p, message.clone())).collect();
        sends.extend(others.first().map(|&p| (p, message)));
        round(&mut self.session, sends, &receives)
    }

    /// The computing parties add their parts, which fresh masks hide. One round.
    pub(super) fn open(&mut self, mut part: Vec<R::Word>) -> Result<Vec<R::Word>, Error> {
        let k = R::WIDTH.bits();
        for received in self.swap(pack(&part, k))? {
            match k {
                32 => received.as_chunks().0.iter().zip(&mut part).for_each(|(&theirs, part)| {
                    *part = part.add(R::Word::from_u64(u32::from_le_bytes(theirs).into()));
                }),
                _ => {
                    let theirs: Vec<R::Word> = unpack(&received, k, part.len());
                    add_into(&mut part, &theirs);
                }
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

/// The comparison in a call, where comparisons have keys.
fn keyed<C: Cast>(call: &Primitive, k: u32) -> Option<Gate> {
    match C::GATES {
        Gates::Bits => None,
        Gates::Keys => Gate::of(call, k),
    }
}

/// Bytes that the dealer sends to the first and the last computing party for a primitive.
pub(super) fn dealt_bytes<C: Cast>(call: &Primitive, k: u32) -> [usize; 2] {
    let opened = |n: usize, form: Form| match form {
        Form::Share => 0,
        Form::Product => packed_len(n, k),
    };
    let signs = |n: usize, width: u32| dealt_planes(width) * plane_bytes(n);
    if let Some(gate) = keyed::<C>(call, k) {
        return [opened(gate.n, gate.source), gate.words * packed_len(gate.n, k)];
    }
    match *call {
        Primitive::OpenTo { parts, n } if !C::DEALER_OPENS => [packed_len(parts * n, k), 0],
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

/// How many parties send the receiver their parts of a result.
pub(super) fn openers<C: Cast>() -> usize {
    C::COMPUTING + usize::from(C::DEALER_OPENS)
}

/// The lengths of the dealer's two messages for all of `demand`.
pub(super) fn message_bytes<C: Cast>(demand: &[Primitive], k: u32) -> [usize; 2] {
    demand.iter().map(|call| dealt_bytes::<C>(call, k)).fold([0, 0], |sum, b| [sum[0] + b[0], sum[1] + b[1]])
}

/// Declared cost of the preprocessing.
pub(super) fn cost<C: Cast>(demand: &[Primitive], k: u32) -> Cost {
    let round = |messages: [usize; 2]| {
        let sent: Vec<u64> = messages.into_iter().filter(|&b| b > 0).map(|b| b as u64).collect();
        if sent.is_empty() { Cost::FREE } else { Cost::round(sent) }
    };
    // What the parties tell the owner of an input.
    let inputs = demand.iter().filter(|call| C::OWNER_MASKS && matches!(call, Primitive::Input { .. }));
    let dealt: Cost = match C::GATES {
        Gates::Bits => round(message_bytes::<C>(demand, k)),
        Gates::Keys => demand.iter().map(|call| round(dealt_bytes::<C>(call, k)) + keys::cost(call, k)).sum(),
    };
    dealt + inputs.map(|_| Cost::messages(C::COMPUTING as u64, SEED_BYTES as u64)).sum()
}

/// Declared online cost of a primitive.
pub(super) fn online_cost<C: Cast>(call: &Primitive, k: u32, dealt_input: &[u64]) -> Cost {
    let packed = |n: usize| packed_len(n, k) as u64;
    let swapped = |n: usize| {
        if n == 0 {
            Cost { rounds: 1, bytes: 0 }
        } else {
            Cost::messages((C::COMPUTING * (C::COMPUTING - 1)) as u64, packed(n))
        }
    };
    let opened = |n: usize, form: Form| match form {
        Form::Share => Cost::FREE,
        Form::Product => swapped(n),
    };
    if let Some(gate) = keyed::<C>(call, k) {
        return opened(gate.n, gate.source) + swapped(gate.n);
    }
    match *call {
        Primitive::Input { .. } if C::OWNER_MASKS => {
            Cost::round(dealt_input.iter().copied().filter(|&bytes| bytes > 0))
        }
        Primitive::Input { parts, n } => {
            Cost::round(dealt_input.iter().map(|bytes| bytes * parts as u64)) + swapped(parts * n)
        }
        Primitive::OpenTo { n: 0, .. } => Cost { rounds: 1, bytes: 0 },
        Primitive::OpenTo { parts, n } => Cost::messages(openers::<C>() as u64, packed(n) * parts as u64),
        Primitive::Mul { .. } | Primitive::MatMul { .. } | Primitive::Conv { .. } => Cost::FREE,
        Primitive::Trunc { n: 0, .. }
        | Primitive::Ltz { n: 0, .. }
        | Primitive::Relu { n: 0, .. }
        | Primitive::TruncRelu { n: 0, .. } => Cost::FREE,
        Primitive::Reshare { n } => swapped(n),
        Primitive::Trunc { n, form, .. } => opened(n, form) + swapped(n),
        Primitive::Ltz { n, width } | Primitive::Relu { n, width } => compare::cost::<C>(n, width) + swapped(n),
        Primitive::TruncRelu { n, width, form, .. } => opened(n, form) + compare::cost::<C>(n, width) + swapped(n),
    }
}

/// About how many bytes a party keeps of what it prepared.
pub(super) fn memory<C: Cast>(demand: &[Primitive], k: u32) -> u64 {
    let word = k.next_power_of_two() as u64 / 8;
    let words = |n: usize, count: u64| n as u64 * word * count;
    let opened = |form: Form| u64::from(form == Form::Product);
    let signs = |n: usize, width: u32| (n as u64 * (dealt_planes(width) as u64 + u64::from(width))) / 8;
    let each = |call: &Primitive| match *call {
        Primitive::Input { parts, n } | Primitive::OpenTo { parts, n } => words(parts * n, 1),
        Primitive::Reshare { n } => words(n, 1),
        Primitive::Mul { n } => words(n, 2),
        Primitive::MatMul { .. } | Primitive::Conv { .. } => 0,
        Primitive::Trunc { n, form, .. } => words(n, 2 + opened(form)),
        Primitive::Ltz { n, width } => signs(n, width) + words(n, 2),
        Primitive::Relu { n, width } => signs(n, width) + words(n, 3),
        Primitive::TruncRelu { n, width, form, .. } => signs(n, width) + words(n, 5 + opened(form)),
    };
    match C::GATES {
        // The message is there while the material is made from it.
        Gates::Bits => demand.iter().map(each).sum::<u64>() + message_bytes::<C>(demand, k)[1] as u64,
        Gates::Keys => {
            let beside = |call: &Primitive| match Gate::of(call, k) {
                Some(gate) => words(gate.n, gate.words as u64 + opened(gate.source)),
                None => each(call),
            };
            demand.iter().map(beside).sum::<u64>() + keys::memory(demand, k)
        }
    }
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
