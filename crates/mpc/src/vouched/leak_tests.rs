//! Whether what a party sees together says anything about a secret: the method, its limits and
//! its false alarms are those of [`crate::masked::leak_tests`].
//!
//! What is looked at are all messages that a watching party gets or sends, those of the
//! preprocessing included, and the values that it opens (which it computes in part from what
//! it knew). Digests are left out: each is of a message that its receiver gets as well. Proofs are
//! left out too ([`told`], and single elements): what hides them is weighed with random factors, so that
//! this method could not judge it.

use super::share::{HELD, HELPER, slot};
use super::{Crew, Product, Share, Vouched};
use crate::Error;
use crate::masked::leak_tests::{Field, K, N, RUNS, SHIFT, Search, flatten, flatten_run, planes};
use crate::protocol::{Evaluator, Form, Primitive, Protocol, Source};
use crate::rep3_malicious::ThreeServers;
use crate::rep4::FourServers;
use std::cell::RefCell;
use subrosa_core::{Prg, Seed};
use subrosa_ring::{Word, Z32, sign_extend, unpack};

type Party<C> = Vouched<Z32, C>;

type Body<C> = fn(&mut Party<C>, &Share<u32>) -> Result<Product<u32>, Error>;

/// The receiver's endpoint.
fn receiver<C: Crew>() -> usize {
    Party::<C>::PARTIES
}

thread_local! {
    /// What this thread's party has opened: bits a value, and values.
    static OPENED: RefCell<Vec<(u32, Vec<u32>)>> = RefCell::default();
}

/// Called with everything that a party opens.
pub(super) fn opened_words<W: Word>(values: &[W]) {
    OPENED.with_borrow_mut(|log| log.push((K, values.iter().map(|v| v.to_u64() as u32).collect())));
}

/// As [`opened_words`], `count` planes.
pub(super) fn opened_planes(n: usize, count: usize, planes: &[u64]) {
    let words = n.div_ceil(64).max(1);
    let bit = |plane: &[u64], i: usize| (plane[i / 64] >> (i % 64) & 1) as u32;
    let each = planes.chunks(words).take(count).map(|plane| (1, (0..n).map(|i| bit(plane, i)).collect()));
    OPENED.with_borrow_mut(|log| log.extend(each));
}

/// One use of the protocol on a secret vector of so many signed bits, its result opened.
struct Case<C: Crew> {
    bits: u32,
    calls: &'static [Primitive],
    body: Body<C>,
}

impl<C: Crew> Case<C> {
    const TRUNC: Self = Case {
        bits: K - 1,
        calls: &[Primitive::Trunc { n: N, shift: SHIFT, form: Form::Share }],
        body: |p, x| p.trunc(Source::Share(x), SHIFT).map(|y| p.to_product(&y)),
    };
    const SQUARE: Self = Case {
        bits: K / 2 - 1,
        calls: &[Primitive::Mul { n: N }, Primitive::Reshare { n: N }],
        body: |p, x| {
            let square = p.mul(x, x)?;
            p.reshare(&square).map(|y| p.to_product(&y))
        },
    };
    /// By a weight, which is 1; then a truncation of a product.
    const WEIGHTED: Self = Case {
        bits: K - 1,
        calls: &[Primitive::Mul { n: N }, Primitive::Trunc { n: N, shift: SHIFT, form: Form::Product }],
        body: |p, x| {
            let part = |piece: usize| 0x89ab_cdef_u32.wrapping_mul(2 * piece as u32 + 1);
            let c = (0..HELPER).fold(1u32, |c, piece| c.wrapping_sub(part(piece)));
            let masks = HELD[p.me].iter().map(|&piece| vec![part(piece); N]).collect();
            let one = Share::known(p.me, N, (p.me != HELPER).then(|| vec![c; N]), masks);
            let same = p.mul(x, &one)?;
            p.trunc(Source::Product(&same), SHIFT).map(|y| p.to_product(&y))
        },
    };
    const LTZ: Self = Case {
        bits: 7,
        calls: &[Primitive::Ltz { n: N, width: 7 }],
        body: |p, x| p.ltz(x, 7).map(|y| p.to_product(&y)),
    };
    const RELU: Self = Case {
        bits: 5,
        calls: &[Primitive::Relu { n: N, width: 5 }],
        body: |p, x| p.relu(x, 5).map(|y| p.to_product(&y)),
    };
    const TRUNC_RELU: Self = Case {
        bits: 5 + SHIFT,
        calls: &[Primitive::TruncRelu { n: N, shift: SHIFT, width: 5, form: Form::Share }],
        body: |p, x| p.trunc_relu(Source::Share(x), SHIFT, 5).map(|y| p.to_product(&y)),
    };
    /// Opened as it is.
    const PRODUCT: Self = Case { bits: K / 2 - 1, calls: &[Primitive::Mul { n: N }], body: |p, x| p.mul(x, x) };
}

/// The stream whose loss the watcher has to notice: of a piece, or the same of all.
type Lost = Option<(Option<usize>, fn(&super::deal::Streams) -> &Prg)>;

/// Which of the pieces of a secret the watcher does not know; `c`, 3, if it is the helper.
fn hidden<C: Crew>(watcher: usize) -> usize {
    if watcher < receiver::<C>() { watcher } else { 0 }
}

/// What `watcher` got, sent and opened, and the values it should not learn.
fn watch<C: Crew>(case: &Case<C>, watcher: usize, lost: Lost, run: usize) -> (Vec<Field>, Vec<u32>) {
    let seed = |of: u8| Seed::from_bytes([of; 32]);
    let x: Vec<u32> =
        seed(run as u8).stream("x").u64s(N).into_iter().map(|v| sign_extend(v, case.bits) as u32).collect();
    let (parties, receiver_id) = (Party::<C>::PARTIES, receiver::<C>());
    let names = ["party 0", "party 1", "party 2", "helper"].into_iter().take(parties).chain(["receiver"]);
    let mut sessions = subrosa_net::local(&names.collect::<Vec<_>>());
    let mut receiver = sessions.pop().unwrap();
    let (x_ref, seeds) = (&x, [200, 201, 202].map(seed));
    let seeds = &seeds;
    let start = |session| move || party(session, case, watcher, lost, run, x_ref, seeds);
    let mut fields = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions.into_iter().map(|session| scope.spawn(start(session))).collect();
        let parts: Vec<_> = (0..HELPER).map(|p| (p, Party::<C>::opening_bytes(N))).collect();
        receiver.round(vec![], &parts).unwrap();
        for (from, thread) in threads.into_iter().enumerate() {
            let (sent, offline, opened) = thread.join().unwrap();
            for (i, (to, message)) in sent.iter().enumerate() {
                let watched = match watcher == receiver_id {
                    true => *to == receiver_id,
                    false => *to != receiver_id && (from == watcher || *to == watcher),
                };
                if watched && message.len() > super::vouch::DIGEST {
                    fields.extend(read::<C>(&format!("{from}->{to} #{i}"), i >= offline, *to, message));
                }
            }
            if from == watcher {
                let own = opened.into_iter().enumerate();
                fields.extend(own.map(|(i, (bits, values))| Field {
                    name: format!("opened #{i}"),
                    bits,
                    online: true,
                    values,
                }));
            }
        }
    });
    (fields, x)
}

/// A message as vectors: of words, or of planes; as both where that is open.
fn read<C: Crew>(name: &str, online: bool, to: usize, message: &[u8]) -> Vec<Field> {
    let message = if to == receiver::<C>() { &message[..message.len() - super::vouch::DIGEST] } else { message };
    if !C::HELPED && !online && told(message).is_some_and(|message| message.len() >= N) {
        return Vec::new();
    }
    let bits = (message.len() * 8 / N) as u32;
    if !C::HELPED && !online && message.len() * 8 != bits as usize * N {
        // A proof's elements.
        assert!(message.len() < N / 8, "{name} is not of whole vectors: {}", message.len());
        return Vec::new();
    }
    assert_eq!(message.len() * 8, bits as usize * N, "{name} is not of whole vectors");
    if !C::HELPED && !online && bits.is_multiple_of(WIDE) {
        return wide_fields(name, message);
    }
    let as_words: &[u32] = match bits {
        K => &[K],
        SHIFT => &[SHIFT],
        _ if bits == K + SHIFT => &[K, SHIFT],
        _ => &[],
    };
    let as_planes = if bits < K || !C::HELPED && bits != K { vec![1; bits as usize] } else { vec![] };
    let field = |(at, bits): (usize, u32)| {
        let values = unpack(&message[at..at + bits as usize * N / 8], bits, N);
        Field { name: format!("{name} @{at}"), bits, online, values }
    };
    let placed = |widths: &[u32]| -> Vec<(usize, u32)> {
        let starts = widths.iter().scan(0, |at, bits| Some(std::mem::replace(at, *at + *bits as usize * N / 8)));
        starts.zip(widths.iter().copied()).collect()
    };
    placed(as_words).into_iter().chain(placed(&as_planes)).map(field).collect()
}

/// Bits of a wide word.
const WIDE: u32 = K + 56;

/// What verifiers tell each other: behind a digest, whole vectors of wide words.
fn told(message: &[u8]) -> Option<&[u8]> {
    let rest = message.get(super::vouch::DIGEST..)?;
    (!rest.is_empty() && rest.len().is_multiple_of(N * WIDE as usize / 8)).then_some(rest)
}

/// Vectors of wide words: their lowest bits, and those at the top.
fn wide_fields(name: &str, message: &[u8]) -> Vec<Field> {
    let bytes = WIDE as usize / 8;
    let vector = |(at, vector): (usize, &[u8])| {
        let field = |from: usize| {
            let low = |word: &[u8]| u32::from_le_bytes(std::array::from_fn(|i| word[from + i]));
            let values = vector.chunks(bytes).map(low).collect();
            Field { name: format!("{name} @{at}+{from}"), bits: K, online: false, values }
        };
        [field(0), field(bytes - 4)]
    };
    message.chunks(N * bytes).enumerate().flat_map(vector).collect()
}

type Seen = (Vec<(usize, Vec<u8>)>, usize, Vec<(u32, Vec<u32>)>);

/// Runs one party. Returns what it sent, how much of it in the preprocessing, and what it opened.
fn party<C: Crew>(
    session: subrosa_net::Session,
    case: &Case<C>,
    watcher: usize,
    lost: Lost,
    run: usize,
    x: &[u32],
    seeds: &[Seed; 3],
) -> Seen {
    let mut p = Party::<C>::setup(session).unwrap();
    let me = p.me;
    flatten_run(run);
    p.seeds = HELD[me].iter().map(|&piece| Seed::from_bytes(*seeds[piece].expose())).collect();
    for (&piece, streams) in HELD[me].iter().zip(&p.streams) {
        if watcher < receiver::<C>() && slot(watcher, piece).is_some() {
            flatten(streams);
        }
        match lost {
            Some((of, stream)) if of.is_none_or(|of| of == piece) => flatten(stream(streams)),
            Some(_) | None => {}
        }
    }
    p.session.record_transcript();
    // Flat, but for what the watcher does not know.
    let (first, step): (u32, u32) = if run.is_multiple_of(2) { (0x3b5, 0x2d1) } else { (0x9e37_79b9, 0x243f_6a88) };
    let flat = |part: usize| first.wrapping_add(step.wrapping_mul(part as u32));
    let hidden = hidden::<C>(watcher);
    let known = (0..4).filter(|&part| part != hidden).fold(0u32, |sum, part| sum.wrapping_add(flat(part)));
    let part = |part: usize| -> Vec<u32> {
        if part == hidden { x.iter().map(|x| x.wrapping_sub(known)).collect() } else { vec![flat(part); N] }
    };
    let masks = HELD[me].iter().map(|&piece| part(piece)).collect();
    let rehearse = |p: &mut Party<C>| {
        let output = (case.body)(p, &Share::masked(masks))?;
        p.open_to(receiver::<C>(), 1, &output)
    };
    let calls = [case.calls, &[Primitive::OpenTo { parts: 1, n: N }]].concat();
    p.prepare(&calls, rehearse).unwrap();
    let offline = p.session.transcript().len();
    OPENED.with_borrow_mut(Vec::clear);
    let shared = if me == HELPER { Share::absent(N) } else { Share::opened(part(3)) };
    let output = (case.body)(&mut p, &shared).unwrap();
    p.open_to(receiver::<C>(), 1, &output).unwrap();
    (p.session.transcript().to_vec(), offline, OPENED.with_borrow_mut(std::mem::take))
}

/// Dependences of what `watcher` sees on `x`, from the first run that has any.
fn leaks<C: Crew>(case: &Case<C>, watcher: usize, lost: Lost) -> Vec<String> {
    let found = |run| {
        let (fields, x) = watch(case, watcher, lost, run);
        Search::new(planes("x", case.bits, &x)).all(fields)
    };
    (0..RUNS).map(found).find(|found| !found.is_empty()).unwrap_or_default()
}

fn no_party_learns<C: Crew>(cases: &[Case<C>]) {
    for case in cases {
        for watcher in 0..Party::<C>::PARTIES {
            let found = leaks(case, watcher, None);
            assert!(found.is_empty(), "{}: party {watcher} learns from {:?}: {found:#?}", C::NAME, case.calls);
        }
    }
}

/// The sign of what is squared, and with masks lost, that it shows.
fn the_receiver_learns_the_product_only<C: Crew>() {
    let found = |lost: Lost| {
        let of_run = |run| {
            let (fields, x) = watch(&Case::<C>::PRODUCT, receiver::<C>(), lost, run);
            let signs: Vec<u32> = x.iter().map(|x| x >> (Case::<C>::PRODUCT.bits - 1)).collect();
            Search::new(planes("x", 1, &signs)).all(fields)
        };
        (0..RUNS).map(of_run).find(|found| !found.is_empty()).unwrap_or_default()
    };
    let leaked = found(None);
    assert!(leaked.is_empty(), "the receiver learns: {leaked:#?}");
    assert!(!found(Some((None, |s| &s.dealt))).is_empty(), "not noticed: a product opened as it is");
}

/// A purpose, its stream, and what shows its loss.
type Loss<C> = (&'static str, fn(&super::deal::Streams) -> &Prg, Case<C>);

/// Every stream of every piece: without it (flat), the party that lacks the piece notices.
fn losses_are_noticed<C: Crew>(losses: &[Loss<C>]) {
    let all = losses.iter().flat_map(|loss| (0..HELPER).map(move |piece| (loss, piece)));
    let missed =
        |((_, stream, case), piece): &(&Loss<C>, usize)| leaks(case, *piece, Some((Some(*piece), *stream))).is_empty();
    let missed: Vec<_> = all.filter(missed).map(|((name, ..), piece)| (name, piece)).collect();
    assert!(missed.is_empty(), "{}: not noticed: {missed:?}", C::NAME);
}

fn losses<C: Crew>() -> Vec<Loss<C>> {
    vec![
        ("mask of a product", |s| &s.mask, Case::SQUARE),
        ("mask of a truncated value", |s| &s.mask, Case::TRUNC),
        ("mask of a relu", |s| &s.mask, Case::RELU),
        ("masks of bits", |s| &s.mask_bits, Case::LTZ),
        ("dealt words", |s| &s.dealt, Case::SQUARE),
        ("dealt bits", |s| &s.dealt_bits, Case::LTZ),
    ]
}

macro_rules! tests {
    ($name:ident, $crew:ty, $more:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn parties_learn_nothing_from_products_and_truncations() {
                no_party_learns::<$crew>(&[Case::TRUNC, Case::SQUARE, Case::WEIGHTED]);
            }

            #[test]
            fn parties_learn_nothing_from_comparisons() {
                no_party_learns::<$crew>(&[Case::LTZ]);
            }

            #[test]
            fn parties_learn_nothing_from_relus() {
                no_party_learns::<$crew>(&[Case::RELU, Case::TRUNC_RELU]);
            }

            #[test]
            fn receivers_learn_the_product_only() {
                the_receiver_learns_the_product_only::<$crew>();
            }

            #[test]
            fn every_lost_mask_is_noticed() {
                let more: Vec<Loss<$crew>> = $more;
                losses_are_noticed::<$crew>(&losses().into_iter().chain(more).collect::<Vec<_>>());
            }
        }
    };
}

tests!(helped, FourServers, vec![]);
tests!(unhelped, ThreeServers, vec![]);
