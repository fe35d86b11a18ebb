//! Whether what a party of `rep4` sees together says anything about a secret: the method, its
//! limits and its false alarms are those of [`crate::masked::leak_tests`].
//!
//! What is looked at are all messages that a watching party gets or sends, those of the
//! preprocessing included, and the values that it opens (which it computes in part from what
//! it knew). Digests are left out: each is of a message that its receiver gets as well.

use super::share::{HELD, HELPER, slot};
use super::{Product, Rep4, Share};
use crate::Error;
use crate::masked::leak_tests::{Field, K, N, RUNS, SHIFT, Search, flatten, flatten_run, planes};
use crate::protocol::{Evaluator, Form, Primitive, Protocol, Source};
use std::cell::RefCell;
use subrosa_core::{Prg, Seed};
use subrosa_ring::{Word, Z32, sign_extend, unpack};

type Party = Rep4<Z32>;

const RECEIVER: usize = 4;

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
struct Case {
    bits: u32,
    calls: &'static [Primitive],
    body: fn(&mut Party, &Share<u32>) -> Result<Product<u32>, Error>,
}

const TRUNC: Case = Case {
    bits: K - 1,
    calls: &[Primitive::Trunc { n: N, shift: SHIFT, form: Form::Share }],
    body: |p, x| p.trunc(Source::Share(x), SHIFT).map(|y| p.to_product(&y)),
};
const SQUARE: Case = Case {
    bits: K / 2 - 1,
    calls: &[Primitive::Mul { n: N }, Primitive::Reshare { n: N }],
    body: |p, x| {
        let square = p.mul(x, x)?;
        p.reshare(&square).map(|y| p.to_product(&y))
    },
};
/// By a weight, which is 1; then a truncation of a product.
const WEIGHTED: Case = Case {
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
const LTZ: Case =
    Case { bits: 7, calls: &[Primitive::Ltz { n: N, width: 7 }], body: |p, x| p.ltz(x, 7).map(|y| p.to_product(&y)) };
const RELU: Case =
    Case { bits: 5, calls: &[Primitive::Relu { n: N, width: 5 }], body: |p, x| p.relu(x, 5).map(|y| p.to_product(&y)) };
const TRUNC_RELU: Case = Case {
    bits: 5 + SHIFT,
    calls: &[Primitive::TruncRelu { n: N, shift: SHIFT, width: 5, form: Form::Share }],
    body: |p, x| p.trunc_relu(Source::Share(x), SHIFT, 5).map(|y| p.to_product(&y)),
};
/// Opened as it is.
const PRODUCT: Case = Case { bits: K / 2 - 1, calls: &[Primitive::Mul { n: N }], body: |p, x| p.mul(x, x) };

/// The stream whose loss the watcher has to notice: of a piece, or the same of all.
type Lost = Option<(Option<usize>, fn(&super::deal::Streams) -> &Prg)>;

/// Which of the pieces of a secret the watcher does not know; `c`, 3, if it is the helper.
fn hidden(watcher: usize) -> usize {
    if watcher < RECEIVER { watcher } else { 0 }
}

/// What `watcher` got, sent and opened, and the values it should not learn.
fn watch(case: &Case, watcher: usize, lost: Lost, run: usize) -> (Vec<Field>, Vec<u32>) {
    let seed = |of: u8| Seed::from_bytes([of; 32]);
    let x: Vec<u32> =
        seed(run as u8).stream("x").u64s(N).into_iter().map(|v| sign_extend(v, case.bits) as u32).collect();
    let mut sessions = subrosa_net::local(&["party 0", "party 1", "party 2", "helper", "receiver"]);
    let mut receiver = sessions.pop().unwrap();
    let (x_ref, seeds) = (&x, [200, 201, 202].map(seed));
    let seeds = &seeds;
    let start = |session| move || party(session, case, watcher, lost, run, x_ref, seeds);
    let mut fields = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions.into_iter().map(|session| scope.spawn(start(session))).collect();
        let parts: Vec<_> = (0..HELPER).map(|p| (p, Party::opening_bytes(N))).collect();
        receiver.round(vec![], &parts).unwrap();
        for (from, thread) in threads.into_iter().enumerate() {
            let (sent, offline, opened) = thread.join().unwrap();
            for (i, (to, message)) in sent.iter().enumerate() {
                let watched = match watcher {
                    RECEIVER => *to == RECEIVER,
                    _ => *to != RECEIVER && (from == watcher || *to == watcher),
                };
                if watched && message.len() > super::vouch::DIGEST {
                    fields.extend(read(&format!("{from}->{to} #{i}"), i >= offline, *to, message));
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
fn read(name: &str, online: bool, to: usize, message: &[u8]) -> Vec<Field> {
    let message = if to == RECEIVER { &message[..message.len() - super::vouch::DIGEST] } else { message };
    let bits = (message.len() * 8 / N) as u32;
    assert_eq!(message.len() * 8, bits as usize * N, "{name} is not of whole vectors");
    let as_words: &[u32] = match bits {
        K => &[K],
        SHIFT => &[SHIFT],
        _ if bits == K + SHIFT => &[K, SHIFT],
        _ => &[],
    };
    let as_planes = if bits < K { vec![1; bits as usize] } else { vec![] };
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

type Seen = (Vec<(usize, Vec<u8>)>, usize, Vec<(u32, Vec<u32>)>);

/// Runs one party. Returns what it sent, how much of it in the preprocessing, and what it opened.
fn party(
    session: subrosa_net::Session,
    case: &Case,
    watcher: usize,
    lost: Lost,
    run: usize,
    x: &[u32],
    seeds: &[Seed; 3],
) -> Seen {
    let mut p = Party::setup(session).unwrap();
    let me = p.me;
    flatten_run(run);
    p.seeds = HELD[me].iter().map(|&piece| Seed::from_bytes(*seeds[piece].expose())).collect();
    for (&piece, streams) in HELD[me].iter().zip(&p.streams) {
        if watcher < RECEIVER && slot(watcher, piece).is_some() {
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
    let hidden = hidden(watcher);
    let known = (0..4).filter(|&part| part != hidden).fold(0u32, |sum, part| sum.wrapping_add(flat(part)));
    let part = |part: usize| -> Vec<u32> {
        if part == hidden { x.iter().map(|x| x.wrapping_sub(known)).collect() } else { vec![flat(part); N] }
    };
    let masks = HELD[me].iter().map(|&piece| part(piece)).collect();
    let rehearse = |p: &mut Party| {
        let output = (case.body)(p, &Share::masked(masks))?;
        p.open_to(RECEIVER, &output)
    };
    let calls = [case.calls, &[Primitive::OpenTo { n: N }]].concat();
    p.prepare(&calls, rehearse).unwrap();
    let offline = p.session.transcript().len();
    OPENED.with_borrow_mut(Vec::clear);
    let shared = if me == HELPER { Share::absent(N) } else { Share::opened(part(3)) };
    let output = (case.body)(&mut p, &shared).unwrap();
    p.open_to(RECEIVER, &output).unwrap();
    (p.session.transcript().to_vec(), offline, OPENED.with_borrow_mut(std::mem::take))
}

/// Dependences of what `watcher` sees on `x`, from the first run that has any.
fn leaks(case: &Case, watcher: usize, lost: Lost) -> Vec<String> {
    let found = |run| {
        let (fields, x) = watch(case, watcher, lost, run);
        Search::new(planes("x", case.bits, &x)).all(fields)
    };
    (0..RUNS).map(found).find(|found| !found.is_empty()).unwrap_or_default()
}

fn no_party_learns(cases: &[Case]) {
    for case in cases {
        for watcher in 0..4 {
            let found = leaks(case, watcher, None);
            assert!(found.is_empty(), "party {watcher} learns from {:?}: {found:#?}", case.calls);
        }
    }
}

#[test]
fn parties_learn_nothing_from_products_and_truncations() {
    no_party_learns(&[TRUNC, SQUARE, WEIGHTED]);
}

#[test]
fn parties_learn_nothing_from_comparisons() {
    no_party_learns(&[LTZ]);
}

#[test]
fn parties_learn_nothing_from_relus() {
    no_party_learns(&[RELU, TRUNC_RELU]);
}

/// The sign of what is squared, and with masks lost, that it shows.
#[test]
fn the_receiver_learns_the_product_only() {
    let found = |lost: Lost| {
        let of_run = |run| {
            let (fields, x) = watch(&PRODUCT, RECEIVER, lost, run);
            let signs: Vec<u32> = x.iter().map(|x| x >> (PRODUCT.bits - 1)).collect();
            Search::new(planes("x", 1, &signs)).all(fields)
        };
        (0..RUNS).map(of_run).find(|found| !found.is_empty()).unwrap_or_default()
    };
    let leaked = found(None);
    assert!(leaked.is_empty(), "the receiver learns: {leaked:#?}");
    assert!(!found(Some((None, |s| &s.dealt))).is_empty(), "not noticed: a product opened as it is");
}

/// Every stream of every piece: without it (flat), the party that lacks the piece notices.
#[test]
fn every_lost_mask_is_noticed() {
    type Loss = (&'static str, fn(&super::deal::Streams) -> &Prg, Case);
    let losses: [Loss; 6] = [
        ("mask of a product", |s| &s.mask, SQUARE),
        ("mask of a truncated value", |s| &s.mask, TRUNC),
        ("mask of a relu", |s| &s.mask, RELU),
        ("masks of bits", |s| &s.mask_bits, LTZ),
        ("dealt words", |s| &s.dealt, SQUARE),
        ("dealt bits", |s| &s.dealt_bits, LTZ),
    ];
    let all = losses.iter().flat_map(|loss| (0..HELPER).map(move |piece| (loss, piece)));
    let missed =
        |((_, stream, case), piece): &(&Loss, usize)| leaks(case, *piece, Some((Some(*piece), *stream))).is_empty();
    let missed: Vec<_> = all.filter(missed).map(|((name, ..), piece)| (name, piece)).collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
