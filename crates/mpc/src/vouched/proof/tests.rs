//! A prover that deviates as well as it can: it sends a wrong correction, and makes up for it by
//! the number that it splits between its verifiers, from what it takes the challenge to be. With
//! the real challenge that passes, so that nothing but the challenge stands in its way.
//!
//! What the prover sends is changed on its way to the second verifier. Nothing else that it sends
//! or vouches for depends on its correction.

use super::wide::{Wide, factors, grid, pack_wide, unpack_wide, weigh, wide_mask};
use super::*;
use crate::protocol::Protocol;
use crate::rep3_malicious::Rep3Malicious;
use crate::vouched::deal::Streams;
use crate::vouched::share::HELD;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subrosa_core::geometry::MatDims;
use subrosa_net::frame::{DATA, Header};
use subrosa_net::wait::Wake;
use subrosa_net::{Frame, Link, LinkError, PeerFault, Session};
use subrosa_ring::Z32;

type Party = Rep3Malicious<Z32>;

const K: u32 = 32;
const NAMES: [&str; 3] = ["party 0", "party 1", "party 2"];
/// Messages from party 0 to party 1, counted from the first one of the setup, which has two: the
/// corrections, and its part of the split number.
const CORRECTIONS: usize = 2;
const SPLIT: usize = 5;

/// Changes a message, given its number.
type Change = Arc<dyn Fn(usize, &mut Vec<u8>) + Send + Sync>;

struct Tampered {
    link: Box<dyn Link>,
    messages: usize,
    change: Option<Change>,
}

impl Link for Tampered {
    fn send(&mut self, mut frame: Frame) -> Result<(), LinkError> {
        if let (Some(change), DATA) = (&self.change, Header::decode(&frame.header).kind) {
            change(self.messages, &mut frame.payload);
            self.messages += 1;
        }
        self.link.send(frame)
    }
    fn poll(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        self.link.poll(limit)
    }
    fn wake(&self) -> Wake<'_> {
        self.link.wake()
    }
    fn due(&self) -> Option<Instant> {
        self.link.due()
    }
    fn received(&self) -> u64 {
        self.link.received()
    }
    fn close(&mut self) {
        self.link.close();
    }
    fn is_flushed(&self) -> bool {
        self.link.is_flushed()
    }
}

fn seed(of: usize) -> Seed {
    Seed::from_bytes([of as u8 + 1; SEED_BYTES])
}

/// What the prover takes its two challenges to be, the one of columns and that of rows.
#[derive(Clone, Copy)]
enum Foreseen {
    Both,
    /// As it really is: the challenge of rows is drawn when the number has been sent.
    Columns,
    Neither,
}

/// The prover's number as the error `e` of its corrections wants it to be changed.
fn change(map: &Bilinear, e: &[Wide], foreseen: Foreseen) -> Wide {
    let drawn = |of: usize| {
        let mut stream = Streams::new("test", &seed(of)).challenge;
        [0, 1].map(|_| {
            let mut challenge = [0; SEED_BYTES];
            stream.fill(&mut challenge);
            Seed::from_bytes(challenge)
        })
    };
    let ([columns, rows], [other_columns, other_rows]) = (drawn(0), drawn(100));
    let (columns, rows) = match foreseen {
        Foreseen::Both => (columns, rows),
        Foreseen::Columns => (columns, other_rows),
        Foreseen::Neither => (other_columns, other_rows),
    };
    let rows = factors(&mut rows.stream("factors of rows"), grid(map).0);
    let columns = factors(&mut columns.stream("factors of columns"), grid(map).1);
    weigh(map, &rows, &columns, e)
}

/// What the second verifier says to a product of two vectors of these lengths, in which party 0 sends
/// corrections that are `e` off, and a number that makes up for them if `foreseen` is right.
fn verdict(map: Bilinear, lens: [usize; 2], e: &[Wide], foreseen: Option<Foreseen>) -> Result<(), Error> {
    let off = e.to_vec();
    let by = foreseen.map_or(0, |foreseen| change(&map, e, foreseen));
    let change: Change = Arc::new(move |message, payload| {
        let mut words = unpack_wide(payload, K);
        match message {
            CORRECTIONS => words.iter_mut().zip(&off).for_each(|(z, e)| *z = z.wrapping_add(*e) & wide_mask(K)),
            SPLIT => words.iter_mut().for_each(|z| *z = z.wrapping_sub(by) & wide_mask(K)),
            _ => return,
        }
        let changed = pack_wide(&words, K);
        assert_eq!(changed.len(), payload.len(), "message {message} is not of wide words");
        *payload = changed;
    });
    let party = |session: Session| -> Result<(), Error> {
        let mut p = Party::setup(session)?;
        p.streams = HELD[p.me].iter().map(|&piece| Streams::new("test", &seed(piece))).collect();
        let pieces = |name: &str, n: usize| -> Vec<_> {
            let words = |piece: &usize| seed(*piece).stream(name).u64s(n).into_iter().map(|v| v as u32).collect();
            HELD[p.me].iter().map(words).map(Arc::new).collect()
        };
        let product = Factors::whole(map, &pieces("x", lens[0]), &pieces("y", lens[1]));
        p.multiply_unvouched(vec![product])?;
        p.prove()
    };
    let mut sessions = subrosa_net::local(&NAMES);
    let prover = sessions.remove(0);
    // Its links are wrapped in the order of its peers.
    let links = std::cell::Cell::new(0);
    let prover = prover.wrap_links(|link| {
        let change = (links.replace(links.get() + 1) == 0).then(|| change.clone());
        Box::new(Tampered { link, messages: 0, change })
    });
    sessions.insert(0, prover);
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions.into_iter().map(|session| scope.spawn(|| party(session))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).nth(1).unwrap()
    })
}

fn blamed(verdict: &Result<(), Error>) -> bool {
    let pair = |peer: &str, by: &str| (peer, by) == (NAMES[0], NAMES[1]);
    matches!(verdict, Err(Error::Peer(subrosa_net::Error::Peer { peer, kind: PeerFault::Contradicted { by } }))
        if pair(peer, by))
}

/// One result off by `by`.
fn one(n: usize, at: usize, by: Wide) -> Vec<Wide> {
    (0..n).map(|i| if i == at { by } else { 0 }).collect()
}

fn products() -> [(Bilinear, [usize; 2]); 2] {
    let dims = MatDims { groups: 1, m: 3, k: 4, n: 5 };
    [(Bilinear::Mul { n: 15 }, [15, 15]), (Bilinear::MatMul { batch: 1, dims, matrices: 1 }, [12, 20])]
}

#[test]
fn who_knows_the_challenge_can_cheat_and_who_guesses_it_cannot() {
    for (map, lens) in products() {
        assert_eq!(verdict(map, lens, &[], None), Ok(()), "an honest prover");
        // One off, the top bit alone, and every result.
        let off = [one(15, 7, 1), one(15, 14, 1 << (K - 1)), vec![1; 15]];
        for (i, e) in off.iter().enumerate() {
            let with = |foreseen| verdict(map, lens, e, foreseen);
            assert_eq!(with(Some(Foreseen::Both)), Ok(()), "error {i}: the positive control");
            assert!(blamed(&with(None)), "error {i}, not made up for");
            assert!(blamed(&with(Some(Foreseen::Neither))), "error {i}, both challenges guessed");
            assert!(blamed(&with(Some(Foreseen::Columns))), "error {i}, that of rows guessed");
        }
    }
}

/// Party 2 is the first verifier of party 0, whose second is party 1.
#[test]
fn the_first_verifier_waits_for_the_second() {
    let challenged = |acknowledged: bool| {
        let sessions: Vec<_> = std::thread::scope(|scope| {
            let setup = |session| scope.spawn(|| Party::setup(session).unwrap());
            let threads: Vec<_> = subrosa_net::local(&NAMES).into_iter().map(setup).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let [_prover, mut second, mut first] = sessions.try_into().ok().unwrap();
        if acknowledged {
            second.session.round(vec![(2, vec![0])], &[]).unwrap();
        }
        first.session.record_transcript();
        first.session.set_limit(Some(Instant::now() + Duration::from_millis(300)));
        assert!(first.challenges().is_err(), "nobody else says anything");
        let sent = first.session.transcript();
        assert_eq!(sent.first(), Some(&(0, vec![0])), "its own acknowledgement");
        sent.iter().any(|(to, message)| *to == 0 && message.len() == SEED_BYTES)
    };
    assert!(challenged(true), "the positive control");
    assert!(!challenged(false), "the challenge was sent before the claim had come");
}
