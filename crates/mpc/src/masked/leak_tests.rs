//! Whether what a party, or a coalition, sees *together* says anything about a secret.
//!
//! Messages that look uniform one by one may still leak jointly: two ciphertexts under one
//! key, a bit opened without a zero share. So here everything that the watching parties know
//! beforehand (their streams, their input parts) is made *flat*: the same for all elements of a vector. What it then receives and sends must be distributed,
//! element by element, independently of the secret `x`, for whatever flat values. Tested
//! against bits of `x`, over [`N`] elements, in [`RUNS`] runs with other flat values:
//! parities of up to three bits that went over its links, and parities of up to three bits
//! of sums and differences of up to three words. The outside receiver is watched as well,
//! against what its result does not determine.
//!
//! This finds dependences; it does not prove that there are none. Not looked at: parities
//! of more bits; the middle bits of wide words; in large views, triples with two vectors of
//! the preprocessing and sums of three words.
//!
//! **Ring.** Z_2^32: the least that [`subrosa_core::RingWidth`] has, which production code
//! matches on, so that no toy ring can be added for tests only. Compared widths are small,
//! so their bits are all looked at (of `x`, up to 14); of words both ends are, and where a
//! truncation's top bits matter `x` covers the whole range.
//!
//! **False alarms.** Given independence, each test counts in how many of `n` elements a
//! uniform bit of `x` equals another bit, so by Hoeffding's inequality it is off by
//! [`DEVIATION`] `sqrt(n)` with probability at most `2 exp(-2 * 3.7^2) < 3e-12`. There are
//! fewer than 10^8 tests: at most 3e-4 for all together. Seeds are fixed, so that chance
//! is taken anew only when the protocol's draws change, never from run to run. Correlations
//! above 8 % are found almost surely, below 4 % hardly ever.
//!
//! **That it can fail** is tested by [`every_lost_mask_is_noticed`], mask by mask.

use super::compare::dealt_planes;
use super::groups::groups;
use super::keys::Gate;
use super::streams::Streams;
use super::{Cast, Gates, Masked, Product, Share};
use crate::Error;
use crate::beaver::WithDealer;
use crate::fss::{KeyDealer, LANES};
use crate::protocol::{Evaluator, Form, Primitive, Protocol, Source};
use crate::rep3::ThreeServers;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use subrosa_core::{Prg, Seed};
use subrosa_ring::{BitPlanes, Ring, Word, Z32, mask, sign_extend, unpack};

// --- The hook: streams that give every element of a vector the same value. ---

#[derive(Default)]
struct Flat {
    /// Where this thread's flat streams are in memory. A party stays where it is from the
    /// moment its streams are listed here, so an address names a stream, also after
    /// `prepare` derived it anew.
    regions: Vec<Range<usize>>,
    /// Vectors drawn so far from each.
    draws: HashMap<usize, usize>,
    run: usize,
}

thread_local! {
    static FLAT: RefCell<Flat> = RefCell::default();
}

/// Makes everything that this thread draws from streams inside `region` flat.
pub(crate) fn flatten<T>(region: &T) {
    let start = std::ptr::from_ref(region).addr();
    FLAT.with_borrow_mut(|flat| flat.regions.push(start..start + size_of::<T>()));
}

/// The number of the run that this thread's party is in.
pub(crate) fn flatten_run(run: usize) {
    FLAT.with_borrow_mut(|flat| flat.run = run);
}

/// `None` unless the stream is flat; else whether the next vector drawn from it is filled
/// with the complement of its first value. Over all [`RUNS`], any two of seven vectors in
/// a row from one stream are complemented in all four combinations (as rows of a Hadamard matrix), so that
/// no leak stays hidden behind a known bit that happens to be 0.
fn complement(prg: &Prg) -> Option<bool> {
    let address = std::ptr::from_ref(prg).addr();
    FLAT.with_borrow_mut(|flat| {
        flat.regions.iter().find(|region| region.contains(&address))?;
        let draw = flat.draws.entry(address).or_default();
        *draw += 1;
        Some((((*draw - 1) % (RUNS - 1) + 1) & flat.run).count_ones() % 2 == 1)
    })
}

/// What [`crate::sharing::words`] hands out instead of `words` of so many bits drawn from `prg`:
/// if the stream is flat, the first one for all, or its complement.
pub(crate) fn flattened<W: Word>(prg: &Prg, bits: u32, words: Vec<W>) -> Vec<W> {
    match complement(prg) {
        Some(complement) => {
            let first = words.first().map_or(0, |word| word.to_u64());
            let value = if complement { !first & mask(bits) } else { first };
            vec![W::from_u64(value); words.len()]
        }
        None => words,
    }
}

/// As [`flattened`], for words of other widths.
pub(crate) fn flattened_wide(prg: &Prg, mask: u128, words: Vec<u128>) -> Vec<u128> {
    match (complement(prg), words.first()) {
        (Some(complement), Some(&first)) => vec![if complement { !first & mask } else { first }; words.len()],
        (_, _) => words,
    }
}

/// As [`flattened`], for a bit plane.
pub(super) fn flatten_plane(prg: &Prg, plane: &mut [u64]) {
    if let Some(complement) = complement(prg) {
        let bit = plane.first().map_or(0, |first| first & 1) ^ u64::from(complement);
        plane.fill(bit.wrapping_neg());
    }
}

/// As [`flattened`], for the roots of keys, two words each.
pub(super) fn flatten_roots(prg: &Prg, words: &mut [u64]) {
    if complement(prg).is_some() {
        let first = words.first_chunk().copied().unwrap_or([0; 2]);
        words.as_chunks_mut().0.fill(first);
    }
}

// --- What is run. ---

/// Elements of a vector; whole words of every plane, whole bytes of every packed vector.
pub(crate) const N: usize = 1 << 14;
pub(crate) const K: u32 = Z32::WIDTH.bits();
pub(crate) const SHIFT: u32 = 3;

type Party<C> = Masked<Z32, C>;

type Body<C> = fn(&mut Party<C>, &Share<u32>) -> Result<Product<u32>, Error>;

/// One use of the protocol on a secret vector `x`, its result opened.
struct Case<C: Cast> {
    /// `x` is uniform over all values of so many signed bits.
    bits: u32,
    /// Told to `prepare`, and called in this order.
    calls: &'static [Primitive],
    body: Body<C>,
}

impl<C: Cast> Case<C> {
    const TRUNC: Self = Case {
        bits: K - 1,
        calls: &[Primitive::Trunc { n: N, shift: SHIFT, form: Form::Share }],
        body: |p, x| p.trunc(Source::Share(x), SHIFT).map(|y| p.to_product(&y)),
    };
    const TRUNC_SQUARE: Self = Case {
        bits: K / 2 - 1,
        calls: &[Primitive::Mul { n: N }, Primitive::Trunc { n: N, shift: SHIFT, form: Form::Product }],
        body: |p, x| {
            let square = p.mul(x, x)?;
            p.trunc(Source::Product(&square), SHIFT).map(|y| p.to_product(&y))
        },
    };
    /// A product that is a share with the parts spread, over the whole range.
    const TRUNC_PRODUCT: Self = Case {
        bits: K - 1,
        calls: &[Primitive::Mul { n: N }, Primitive::Trunc { n: N, shift: SHIFT, form: Form::Product }],
        body: |p, x| {
            let same = times_one(p, x)?;
            p.trunc(Source::Product(&same), SHIFT).map(|y| p.to_product(&y))
        },
    };
    const SQUARE: Self = Case {
        bits: K / 2 - 1,
        calls: &[Primitive::Mul { n: N }, Primitive::Reshare { n: N }],
        body: |p, x| {
            let square = p.mul(x, x)?;
            p.reshare(&square).map(|y| p.to_product(&y))
        },
    };
    /// By a weight, dealt before: parties 0 and 1 compute half of it in the preprocessing.
    const WEIGHTED: Self = Case {
        bits: K - 1,
        calls: &[Primitive::Mul { n: N }, Primitive::Trunc { n: N, shift: SHIFT, form: Form::Product }],
        body: |p, x| {
            // 1, masked with as many parts as there are.
            let part = |i: usize| 0x89ab_cdef_u32.wrapping_mul(2 * i as u32 + 1);
            let all = (0..C::COMPUTING).fold(0, |sum, i| part(i).wrapping_add(sum));
            let mask = if p.is_dealer() { all } else { part(p.me) };
            let one = Share::known(N, (!p.is_dealer()).then(|| vec![1u32.wrapping_sub(all); N]), vec![mask; N]);
            let same = p.mul(x, &one)?;
            p.trunc(Source::Product(&same), SHIFT).map(|y| p.to_product(&y))
        },
    };
    /// Opened as it is.
    const PRODUCT: Self = Case { bits: K / 2 - 1, calls: &[Primitive::Mul { n: N }], body: |p, x| p.mul(x, x) };
    /// One group of bits: no tree.
    const LTZ_5: Self = ltz_case::<C, 5>();
    /// Two groups: one level, its AND opened directly.
    const LTZ_7: Self = ltz_case::<C, 7>();
    /// Four groups: two levels, the first one reshared, equalities included.
    const LTZ_14: Self = ltz_case::<C, 14>();
    const RELU_5: Self = relu_case::<C, 5>();
    /// Three groups.
    const RELU_12: Self = relu_case::<C, 12>();
    const TRUNC_RELU_5: Self = Case {
        bits: 5 + SHIFT,
        calls: &[Primitive::TruncRelu { n: N, shift: SHIFT, width: 5, form: Form::Share }],
        body: |p, x| p.trunc_relu(Source::Share(x), SHIFT, 5).map(|y| p.to_product(&y)),
    };
    const TRUNC_RELU_12: Self = Case {
        bits: 12 + SHIFT,
        calls: &[Primitive::Mul { n: N }, Primitive::TruncRelu { n: N, shift: SHIFT, width: 12, form: Form::Product }],
        body: |p, x| {
            let same = times_one(p, x)?;
            p.trunc_relu(Source::Product(&same), SHIFT, 12).map(|y| p.to_product(&y))
        },
    };
}

const fn ltz_case<C: Cast, const WIDTH: u32>() -> Case<C> {
    Case {
        bits: WIDTH,
        calls: &[Primitive::Ltz { n: N, width: WIDTH }],
        body: |p, x| p.ltz(x, WIDTH).map(|y| p.to_product(&y)),
    }
}

const fn relu_case<C: Cast, const WIDTH: u32>() -> Case<C> {
    Case {
        bits: WIDTH,
        calls: &[Primitive::Relu { n: N, width: WIDTH }],
        body: |p, x| p.relu(x, WIDTH).map(|y| p.to_product(&y)),
    }
}

fn times_one<C: Cast>(p: &mut Party<C>, x: &Share<u32>) -> Result<Product<u32>, Error> {
    let ones = p.public(&vec![1; N]);
    p.mul(x, &ones)
}

// --- Who watches, and what is taken from the protocol to see whether they notice. ---

/// A mask whose loss the watcher has to notice.
#[derive(Clone, Copy)]
enum Lost {
    Nothing,
    /// One stream that a computing party shares with the dealer.
    Stream(usize, fn(&Streams) -> &Prg),
    /// What opened results are masked with.
    Openings,
}

/// Who watches: parties who put together what they see, or the receiver alone.
#[derive(Clone, Copy)]
enum Watcher {
    Parties(&'static [usize]),
    Receiver,
}

impl Watcher {
    fn has(self, party: usize) -> bool {
        match self {
            Self::Parties(parties) => parties.contains(&party),
            Self::Receiver => false,
        }
    }

    /// Whether it knows what computing party `of` shares with the dealer.
    fn knows<C: Cast>(self, of: usize) -> bool {
        self.has(of) || self.has(C::COMPUTING)
    }
}

/// All that `watcher` received and sent, element by element, while all that it knew
/// beforehand was flat; and the values `x` it should not learn.
fn watch<C: Cast>(case: &Case<C>, watcher: Watcher, lost: Lost, run: usize) -> (Vec<Field>, Vec<u32>) {
    let x: Vec<u32> =
        seed(run as u8).stream("x").u64s(N).into_iter().map(|v| sign_extend(v, case.bits) as u32).collect();
    let (parties, receiver_id) = (Party::<C>::PARTIES, Party::<C>::PARTIES);
    let names: Vec<String> = (0..=parties).map(|i| format!("endpoint {i}")).collect();
    let mut sessions = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut receiver = sessions.pop().unwrap();
    let sent: Vec<Vec<Vec<u8>>> = std::thread::scope(|scope| {
        let x = &x;
        let start = |session| scope.spawn(move || party(session, case, watcher, lost, run, x));
        let threads: Vec<_> = sessions.into_iter().map(start).collect();
        let parts: Vec<_> = (0..Party::<C>::ONLINE).map(|p| (p, Party::<C>::opening_bytes(N))).collect();
        receiver.round(vec![], &parts).unwrap();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    // What it sent follows from what it knew and received, so that is its own as well.
    let is_watched = |from: usize, to: usize| match watcher {
        Watcher::Parties(_) => to < parties && (watcher.has(from) || watcher.has(to)),
        Watcher::Receiver => to == receiver_id,
    };
    let links = (0..parties).flat_map(|from| (0..=parties).map(move |to| (from, to)));
    let links = links.filter(|&(from, to)| from != to && is_watched(from, to));
    let read = |(from, to): (usize, usize)| read(from, to, &layout::<C>(case.calls, from, to), &sent[from][to]);
    let mut fields: Vec<Field> = links.flat_map(read).collect();
    // The values that the computing parties open: everybody's message to a watching one, and
    // its own to another.
    if let Some(me) = (0..C::COMPUTING).find(|&p| watcher.has(p)) {
        let on = |from: usize| {
            let to = if from == me { (me + 1) % C::COMPUTING } else { me };
            fields.iter().filter(move |f| f.online && f.bits == K && f.name.starts_with(&format!("{from}->{to} ")))
        };
        let mut opened: Vec<Field> = on(0).zip(on(1)).map(|(a, b)| combine(a, b, '+')).collect();
        for from in 2..C::COMPUTING {
            opened = opened.iter().zip(on(from)).map(|(a, b)| combine(a, b, '+')).collect();
        }
        fields.extend(opened);
    }
    (fields, x)
}

fn seed(of: u8) -> Seed {
    Seed::from_bytes([of; 32])
}

/// Runs one party; returns what it sent to each endpoint.
fn party<C: Cast>(
    session: subrosa_net::Session,
    case: &Case<C>,
    watcher: Watcher,
    lost: Lost,
    run: usize,
    x: &[u32],
) -> Vec<Vec<u8>> {
    let mut p = Party::<C>::setup(session).unwrap();
    let receiver = Party::<C>::PARTIES;
    flatten_run(run);
    let streams: Vec<usize> = if p.is_dealer() { (0..C::COMPUTING).collect() } else { vec![p.me] };
    // The same in all runs, so that complements, not chance, make the known values differ.
    p.seeds = streams.iter().map(|&of| seed(100).derive(&[of as u8])).collect();
    for (of, streams) in streams.into_iter().zip(&p.streams) {
        if watcher.knows::<C>(of) {
            flatten(streams);
        }
        match lost {
            Lost::Stream(at, stream) if at == of => flatten(stream(streams)),
            Lost::Openings => {
                flatten(&streams.zero);
                flatten(&streams.product);
            }
            Lost::Stream(..) | Lost::Nothing => {}
        }
    }
    if matches!(lost, Lost::Openings) {
        flatten(&p.cast);
    }
    p.session.record_transcript();
    let (c, masks) = input::<C>(watcher, run, x);
    let mask = match p.is_dealer() {
        true => masks.into_iter().reduce(|sum, mask| sum.iter().zip(mask).map(|(a, b)| a.wrapping_add(b)).collect()),
        false => masks.into_iter().nth(p.me),
    };
    let rehearse = |p: &mut Party<C>| {
        let output = (case.body)(p, &Share::masked(mask.unwrap_or_default()))?;
        p.open_to(receiver, 1, &output)
    };
    let calls = [case.calls, &[Primitive::OpenTo { parts: 1, n: N }]].concat();
    p.prepare(&calls, rehearse).unwrap();
    let shared = if p.is_dealer() { Share::absent(N) } else { Share::opened(c) };
    let output = (case.body)(&mut p, &shared).unwrap();
    p.open_to(receiver, 1, &output).unwrap();
    let mut sent = vec![Vec::new(); receiver + 1];
    p.session.transcript().iter().for_each(|(to, message)| sent[*to].extend(message));
    sent
}

/// The shared input, `c` and the masks: flat, but for one that the watcher does not know.
fn input<C: Cast>(watcher: Watcher, run: usize, x: &[u32]) -> (Vec<u32>, Vec<Vec<u32>>) {
    // Small ones in every other run: then their sum with a value hardly ever carries into
    // its top bits, and what the top bits say is seen without undoing the sum.
    let (first, step): (u32, u32) = if run.is_multiple_of(2) { (0x3b5, 0x2d1) } else { (0x9e37_79b9, 0x243f_6a88) };
    let mut parts: Vec<Vec<u32>> =
        (0..=C::COMPUTING as u32).map(|i| vec![first.wrapping_add(step.wrapping_mul(i)); N]).collect();
    // The last one: of a product party 0 has all but linear terms, whose sum is the result.
    let hidden = (0..C::COMPUTING).rfind(|&of| !watcher.knows::<C>(of)).unwrap_or(C::COMPUTING);
    let known =
        |at: usize| (0..=C::COMPUTING).filter(|&i| i != hidden).fold(0, |sum: u32, i| sum.wrapping_add(parts[i][at]));
    parts[hidden] = x.iter().enumerate().map(|(at, x)| x.wrapping_sub(known(at))).collect();
    let c = parts.pop().unwrap_or_default();
    (c, parts)
}

// --- What it received. ---

/// A vector that went over a link: `N` values of `bits` bits.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) bits: u32,
    /// Sent after the inputs were there: what was sent before cannot depend on them.
    pub(crate) online: bool,
    pub(crate) values: Vec<u32>,
}

/// Splits what `from` sent into vectors of the given widths.
fn read(from: usize, to: usize, widths: &[(u32, bool)], mut sent: &[u8]) -> Vec<Field> {
    let expected: usize = widths.iter().map(|&(bits, _)| bits as usize * N / 8).sum();
    assert_eq!(sent.len(), expected, "party {from} sent something that `layout` does not describe");
    let mut fields = Vec::new();
    for (i, &(bits, online)) in widths.iter().enumerate() {
        let (now, rest) = sent.split_at(bits as usize * N / 8);
        sent = rest;
        if bits > K {
            fields.extend(correction_words(&format!("{from}->{to} #{i}"), bits / 64, now));
            continue;
        }
        fields.push(Field { name: format!("{from}->{to} #{i}"), bits, online, values: unpack(now, bits, N) });
    }
    fields
}

/// The correction words of `N` comparison keys: of each its low half and its highest bits.
fn correction_words(name: &str, words: u32, sent: &[u8]) -> Vec<Field> {
    let all: Vec<u64> = sent.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect();
    let word = |j: usize, i: usize| all[i / LANES * LANES * words as usize + j * LANES + i % LANES];
    let field = |j: usize, bits: u32, shift: u32| {
        let values = (0..N).map(|i| (word(j, i) >> shift & mask(bits)) as u32).collect();
        Field { name: format!("{name}, word {j} from {shift}"), bits, online: false, values }
    };
    (0..words as usize).flat_map(|j| [field(j, K, 0), field(j, 2, 62)]).collect()
}

/// The widths of all vectors (more than [`K`] bits: of keys) that party `from` sends to `to`, in order, and whether online.
fn layout<C: Cast>(calls: &[Primitive], from: usize, to: usize) -> Vec<(u32, bool)> {
    if to == Party::<C>::PARTIES {
        return vec![(K, true); usize::from(from < Party::<C>::ONLINE)];
    }
    let mut offline: Vec<u32> = calls.iter().flat_map(|&call| offline_layout::<C>(call, from, to)).collect();
    offline.extend((!C::DEALER_OPENS && (from, to) == (C::COMPUTING, 0)).then_some(K));
    let online = calls.iter().flat_map(|&call| online_layout::<C>(call, from, to)).map(|bits| (bits, true));
    offline.into_iter().map(|bits| (bits, false)).chain(online).collect()
}

/// The truncation shift and the compared width of a call.
fn sizes(call: Primitive) -> (Option<u32>, Option<u32>) {
    match call {
        Primitive::Trunc { shift, .. } => (Some(shift), None),
        Primitive::TruncRelu { shift, width, .. } => (Some(shift), Some(width)),
        Primitive::Ltz { width, .. } | Primitive::Relu { width, .. } => (None, Some(width)),
        Primitive::Input { .. }
        | Primitive::OpenTo { .. }
        | Primitive::Mul { .. }
        | Primitive::MatMul { .. }
        | Primitive::Conv { .. }
        | Primitive::Reshare { .. } => (None, None),
    }
}

fn is_product(call: Primitive) -> bool {
    matches!(
        call,
        Primitive::Trunc { form: Form::Product, .. }
            | Primitive::TruncRelu { form: Form::Product, .. }
            | Primitive::Reshare { .. }
    )
}

fn offline_layout<C: Cast>(call: Primitive, from: usize, to: usize) -> Vec<u32> {
    let (shift, width) = sizes(call);
    let mut widths = Vec::new();
    if from != C::COMPUTING {
        return widths;
    }
    if let (Gates::Keys, Some(gate)) = (C::GATES, Gate::of(&call, K)) {
        let words = if to == 0 { usize::from(is_product(call)) } else { gate.words };
        widths.extend(vec![K; words]);
        widths.push(64 * gate.form.words() as u32);
        return widths;
    }
    match to {
        0 => widths.extend(is_product(call).then_some(K)),
        to if to == C::COMPUTING - 1 => {
            widths.extend(width.iter().flat_map(|&width| vec![1; dealt_planes(width)]));
            match (call, shift, width) {
                (Primitive::Ltz { .. }, _, _) => widths.push(K),
                (Primitive::Relu { .. }, _, _) => widths.extend([K, K]),
                (_, Some(f), None) => widths.extend([K, f]),
                (_, Some(f), Some(_)) => widths.extend([K, K, f, f, K]),
                (_, None, _) => {}
            }
        }
        _ => {}
    }
    widths
}

fn online_layout<C: Cast>(call: Primitive, from: usize, to: usize) -> Vec<u32> {
    let (shift, width) = sizes(call);
    let mut widths = Vec::new();
    if from == C::COMPUTING || to == C::COMPUTING {
        return widths;
    }
    widths.extend(is_product(call).then_some(K));
    if let (Gates::Bits, Some(width)) = (C::GATES, width) {
        let mut blocks = groups(width).len();
        widths.extend(vec![1; if blocks > 1 { 2 * blocks - 1 } else { 0 }]);
        while blocks > 2 {
            let pairs = blocks / 2;
            widths.extend(vec![1; 2 * pairs - 1]);
            blocks -= pairs;
        }
        widths.push(1);
    }
    // The result.
    widths.extend(width.or(shift).map(|_| K));
    widths
}

// --- Whether it says anything about x. ---

/// The bits of a value that are looked at: all of a narrow one, else both ends.
fn looked_at(bits: u32) -> Vec<u32> {
    match bits {
        0..=14 => (0..bits).collect(),
        _ => (0..SHIFT + 1).chain(bits - 3..bits).collect(),
    }
}

/// The looked-at bits of `values` as planes, constant ones left out.
pub(crate) fn planes(name: &str, bits: u32, values: &[u32]) -> Vec<(String, Vec<u64>)> {
    let all = BitPlanes::from_words(values, 0, bits as usize);
    let planes = looked_at(bits).into_iter().map(|i| (format!("{name}.{i}"), all.plane(i as usize).to_vec()));
    planes
        .filter(|(_, plane)| plane.iter().any(|&word| word != plane[0] || word != (word & 1).wrapping_neg()))
        .collect()
}

/// Looks for dependences of received values on the targets, planes of bits that are
/// uniform whatever was received.
pub(crate) struct Search {
    targets: Vec<(String, Vec<u64>)>,
    /// How far from half of the elements the number of agreements may be.
    limit: u32,
    found: Vec<String>,
}

/// From so many planes on, triples with only one online plane are left out.
const MANY: usize = 40;
/// From so many words on, sums are of two.
const MANY_WORDS: usize = 12;
/// Found dependences after which a search ends.
const ENOUGH: usize = 3;

impl Search {
    pub(crate) fn new(targets: Vec<(String, Vec<u64>)>) -> Self {
        let n = targets[0].1.len() * 64;
        let limit = (DEVIATION * (n as f64).sqrt()).ceil() as u32;
        Self { targets, limit, found: Vec::new() }
    }

    /// The parities of up to three planes, the last of them not among the first `offline`.
    fn parities(&mut self, planes: &[(String, Vec<u64>)], offline: usize) {
        for i in offline..planes.len() {
            self.test(&planes[i].1, || planes[i].0.clone());
            for j in 0..i {
                let two = xor(&planes[i].1, &planes[j].1);
                self.test(&two, || format!("{} + {}", planes[i].0, planes[j].0));
                // Two vectors of the preprocessing and one of many others: too many triples.
                let thirds = if j < offline && planes.len() > MANY { 0 } else { j };
                for k in 0..thirds {
                    let three = xor(&two, &planes[k].1);
                    self.test(&three, || format!("{} + {} + {}", planes[i].0, planes[j].0, planes[k].0));
                }
                if self.found.len() >= ENOUGH {
                    return;
                }
            }
        }
    }

    fn test(&mut self, plane: &[u64], name: impl Fn() -> String) {
        let half = plane.len() as u32 * 32;
        let first = plane.len() / 4;
        for (target, bits) in &self.targets {
            // Most tests end after a quarter of the elements, within two standard
            // deviations of half of them.
            let differ = distance(&plane[..first], &bits[..first]);
            let elements = first as f64 * 64.0;
            if (f64::from(differ) - elements / 2.0).abs() < elements.sqrt() {
                continue;
            }
            let differ = differ + distance(&plane[first..], &bits[first..]);
            if differ.abs_diff(half) > self.limit {
                self.found.push(format!("{target} ~ {}: {differ} of {} differ", name(), 2 * half));
            }
        }
    }

    /// The distribution of sums and differences of up to three words.
    fn sums(&mut self, words: &[Field]) {
        for (i, first) in words.iter().enumerate().filter(|(_, first)| first.online) {
            for (j, second) in words[..i].iter().enumerate() {
                for two in [combine(first, second, '+'), combine(first, second, '-')] {
                    self.parities(&planes(&two.name, two.bits, &two.values), 0);
                    for third in &words[..if words.len() > MANY_WORDS { 0 } else { j }] {
                        for three in [combine(&two, third, '+'), combine(&two, third, '-')] {
                            self.parities(&planes(&three.name, three.bits, &three.values), 0);
                        }
                    }
                    if self.found.len() >= ENOUGH {
                        return;
                    }
                }
            }
        }
    }

    /// All tests on what went over the links, as bits and as words.
    pub(crate) fn all(mut self, mut fields: Vec<Field>) -> Vec<String> {
        fields.sort_by_key(|field| field.online);
        let mut seen = HashSet::new();
        let mut new = |field: &Field| {
            let planes = planes(&field.name, field.bits, &field.values).into_iter();
            planes.filter(|(_, plane)| seen.insert(plane.clone())).collect::<Vec<_>>()
        };
        let first_online = fields.partition_point(|field| !field.online);
        let mut bits: Vec<_> = fields[..first_online].iter().flat_map(&mut new).collect();
        let offline = bits.len();
        bits.extend(fields[first_online..].iter().flat_map(&mut new));
        self.parities(&bits, offline);
        fields.retain(|f| f.bits > 8 && f.values.iter().any(|v| *v != f.values[0]));
        fields.dedup_by(|a, b| a.values == b.values);
        self.sums(&fields.into_iter().flat_map(with_shifted).collect::<Vec<_>>());
        self.found
    }
}

/// A word, and as truncation uses it: without the dropped bits.
fn with_shifted(field: Field) -> [Field; 2] {
    let shifted = Field {
        name: format!("({} >> {SHIFT})", field.name),
        bits: field.bits - SHIFT,
        online: field.online,
        values: field.values.iter().map(|v| v >> SHIFT).collect(),
    };
    [field, shifted]
}

/// In how many elements two planes differ. In blocks of seven words, whose sums of bits
/// are three words: full adders are cheaper than counting where the processor does not count.
fn distance(a: &[u64], b: &[u64]) -> u32 {
    let (a_blocks, a_rest) = a.as_chunks::<7>();
    let (b_blocks, b_rest) = b.as_chunks::<7>();
    let adder = |a: u64, b: u64, c: u64| (a ^ b ^ c, (a & b) | (c & (a ^ b)));
    let block = |(a, b): (&[u64; 7], &[u64; 7])| {
        let x: [u64; 7] = std::array::from_fn(|i| a[i] ^ b[i]);
        let ((s_0, c_0), (s_1, c_1)) = (adder(x[0], x[1], x[2]), adder(x[3], x[4], x[5]));
        let (ones, c_2) = adder(s_0, s_1, x[6]);
        let (twos, fours) = adder(c_0, c_1, c_2);
        ones.count_ones() + 2 * twos.count_ones() + 4 * fours.count_ones()
    };
    let rest: u32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a ^ b).count_ones()).sum();
    a_blocks.iter().zip(b_blocks).map(block).sum::<u32>() + rest
}

fn xor(a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// A sum or difference modulo 2 to the smaller width.
fn combine(a: &Field, b: &Field, sign: char) -> Field {
    let bits = a.bits.min(b.bits);
    let op = if sign == '+' { u32::wrapping_add } else { u32::wrapping_sub };
    let values = a.values.iter().zip(&b.values).map(|(&a, &b)| op(a, b)).collect();
    Field { name: format!("({} {sign} {})", a.name, b.name), bits, online: a.online || b.online, values }
}

/// Dependences of what `watcher` receives on `x`, from the first run that has any.
fn leaks<C: Cast>(case: &Case<C>, watcher: Watcher, lost: Lost) -> Vec<String> {
    first_found(|run| {
        let (fields, x) = watch(case, watcher, lost, run);
        Search::new(planes("x", case.bits, &x)).all(fields)
    })
}

fn first_found(found: impl Fn(usize) -> Vec<String>) -> Vec<String> {
    (0..RUNS).map(found).find(|found| !found.is_empty()).unwrap_or_default()
}

/// What the receiver should not learn, being independent of the result it opens.
#[derive(Clone, Copy)]
enum Hidden {
    /// The sign of a value whose square is opened.
    Sign,
    /// The bits that a truncation drops: they only bias the rounding, so that they are
    /// uniform given any result.
    Dropped,
    /// All but the top bits of values in the lowest quarter, which the result only says
    /// are negative.
    Magnitude,
}

/// As [`leaks`], for the receiver.
fn leaks_to_receiver<C: Cast>(case: &Case<C>, hidden: Hidden, lost: Lost) -> Vec<String> {
    first_found(|run| {
        let (mut fields, mut x) = watch(case, Watcher::Receiver, lost, run);
        if let Hidden::Magnitude = hidden {
            let lowest = |x: u32| x >> (case.bits - 2) & 3 == 2;
            let kept: Vec<usize> = (0..N).filter(|&i| lowest(x[i])).collect();
            let kept = &kept[..kept.len() / 64 * 64];
            let keep = |values: &[u32]| -> Vec<u32> { kept.iter().map(|&i| values[i]).collect() };
            fields.iter_mut().for_each(|field| field.values = keep(&field.values));
            x = keep(&x);
        }
        let (at, bits) = match hidden {
            Hidden::Sign => (case.bits - 1, 1),
            Hidden::Dropped => (0, SHIFT),
            Hidden::Magnitude => (0, case.bits - 2),
        };
        let x: Vec<u32> = x.iter().map(|x| x >> at).collect();
        Search::new(planes("x", bits, &x)).all(fields)
    })
}

/// Runs of each case, with other randomness.
pub(crate) const RUNS: usize = 8;
/// What counts as dependent: so many times the square root of the number of elements away
/// from half of them.
const DEVIATION: f64 = 3.7;

const SINGLE: &[Watcher] = &[Watcher::Parties(&[0]), Watcher::Parties(&[1]), Watcher::Parties(&[2])];
/// Of three parties and a dealer: every two parties, and the dealer.
const COALITIONS: &[Watcher] =
    &[Watcher::Parties(&[0, 1]), Watcher::Parties(&[0, 2]), Watcher::Parties(&[1, 2]), Watcher::Parties(&[3])];

type Rep3Case = Case<ThreeServers>;
type BeaverCase = Case<WithDealer<3>>;
type FssCase = Case<KeyDealer>;

fn nobody_learns<C: Cast>(cases: &[Case<C>], watchers: &[Watcher]) {
    for case in cases {
        for &watcher in watchers {
            let found = leaks(case, watcher, Lost::Nothing);
            let Watcher::Parties(parties) = watcher else { continue };
            assert!(found.is_empty(), "{}: {parties:?} learn from {:?}: {found:#?}", C::NAME, case.calls);
        }
    }
}

macro_rules! nobody_learns {
    ($($name:ident: $case:ty, $watchers:expr, [$($of:ident)*];)*) => {
        $(#[test]
        fn $name() {
            nobody_learns(&[$(<$case>::$of),*], $watchers);
        })*
    };
}

nobody_learns! {
    parties_learn_nothing_from_products_and_truncations: Rep3Case, SINGLE, [TRUNC TRUNC_PRODUCT TRUNC_SQUARE SQUARE WEIGHTED];
    parties_learn_nothing_from_comparisons: Rep3Case, SINGLE, [LTZ_5 LTZ_7 LTZ_14];
    parties_learn_nothing_from_relus: Rep3Case, SINGLE, [RELU_5 RELU_12 TRUNC_RELU_5];
    parties_learn_nothing_from_deep_truncated_relus: Rep3Case, SINGLE, [TRUNC_RELU_12];
    coalitions_learn_nothing_from_products_and_truncations: BeaverCase, COALITIONS, [TRUNC TRUNC_PRODUCT SQUARE WEIGHTED];
    coalitions_learn_nothing_from_comparisons: BeaverCase, COALITIONS, [LTZ_5 LTZ_7];
    coalitions_learn_nothing_from_relus: BeaverCase, COALITIONS, [RELU_5 TRUNC_RELU_5];
    parties_learn_nothing_from_keys: FssCase, SINGLE, [LTZ_5 RELU_5 TRUNC_RELU_5];
    parties_learn_nothing_beside_keys: FssCase, SINGLE, [TRUNC SQUARE WEIGHTED];
}

/// Where the outside receiver gets results from, and what they do not tell.
fn the_receiver_learns_the_result_only<C: Cast>() {
    for (case, hidden) in [
        (Case::<C>::TRUNC, Hidden::Dropped),
        (Case::TRUNC_PRODUCT, Hidden::Dropped),
        (Case::TRUNC_SQUARE, Hidden::Sign),
        (Case::PRODUCT, Hidden::Sign),
        (Case::LTZ_14, Hidden::Magnitude),
        (Case::RELU_5, Hidden::Magnitude),
        (Case::RELU_12, Hidden::Magnitude),
        (Case::TRUNC_RELU_12, Hidden::Magnitude),
    ] {
        let found = leaks_to_receiver(&case, hidden, Lost::Nothing);
        assert!(found.is_empty(), "{}: the receiver learns from {:?}: {found:#?}", C::NAME, case.calls);
    }
    // Other results than products carry fresh masks of their own.
    let found = leaks_to_receiver(&Case::<C>::PRODUCT, Hidden::Sign, Lost::Openings);
    assert!(!found.is_empty(), "{}: not noticed: a product opened as it is", C::NAME);
}

#[test]
fn the_receiver_of_rep3_learns_the_result_only() {
    the_receiver_learns_the_result_only::<ThreeServers>();
}

#[test]
fn the_receiver_of_beaver_learns_the_result_only() {
    the_receiver_learns_the_result_only::<WithDealer<3>>();
}

/// A stream, what is run without it, and who has to notice.
type Loss<C> = (&'static str, usize, fn(&Streams) -> &Prg, Case<C>, Watcher);

fn noticed<C: Cast>(losses: &[Loss<C>]) {
    let missed =
        |(_, of, stream, case, watcher): &&Loss<C>| leaks(case, *watcher, Lost::Stream(*of, *stream)).is_empty();
    let missed: Vec<_> = losses.iter().filter(missed).map(|(name, of, ..)| (name, of)).collect();
    assert!(missed.is_empty(), "{}: not noticed: {missed:?}", C::NAME);
}

/// Every stream that protects something: without it (flat), whoever does not know it
/// notices.
#[test]
fn every_lost_mask_is_noticed() {
    let (zero, one) = (Watcher::Parties(&[0]), Watcher::Parties(&[1]));
    noticed::<ThreeServers>(&[
        ("mask of an opened product", 1, |s| &s.mask, Case::SQUARE, zero),
        ("mask of an opened product", 0, |s| &s.mask, Case::SQUARE, one),
        ("mask of a truncated value", 1, |s| &s.mask, Case::TRUNC, zero),
        ("mask of a truncated value", 0, |s| &s.mask, Case::TRUNC, one),
        ("mask of a sign", 1, |s| &s.mask, Case::LTZ_5, zero),
        ("mask of a sign", 0, |s| &s.mask, Case::LTZ_5, one),
        ("mask of a relu", 1, |s| &s.mask, Case::RELU_5, zero),
        ("mask of a relu", 0, |s| &s.mask, Case::RELU_5, one),
        ("mask of a truncated relu", 1, |s| &s.mask, Case::TRUNC_RELU_5, zero),
        ("mask of a truncated relu", 0, |s| &s.mask, Case::TRUNC_RELU_5, one),
        ("masks of bits", 1, |s| &s.mask_bits, Case::LTZ_5, zero),
        ("masks of bits", 0, |s| &s.mask_bits, Case::LTZ_5, one),
        ("masks of bits, a tree", 1, |s| &s.mask_bits, Case::LTZ_7, zero),
        ("masks of bits, a tree", 0, |s| &s.mask_bits, Case::LTZ_7, one),
        ("the dealer's product", 1, |s| &s.product, Case::SQUARE, zero),
        ("the dealer's product with a weight", 1, |s| &s.product, Case::WEIGHTED, zero),
        ("dealt words", 0, |s| &s.dealt, Case::TRUNC, one),
        ("dealt words", 0, |s| &s.dealt, Case::RELU_5, one),
        ("dealt words", 0, |s| &s.dealt, Case::TRUNC_RELU_5, one),
        ("dealt bits", 0, |s| &s.dealt_bits, Case::LTZ_5, one),
        ("dealt bits, a tree", 0, |s| &s.dealt_bits, Case::LTZ_7, one),
    ]);
}

/// The same where signs come from keys. Words that are dealt beside keys never show in combination with
/// what is sent online, so that they are uniform is left to the conformance suite.
#[test]
fn every_lost_mask_is_noticed_beside_keys() {
    let (zero, one) = (Watcher::Parties(&[0]), Watcher::Parties(&[1]));
    noticed::<KeyDealer>(&[
        ("mask of a sign", 1, |s| &s.mask, Case::LTZ_5, zero),
        ("mask of a sign", 0, |s| &s.mask, Case::LTZ_5, one),
        ("mask of a relu", 1, |s| &s.mask, Case::RELU_5, zero),
        ("mask of a relu", 0, |s| &s.mask, Case::RELU_5, one),
        ("mask of a truncated relu", 1, |s| &s.mask, Case::TRUNC_RELU_5, zero),
        ("mask of a truncated relu", 0, |s| &s.mask, Case::TRUNC_RELU_5, one),
        ("dealt words", 0, |s| &s.dealt, Case::TRUNC, one),
    ]);
}

#[test]
fn the_receiver_of_fss_learns_the_result_only() {
    the_receiver_learns_the_result_only::<KeyDealer>();
}

/// The same with three parties, two of whom collude: what the third shares with the dealer
/// hides everything.
#[test]
fn a_coalition_notices_every_lost_mask() {
    let others = [Watcher::Parties(&[1, 2]), Watcher::Parties(&[0, 2]), Watcher::Parties(&[0, 1])];
    for (of, &watcher) in others.iter().enumerate() {
        noticed::<WithDealer<3>>(&[
            ("mask of an opened product", of, |s| &s.mask, Case::SQUARE, watcher),
            ("mask of a truncated value", of, |s| &s.mask, Case::TRUNC, watcher),
            ("mask of a relu", of, |s| &s.mask, Case::RELU_5, watcher),
            ("masks of bits", of, |s| &s.mask_bits, Case::LTZ_7, watcher),
        ]);
    }
    for of in [0, 1] {
        let watcher = others[of];
        noticed::<WithDealer<3>>(&[
            ("dealt words", of, |s| &s.dealt, Case::TRUNC, watcher),
            ("dealt words", of, |s| &s.dealt, Case::RELU_5, watcher),
            ("dealt bits", of, |s| &s.dealt_bits, Case::LTZ_7, watcher),
        ]);
    }
    for of in [1, 2] {
        noticed::<WithDealer<3>>(&[("the dealer's product", of, |s| &s.product, Case::SQUARE, others[of])]);
    }
}
