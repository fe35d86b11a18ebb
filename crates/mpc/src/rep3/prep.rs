//! Preprocessing of `rep3`: what truncations and comparisons consume.
//!
//! Party 2 ("the dealer of masks", no outsider: it holds shares like the others) knows the
//! masks `r` under which values are opened to parties 0 and 1; it never sees an opened
//! value. Random bits in both forms (daBits) are opened against by all three, so nobody
//! knows them.
//!
//! - **Truncation** of `n` elements by `f`, in Z_2^k: random parts `y_0`, `y_2` from the
//!   streams of slots 0 and 2; with `rho = r >> f`, `m = msb(r)`,
//!   `T(mu) = (1 - mu) m 2^(k-f) - rho - y_0 - y_2 - 2^(k-2-f)`. `T(0)` and `T(1)` agree in
//!   their low `k - f` bits, which party 2 sends; of the high `f` bits it sends both
//!   versions, each under a key known to the *other* of parties 0 and 1. Online they give
//!   each other the key of the version that the opened value selects: a three-party
//!   oblivious transfer (ABY3 2018/403, section 5.4.1) of one version.
//! - **Comparison** of `width` bits: mask bits from the streams of slots 0 and 2, their
//!   monomials (see [`super::groups`]) dealt to party 1.
//! - **daBits**: [`super::dabits`].
//!
//! All of a batch takes two rounds.

use super::dabits::{DaBits, HalfDaBits};
use super::groups::{dealt_monomials, groups, products};
use super::share::{xor_into, zip};
use super::streams::{Streams, narrow_words, plane, planes, words};
use super::{Rep3, mask};
use crate::Error;
use crate::protocol::Primitive;
use std::collections::VecDeque;
use subrosa_core::Cost;
use subrosa_net::EndpointId;
use subrosa_ring::bits::{planes_from_bytes, planes_to_bytes};
use subrosa_ring::{BitPlanes, Ring, Word, pack, packed_len, unpack};
use zeroize::Zeroize;

/// What one primitive consumes: any part may be absent.
pub(super) struct Material<W: Word> {
    /// The sizes it was made for: a primitive of other sizes must not consume it (a mask
    /// narrower than the value it hides would show the rest).
    need: Need,
    pub(super) trunc: Option<TruncMaterial<W>>,
    pub(super) compare: Option<CompareMaterial>,
    /// The mask `r`, at party 2 only: `k` bits for a truncation, else the compared width.
    pub(super) mask: Vec<W>,
    pub(super) dabits: Option<DaBits<W>>,
}

/// One truncation's material, by party.
pub(super) enum TruncMaterial<W: Word> {
    /// At parties 0 and 1.
    Evaluator {
        /// `y_0` (party 0) or `y_2` (party 1).
        y: Vec<W>,
        /// `T` modulo 2^(k-f).
        low: Vec<W>,
        /// High bits of `T(0)` and `T(1)`, each under the other evaluator's key.
        locked: [Vec<W>; 2],
        /// The keys that unlock the *other* evaluator's versions.
        keys: [Vec<W>; 2],
    },
    /// At party 2: `y_2`, `y_0` (its slots in order).
    Dealer {
        /// Slot 2.
        y_2: Vec<W>,
        /// Slot 0.
        y_0: Vec<W>,
    },
}

/// One comparison's material at parties 0 and 1 (party 2 keeps nothing but the mask).
pub(super) struct CompareMaterial {
    /// This party's part of the mask's bits, `width` planes.
    pub(super) bits: Vec<Vec<u64>>,
    /// This party's parts of the dealt monomials, group by group.
    pub(super) monomials: Vec<Vec<Vec<u64>>>,
}

/// What a primitive needs, in sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    n: usize,
    shift: Option<u32>,
    width: Option<u32>,
}

// Preprocessing is wiped when it was used, or when a batch is given up.

impl<W: Word> Drop for Material<W> {
    fn drop(&mut self) {
        self.mask.zeroize();
    }
}

impl<W: Word> Drop for TruncMaterial<W> {
    fn drop(&mut self) {
        match self {
            Self::Evaluator { y, low, locked, keys } => {
                y.zeroize();
                low.zeroize();
                locked.zeroize();
                keys.zeroize();
            }
            Self::Dealer { y_2, y_0 } => {
                y_2.zeroize();
                y_0.zeroize();
            }
        }
    }
}

impl Drop for CompareMaterial {
    fn drop(&mut self) {
        self.bits.zeroize();
        self.monomials.zeroize();
    }
}

impl<W: Word> Material<W> {
    /// Whether it was made for `primitive`.
    pub(super) fn is_for(&self, primitive: &Primitive) -> bool {
        Need::of(primitive) == Some(self.need)
    }
}

impl Need {
    /// `None` for primitives that consume nothing.
    fn of(primitive: &Primitive) -> Option<Self> {
        let (n, shift, width) = match *primitive {
            Primitive::Trunc { n, shift, .. } => (n, Some(shift), None),
            Primitive::TruncRelu { n, shift, width, .. } => (n, Some(shift), Some(width)),
            Primitive::Relu { n, width } | Primitive::Ltz { n, width } => (n, None, Some(width)),
            Primitive::Input { .. }
            | Primitive::OpenTo { .. }
            | Primitive::Mul { .. }
            | Primitive::MatMul { .. }
            | Primitive::Conv { .. }
            | Primitive::Reshare { .. } => return None,
        };
        (n > 0).then_some(Self { n, shift, width })
    }

    /// Bytes party 2 sends to each of parties 0 and 1 for a truncation.
    fn trunc_bytes(&self, k: u32) -> usize {
        self.shift.map_or(0, |f| packed_len(self.n, k - f) + 2 * packed_len(self.n, f))
    }

    /// Bytes party 2 sends to party 1 for a comparison.
    fn monomial_bytes(&self) -> usize {
        let count: usize = self.width.map_or(0, |w| groups(w).into_iter().map(dealt_monomials).sum());
        count * self.n.div_ceil(8)
    }

    /// Bytes of one ring element for each daBit.
    fn dabit_bytes(&self, k: u32) -> usize {
        self.width.map_or(0, |_| packed_len(self.n, k))
    }
}

/// Payload sizes of the two rounds' messages for all needs together.
struct Sizes {
    /// Party 2 to party 0, round one.
    to_0: usize,
    /// Party 2 to party 1, round one.
    to_1: usize,
    /// Party 0 to party 1 in round one; each way between 1 and 2 in round two.
    dabits: usize,
}

impl Sizes {
    fn of(needs: &[Need], k: u32) -> Self {
        let trunc: usize = needs.iter().map(|n| n.trunc_bytes(k)).sum();
        Self {
            to_0: trunc,
            to_1: trunc + needs.iter().map(Need::monomial_bytes).sum::<usize>(),
            dabits: needs.iter().map(|n| n.dabit_bytes(k)).sum(),
        }
    }
}

/// Declared cost of [`prepare`].
pub(super) fn cost(demand: &[Primitive], k: u32) -> Cost {
    let needs: Vec<Need> = demand.iter().filter_map(Need::of).collect();
    let sizes = Sizes::of(&needs, k);
    let sent = |sizes: &[usize]| Cost::round(sizes.iter().filter(|&&s| s > 0).map(|&s| s as u64));
    match (needs.is_empty(), sizes.dabits) {
        (true, _) => Cost::FREE,
        (false, 0) => sent(&[sizes.to_0, sizes.to_1]),
        (false, d) => sent(&[sizes.to_0, sizes.to_1, d]) + sent(&[d, d]),
    }
}

/// About how many bytes a party keeps of all this.
pub(super) fn memory(demand: &[Primitive], k: u32) -> u64 {
    let word = k.next_power_of_two() as usize / 8;
    let each = |n: &Need| {
        let trunc = n.shift.map_or(0, |_| 6 * word * n.n);
        let compare = n.width.map_or(0, |w| (w as usize + 2) * n.n / 8 + 2 * word * n.n);
        (trunc + compare + n.monomial_bytes()) as u64
    };
    demand.iter().filter_map(Need::of).map(|n| each(&n)).sum()
}

/// Makes the material for `demand`, in order.
pub(super) fn prepare<R: Ring>(
    party: &mut Rep3<R>,
    demand: &[Primitive],
) -> Result<VecDeque<Material<R::Word>>, Error> {
    let needs: Vec<Need> = demand.iter().filter_map(Need::of).collect();
    if needs.is_empty() {
        return Ok(VecDeque::new());
    }
    let sizes = Sizes::of(&needs, R::WIDTH.bits());
    match party.me {
        0 => prepare_0(party, &needs, &sizes),
        1 => prepare_1(party, &needs, &sizes),
        _ => prepare_2(party, &needs, &sizes),
    }
}

fn prepare_0<R: Ring>(
    party: &mut Rep3<R>,
    needs: &[Need],
    sizes: &Sizes,
) -> Result<VecDeque<Material<R::Word>>, Error> {
    let k = R::WIDTH.bits();
    let (mut v_1, mut dabits) = (Vec::with_capacity(sizes.dabits), Vec::new());
    for need in needs {
        dabits.push(need.width.map(|_| DaBits::of_0(party, need.n, &mut v_1)));
    }
    let received = round(&mut party.session, vec![(1, v_1)], &[(2, sizes.to_0)])?;
    let mut dealt = Reader(received.first().map_or(&[], Vec::as_slice));
    if sizes.dabits > 0 {
        round(&mut party.session, vec![], &[])?;
    }
    let slot_0 = &mut party.a;
    Ok(needs
        .iter()
        .zip(dabits)
        .map(|(need, dabits)| Material {
            need: *need,
            trunc: need.shift.map(|f| evaluator_trunc(slot_0, need.n, k, f, &mut dealt)),
            compare: need.width.map(|w| CompareMaterial {
                bits: planes(&mut slot_0.compare_mask, w as usize, need.n),
                monomials: groups(w)
                    .into_iter()
                    .map(|g| planes(&mut slot_0.monomial, dealt_monomials(g), need.n))
                    .collect(),
            }),
            mask: Vec::new(),
            dabits,
        })
        .collect())
}

fn prepare_1<R: Ring>(
    party: &mut Rep3<R>,
    needs: &[Need],
    sizes: &Sizes,
) -> Result<VecDeque<Material<R::Word>>, Error> {
    let k = R::WIDTH.bits();
    let received = round(&mut party.session, vec![], &[(2, sizes.to_1), (0, sizes.dabits)])?;
    let mut received = received.iter().map(|m| Reader(m));
    let empty = Reader(&[]);
    let mut dealt = if sizes.to_1 > 0 { received.next().unwrap_or(empty) } else { empty };
    let mut shared = received.next().unwrap_or(empty);
    let (mut materials, mut halves, mut message) = (VecDeque::new(), Vec::new(), Vec::with_capacity(sizes.dabits));
    for need in needs {
        let slot_2 = &mut party.b;
        materials.push_back(Material {
            need: *need,
            trunc: need.shift.map(|f| evaluator_trunc(slot_2, need.n, k, f, &mut dealt)),
            compare: need.width.map(|w| CompareMaterial {
                bits: planes(&mut slot_2.compare_mask, w as usize, need.n),
                monomials: groups(w).into_iter().map(|g| dealt.planes(dealt_monomials(g), need.n)).collect(),
            }),
            mask: Vec::new(),
            dabits: None,
        });
        halves.push(need.width.map(|_| HalfDaBits::of_1(party, need.n, &mut shared, &mut message)));
    }
    if sizes.dabits > 0 {
        let received = round(&mut party.session, vec![(2, message)], &[(2, sizes.dabits)])?;
        finish_all(&mut materials, halves, received.first().map_or(&[], Vec::as_slice), k);
    }
    Ok(materials)
}

fn prepare_2<R: Ring>(
    party: &mut Rep3<R>,
    needs: &[Need],
    sizes: &Sizes,
) -> Result<VecDeque<Material<R::Word>>, Error> {
    let k = R::WIDTH.bits();
    let (mut to_0, mut to_1) = (Vec::with_capacity(sizes.to_0), Vec::with_capacity(sizes.to_1));
    let (mut materials, mut halves, mut message) = (VecDeque::new(), Vec::new(), Vec::with_capacity(sizes.dabits));
    for need in needs {
        let bits = need.width.map(|w| mask_bits(party, w as usize, need.n));
        let mask = mask_words(party, need, k, bits.as_deref());
        let trunc = need.shift.map(|f| deal_trunc(party, &mask, k, f, &mut to_0, &mut to_1));
        if let (Some(bits), Some(width)) = (&bits, need.width) {
            deal_monomials(party, bits, width, need.n, &mut to_1);
        }
        materials.push_back(Material { need: *need, trunc, compare: None, mask, dabits: None });
        halves.push(need.width.map(|_| HalfDaBits::of_2(party, need.n, &mut message)));
    }
    round(&mut party.session, vec![(0, to_0), (1, to_1)], &[])?;
    if sizes.dabits > 0 {
        let received = round(&mut party.session, vec![(1, message)], &[(1, sizes.dabits)])?;
        finish_all(&mut materials, halves, received.first().map_or(&[], Vec::as_slice), k);
    }
    Ok(materials)
}

/// Parties 1 and 2: completes the daBits with what the other sent, in order.
fn finish_all<W: Word>(
    materials: &mut VecDeque<Material<W>>,
    halves: Vec<Option<HalfDaBits<W>>>,
    received: &[u8],
    k: u32,
) {
    let mut theirs = Reader(received);
    for (material, half) in materials.iter_mut().zip(halves) {
        material.dabits = half.map(|half| half.finish(&mut theirs, k));
    }
}

/// At parties 0 and 1: reads what party 2 dealt for a truncation. `own` is the slot this
/// party shares with party 2: it holds `y` and the keys of the other evaluator's versions.
fn evaluator_trunc<W: Word>(own: &mut Streams, n: usize, k: u32, f: u32, dealt: &mut Reader<'_>) -> TruncMaterial<W> {
    TruncMaterial::Evaluator {
        y: words(&mut own.trunc_share, n),
        low: dealt.words(n, k - f),
        locked: [dealt.words(n, f), dealt.words(n, f)],
        keys: key_pair(own, n, f),
    }
}

/// Two keys of `f` bits an element.
fn key_pair<W: Word>(slot: &mut Streams, n: usize, f: u32) -> [Vec<W>; 2] {
    let mut key = || narrow_words(&mut slot.trunc_key, n, f);
    [key(), key()]
}

/// At party 2: the mask's bits for a comparison, the sum of two streams.
fn mask_bits<R: Ring>(party: &mut Rep3<R>, width: usize, n: usize) -> Vec<Vec<u64>> {
    // Party 2 holds slots 2 (`a`, with party 1) and 0 (`b`, with party 0).
    let mut bits = planes(&mut party.a.compare_mask, width, n);
    for (bit, other) in bits.iter_mut().zip(planes(&mut party.b.compare_mask, width, n)) {
        xor_into(bit, &other);
    }
    bits
}

/// At party 2: the mask `r`. Under a truncation its bits outside the compared window are
/// fresh and private.
fn mask_words<R: Ring>(party: &mut Rep3<R>, need: &Need, k: u32, bits: Option<&[Vec<u64>]>) -> Vec<R::Word> {
    let window: Option<Vec<R::Word>> =
        bits.map(|b| BitPlanes::from_plane_major(b.concat(), b.len(), need.n).to_words());
    match (need.shift, window) {
        (None, window) => window.unwrap_or_default(),
        (Some(_), None) => words::<R::Word>(&mut party.private, need.n).into_iter().map(|r| mask(r, k)).collect(),
        (Some(f), Some(window)) => {
            let inside = low_bits(need.width.unwrap_or(0)) << f;
            let fresh: Vec<R::Word> = words(&mut party.private, need.n);
            let join = |r: R::Word, w: R::Word| mask(R::Word::from_u64(r.to_u64() & !inside | w.to_u64() << f), k);
            zip(&fresh, &window, join)
        }
    }
}

/// At party 2: appends to the messages what parties 0 and 1 need to truncate under `r`.
fn deal_trunc<R: Ring>(
    party: &mut Rep3<R>,
    r: &[R::Word],
    k: u32,
    f: u32,
    to_0: &mut Vec<u8>,
    to_1: &mut Vec<u8>,
) -> TruncMaterial<R::Word> {
    let n = r.len();
    let y_2: Vec<R::Word> = words(&mut party.a.trunc_share, n);
    let y_0: Vec<R::Word> = words(&mut party.b.trunc_share, n);
    // Versions for party 0 are locked under keys of slot 2, those for party 1 under slot 0.
    let keys_for_0 = key_pair::<R::Word>(&mut party.a, n, f);
    let keys_for_1 = key_pair::<R::Word>(&mut party.b, n, f);
    let t_1: Vec<u64> = (0..n)
        .map(|i| {
            let rho = r[i].to_u64() >> f;
            let t = 0u64.wrapping_sub(rho).wrapping_sub(y_0[i].to_u64()).wrapping_sub(y_2[i].to_u64());
            t.wrapping_sub(1 << (k - 2 - f))
        })
        .collect();
    let low: Vec<R::Word> = t_1.iter().map(|&t| R::Word::from_u64(t & low_bits(k - f))).collect();
    let high = |wrap: bool| -> Vec<u64> {
        let correction = |r: &R::Word| if wrap { r.to_u64() >> (k - 1) } else { 0 };
        t_1.iter().zip(r).map(|(t, r)| (t >> (k - f)).wrapping_add(correction(r)) & low_bits(f)).collect()
    };
    let versions = [high(true), high(false)];
    for (message, keys) in [(to_0, keys_for_0), (to_1, keys_for_1)] {
        message.extend(pack(&low, k - f));
        for (version, key) in versions.iter().zip(&keys) {
            let locked = zip(version, key, |v, key: R::Word| R::Word::from_u64(v ^ key.to_u64()));
            message.extend(pack(&locked, f));
        }
    }
    TruncMaterial::Dealer { y_2, y_0 }
}

/// At party 2: appends party 1's parts of the mask's monomials; party 0's are in its
/// stream.
fn deal_monomials<R: Ring>(party: &mut Rep3<R>, bits: &[Vec<u64>], width: u32, n: usize, to_1: &mut Vec<u8>) {
    let mut rest = bits;
    for group in groups(width) {
        let (now, later) = rest.split_at(group);
        rest = later;
        for mut monomial in products(now) {
            xor_into(&mut monomial, &plane(&mut party.b.monomial, n));
            to_1.extend(planes_to_bytes(&[&monomial], n));
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

/// `bits` ones.
pub(super) const fn low_bits(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Reads packed vectors one after another from a message whose length was checked.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn take(&mut self, len: usize) -> &[u8] {
        let (now, rest) = self.0.split_at_checked(len).unwrap_or((&[], &[]));
        self.0 = rest;
        now
    }

    /// The next `n` words of `bits` bits.
    pub(super) fn words<W: Word>(&mut self, n: usize, bits: u32) -> Vec<W> {
        unpack(self.take(packed_len(n, bits)), bits, n)
    }

    /// The next `count` bit planes of `n` bits.
    pub(super) fn planes(&mut self, count: usize, n: usize) -> Vec<Vec<u64>> {
        let planes = planes_from_bytes(self.take(count * n.div_ceil(8)), count, n);
        planes.planes().map(<[u64]>::to_vec).collect()
    }
}
