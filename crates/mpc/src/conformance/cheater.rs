//! A party that deviates, at every message it sends: in value, in kind, in time.
//!
//! For protocols whose claim is malicious. Every run must end with the right result, or
//! without one: every honest party and the receiver then have an error about a peer, and
//! whoever noticed a deviation by itself names the party that deviated (or it and another).

use crate::Error;
use crate::dry::{Dry, Length};
use crate::protocol::{Evaluator, Linear, Primitive, Protocol, Source, WordOf};
use std::time::Duration;
use subrosa_core::Seed;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_net::fault::Fault;
use subrosa_net::{PeerFault, Session};
use subrosa_ring::{Ring, Word, sign_extend};

/// What one run gave: the parties' ends and what the receiver opened.
struct Outcome {
    parties: Vec<Result<(), Error>>,
    /// Messages that each party sent to each endpoint, the receiver last.
    sent: Vec<Vec<usize>>,
    opened: Result<Vec<Vec<i64>>, Error>,
}

const X: [i64; 6] = [5, -7, 0, -1, 100, -128];
const W: [i64; 6] = [3, -2, 9, 1, -1, 2];
const DIMS: MatDims = MatDims { groups: 1, m: 2, k: 3, n: 1 };
const CONV: ConvGeometry = ConvGeometry {
    c: 1,
    input: (2, 3),
    o: 1,
    output: (2, 2),
    kernel: (1, 2),
    strides: (1, 1),
    dilations: (1, 1),
    pads: (0, 0),
    groups: 1,
};

/// Every operation once.
fn all_operations<P: Evaluator>(p: &mut P, x: &P::Share, w: &P::Share) -> Result<Vec<P::Product>, Error> {
    let first = |n: usize| w.map(n, |w| w.get(..n).unwrap_or(&[]).to_vec());
    let weighted = p.mul(x, w)?;
    let square = p.mul(x, x)?;
    let truncated = p.trunc(Source::Product(&weighted), 2)?;
    let both = p.trunc_relu(Source::Product(&square), 3, 13)?;
    let again = p.trunc_relu(Source::Share(x), 1, 9)?;
    let rectified = p.relu(x, 8)?;
    let sign = p.ltz(x, 8)?;
    let reshared = p.reshare(&weighted)?;
    let matrix = p.matmul(1, DIMS, x, &first(3))?;
    let convolved = p.conv(1, &CONV, x, &first(2))?;
    let shares = [truncated, both, again, rectified, sign, reshared].map(|y| p.to_product(&y));
    Ok(shares.into_iter().chain([weighted, matrix, convolved]).collect())
}

/// Whether these are the results of [`all_operations`]: truncations may be one more.
fn are_right(opened: &[Vec<i64>]) -> bool {
    let each = |f: fn(i64, i64) -> i64| -> Vec<i64> { X.iter().zip(W).map(|(&x, w)| f(x, w)).collect() };
    let matrix = [0, 1].map(|row| (0..3).map(|k| X[3 * row + k] * W[k]).sum()).to_vec();
    let at = |y: usize, x: usize| X[3 * y + x] * W[0] + X[3 * y + x + 1] * W[1];
    let expected = [
        (each(|x, w| (x * w) >> 2), 1),
        (each(|x, _| (x * x) >> 3), 1),
        (each(|x, _| x >> 1), 1),
        (each(|x, _| x.max(0)), 0),
        (each(|x, _| i64::from(x < 0)), 0),
        (each(|x, w| x * w), 0),
        (each(|x, w| x * w), 0),
        (matrix, 0),
        (vec![at(0, 0), at(0, 1), at(1, 0), at(1, 1)], 0),
    ];
    let near = |i: usize, got: i64, floor: i64| match i {
        // Truncated relus.
        1 | 2 => got == floor.max(0) || got == (floor + 1).max(0),
        _ => (floor..=floor + expected[i].1).contains(&got),
    };
    let same = |i: usize, got: &[i64]| {
        let floors = &expected[i].0;
        got.len() == floors.len() && got.iter().zip(floors).all(|(&got, &floor)| near(i, got, floor))
    };
    opened.len() == expected.len() && opened.iter().enumerate().all(|(i, got)| same(i, got))
}

fn words<P: Protocol>(values: &[i64]) -> Vec<WordOf<P>> {
    values.iter().map(|&v| Word::from_i64(v)).collect()
}

/// How long a silent peer is waited for.
const PATIENCE: Duration = Duration::from_millis(400);

/// Runs everything with faults in what `cheater` sends: one an entry, to that endpoint.
fn run<P: Protocol>(cheater: usize, faults: &[(usize, Fault)]) -> Outcome {
    let (owner_id, receiver_id) = (P::PARTIES, P::PARTIES + 1);
    let names: Vec<String> = (0..P::PARTIES + 2).map(|i| format!("endpoint {i}")).collect();
    let mut sessions = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut receiver = sessions.pop().unwrap();
    let mut owner = sessions.pop().unwrap();
    let mut demand = vec![Primitive::Input { parts: 1, n: X.len() }];
    let mut dry = Dry::<P::Ring>::default();
    let lens: Vec<usize> = {
        let outputs = all_operations(&mut dry, &Length::of(X.len()), &Length::of(W.len())).unwrap();
        outputs.iter().map(Linear::<WordOf<P>>::len).collect()
    };
    demand.extend(dry.into_calls());
    demand.extend(lens.iter().map(|&n| Primitive::OpenTo { parts: 1, n }));
    let kept = P::deal_kept(&words::<P>(&W)).unwrap();
    let body = |session: Session| -> (Result<(), Error>, Vec<usize>) {
        let me = session.id();
        let mut party = match P::setup(session) {
            Ok(party) => party,
            Err(error) => return (Err(error), vec![]),
        };
        let w = party.dealt(W.len(), &kept[me]);
        let evaluate = |party: &mut P| {
            let x = party.input(owner_id, 1, X.len())?;
            let outputs = all_operations(party, &x, &w)?;
            outputs.iter().try_for_each(|y| party.open_to(receiver_id, 1, y))
        };
        let end = party.prepare(&demand, evaluate).and_then(|()| evaluate(&mut party));
        let mut sent = vec![0; receiver_id + 1];
        party.session().transcript().iter().for_each(|(to, _)| sent[*to] += 1);
        (end, sent)
    };
    std::thread::scope(|scope| {
        let start = |(id, mut session): (usize, Session)| {
            session.set_deadline(PATIENCE);
            session.record_transcript();
            let faults = if id == cheater { faults } else { &[] };
            let session = faults.iter().fold(session, |session, &(to, fault)| session.with_fault(to, fault));
            scope.spawn(|| body(session))
        };
        let threads: Vec<_> = sessions.into_iter().enumerate().map(start).collect();
        let dealt = P::deal(&words::<P>(&X)).unwrap();
        // If the parties are gone already, the receiver will know.
        let _ = owner.round(dealt.into_iter().enumerate().collect(), &[]);
        receiver.set_deadline(20 * PATIENCE);
        let open = |&n: &usize| -> Result<Vec<i64>, Error> {
            let expected: Vec<_> = (0..P::ONLINE).map(|p| (p, P::opening_bytes(n))).collect();
            let messages = receiver.round(vec![], &expected)?;
            let words = P::reconstruct(n, &messages).map_err(|fault| fault.accuse(&mut receiver))?;
            Ok(words.into_iter().map(|w| sign_extend(w, P::Ring::WIDTH.bits())).collect())
        };
        let opened = lens.iter().map(open).collect();
        let (parties, sent) = threads.into_iter().map(|t| t.join().expect("a party panicked")).unzip();
        Outcome { parties, sent, opened }
    })
}

/// Deviations in one message.
fn deviations(frame: usize) -> Vec<Fault> {
    let kinds = [
        // Value: the first payload byte, and one a little behind.
        Fault::Flip { frame, byte: 16, mask: 1 },
        Fault::Flip { frame, byte: 19, mask: 0x80 },
        // Kind: the frame's kind, its number, its length, less than it announces, nothing.
        Fault::Flip { frame, byte: 0, mask: 1 },
        Fault::Flip { frame, byte: 4, mask: 1 },
        Fault::Truncate { frame, to: 1 },
        // Time: the end of the link, the same message twice.
        Fault::Cut { frames: frame },
        Fault::Duplicate { frame },
    ];
    // Out of order: a message held back until the next may stop everybody until the deadline.
    let swapped = (frame % 8 == 3).then_some(Fault::Swap { frame });
    kinds.into_iter().chain(swapped).collect()
}

/// Holds an outcome against what the module says.
fn check(at: &str, cheater: usize, outcome: &Outcome) {
    match &outcome.opened {
        Ok(opened) => assert!(are_right(opened), "{at}: a wrong result was opened: {opened:?}"),
        Err(error) => blames(at, cheater, error),
    }
    let honest = outcome.parties.iter().enumerate().filter(|(party, _)| *party != cheater);
    honest.filter_map(|(_, end)| end.as_ref().err()).for_each(|error| blames(at, cheater, error));
}

/// An error about a peer; if noticed at first hand, about the one that deviates.
fn blames(at: &str, cheater: usize, error: &Error) {
    let name = format!("endpoint {cheater}");
    match error {
        // Told by another, or the other's end of the same.
        Error::Peer(subrosa_net::Error::Peer {
            kind: PeerFault::Aborted(_) | PeerFault::Gone | PeerFault::Late { .. },
            ..
        }) => {}
        Error::Peer(subrosa_net::Error::Peer { peer, kind: PeerFault::Contradicted { by } }) => {
            assert!(*peer == name || *by == name, "{at}: {peer} and {by} are blamed");
        }
        Error::Peer(subrosa_net::Error::Peer { peer, .. }) => assert_eq!(*peer, name, "{at}: {error}"),
        Error::Peer(_)
        | Error::Entropy(_)
        | Error::Disk(_)
        | Error::Keys(_)
        | Error::Misuse(_)
        | Error::Stopped { .. } => {
            panic!("{at}: {error}")
        }
    }
}

/// One deviation at a time, at every message on every link of every party: of every kind, or where
/// that would be too many runs, one in value and one of another kind, drawn anew each time.
pub fn at_every_message<P: Protocol>() {
    let honest = run::<P>(0, &[]);
    assert!(honest.opened.as_deref().is_ok_and(are_right), "{:?}", honest.opened);
    assert!(honest.parties.iter().all(Result::is_ok));
    let seed = Seed::random().unwrap();
    let mut prg = seed.stream("deviations");
    let messages: usize = honest.sent.iter().flatten().sum();
    let mut runs = 0;
    for (cheater, sent) in honest.sent.iter().enumerate() {
        for (to, &messages_to) in sent.iter().enumerate() {
            for frame in 0..messages_to {
                let mut faults = deviations(frame);
                if messages > MOST {
                    let mut draw = |n: usize| (prg.u64s(1)[0] % n as u64) as usize;
                    let value = Fault::Flip { frame, byte: 16 + draw(48), mask: 1 << draw(8) };
                    faults = vec![value, faults.swap_remove(draw(faults.len()))];
                }
                for fault in faults {
                    let at = format!("{cheater} to {to}: {fault:?}, seed {:02x?}", seed.expose());
                    check(&at, cheater, &run::<P>(cheater, &[(to, fault)]));
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 1000, "{}: only {runs} deviations were tried", P::NAME);
}

/// Messages of a run of which every kind of deviation is tried.
const MOST: usize = 700;

/// The same wrong value to everybody, from some message on.
pub fn to_everybody<P: Protocol>() {
    let honest = run::<P>(0, &[]);
    for (cheater, sent) in honest.sent.iter().enumerate() {
        for frame in 0..sent.iter().copied().max().unwrap_or(0) {
            let linked = (0..sent.len()).filter(|&to| sent[to] > 0);
            let faults: Vec<_> = linked.map(|to| (to, Fault::Flip { frame, byte: 16, mask: 1 })).collect();
            check(&format!("{cheater} to all: message {frame}"), cheater, &run::<P>(cheater, &faults));
        }
    }
}

/// A party that is too slow for the others' patience on one link.
pub fn too_late<P: Protocol>() {
    let honest = run::<P>(0, &[]);
    for (cheater, sent) in honest.sent.iter().enumerate() {
        if let Some(to) = sent.iter().position(|&messages| messages > 0) {
            let outcome = run::<P>(cheater, &[(to, Fault::Delay { by: 2 * PATIENCE })]);
            check(&format!("{cheater} to {to}: late"), cheater, &outcome);
            assert!(outcome.opened.is_err(), "{cheater} to {to}: waited for without end");
        }
    }
}
