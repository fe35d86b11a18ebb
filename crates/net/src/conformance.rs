//! What every kind of link has to satisfy, whatever carries the bytes.
//!
//! [`link_conformance!`](crate::link_conformance) makes one test of each function here;
//! `connect` is a function from endpoint names to one session each.
#![expect(clippy::expect_used, clippy::panic, reason = "these functions are bodies of tests")]

use crate::error::{Error, PeerFault};
use crate::fault::Fault;
use crate::session::{EndpointId, Session};
use std::thread;
use std::time::{Duration, Instant};
use subrosa_core::{Cost, Meter, Phase};

/// A function that connects the named endpoints.
pub type Connect = fn(&[&str]) -> Vec<Session>;

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// Well below the default deadline: what ends sooner did not wait for it.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Instantiates every conformance test for `$connect`, in the module where it is called.
#[macro_export]
macro_rules! link_conformance {
    ($connect:path) => {
        $crate::link_conformance!(@each $connect,
            messages_arrive_in_order, large_messages_cross, rounds_and_bytes_are_metered,
            a_dropped_session_is_gone_at_once, a_panicked_thread_is_gone_at_once,
            an_abort_reaches_every_peer, an_abort_is_heard_while_waiting_for_another,
            what_was_sent_before_leaving_still_arrives, a_late_peer_is_late,
            the_end_of_a_session_is_nobodys_fault, a_failed_session_stays_failed,
            another_length_is_refused, repeated_swapped_and_damaged_frames_are_refused,
            a_cut_link_is_gone, delayed_frames_arrive, misuse_is_told_apart, transcripts_hold_what_was_sent,
            a_hello_finds_who_disagrees);
    };
    (@each $connect:path, $($test:ident),+ $(,)?) => {
        $(#[test] fn $test() { $crate::conformance::$test($connect); })+
    };
}

/// Runs `body` once per endpoint, each in its own thread, and returns the results in order.
pub fn in_threads<T: Send>(sessions: Vec<Session>, body: impl Fn(Session) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> = sessions.into_iter().map(|s| scope.spawn(move || body(s))).collect();
        threads.into_iter().map(|t| t.join().expect("an endpoint panicked")).collect()
    })
}

/// The two others of three endpoints.
fn others(me: EndpointId) -> [EndpointId; 2] {
    [(me + 1) % 3, (me + 2) % 3]
}

fn peer_fault(error: &Error) -> (&str, &PeerFault) {
    match error {
        Error::Peer { peer, kind } => (peer, kind),
        Error::SessionLimit { waiting_for } => panic!("no limit was set: {waiting_for}"),
        Error::Misuse(why) => panic!("misuse: {why}"),
    }
}

/// Alice sends `rounds` messages of 8 bytes to bob under `fault`; what bob ends with.
fn bob_under(connect: Connect, fault: Fault, rounds: usize) -> Result<(), Error> {
    let mut sessions = connect(&NAMES[..2]).into_iter();
    let (alice, bob) = (sessions.next().expect("alice"), sessions.next().expect("bob"));
    let sessions = vec![alice.with_fault(1, fault), bob];
    let run = |mut s: Session| {
        for i in 0..rounds {
            match s.id() {
                0 => s.round(vec![(1, vec![i as u8; 8])], &[]).map(drop)?,
                _ => {
                    let got = s.round(vec![], &[(0, 8)])?;
                    // On a stream of bytes the next frame's fill the gap; that ends in an
                    // error one frame later.
                    assert!(matches!(fault, Fault::Truncate { .. }) || got == [vec![i as u8; 8]]);
                }
            }
        }
        Ok(())
    };
    in_threads(sessions, run).pop().expect("two endpoints")
}

/// All to all, many rounds; the payload says who, to whom and when.
pub fn messages_arrive_in_order(connect: Connect) {
    in_threads(connect(&NAMES), |mut s| {
        let me = s.id();
        let message = |from: usize, to: usize, round: usize| vec![from as u8, to as u8, round as u8];
        for round in 0..200 {
            let sends = others(me).map(|to| (to, message(me, to, round))).to_vec();
            let got = s.round(sends, &others(me).map(|from| (from, 3))).expect("round");
            assert_eq!(got, others(me).map(|from| message(from, me, round)));
        }
    });
}

/// Both ends send 8 MB before either receives.
pub fn large_messages_cross(connect: Connect) {
    in_threads(connect(&NAMES[..2]), |mut s| {
        let (me, peer) = (s.id(), 1 - s.id());
        let got = s.round(vec![(peer, vec![me as u8; 8 << 20])], &[(peer, 8 << 20)]).expect("round");
        assert_eq!(got, [vec![peer as u8; 8 << 20]]);
    });
}

/// The meter equals the declared cost, phase by phase, and idle rounds count.
pub fn rounds_and_bytes_are_metered(connect: Connect) {
    let sessions = in_threads(connect(&NAMES), |mut s| {
        let me = s.id();
        s.set_phase(Phase::Offline);
        s.round(vec![], &[]).expect("idle round");
        s.set_phase(Phase::Online);
        for n in [5, 0] {
            s.round(vec![((me + 1) % 3, vec![0; n])], &[((me + 2) % 3, n)]).expect("ring round");
        }
        let header = subrosa_core::FRAME_HEADER_BYTES;
        let (next, previous) = (s.traffic((me + 1) % 3), s.traffic((me + 2) % 3));
        assert_eq!((next.sent, previous.sent), ([0, 0, 5 + 2 * header], [0; 3]));
        assert_eq!((next.received, previous.received), ([0; 3], [0, 0, 5 + 2 * header]));
        assert!(s.waited(Phase::Online) > Duration::ZERO && s.waited(Phase::Setup) == Duration::ZERO);
        s
    });
    let total = |phase| Meter::combine(phase, sessions.iter().map(Session::meter));
    assert_eq!(total(Phase::Setup), Cost::FREE);
    assert_eq!(total(Phase::Offline), Cost { rounds: 1, bytes: 0 });
    assert_eq!(total(Phase::Online), Cost::messages(3, 5) + Cost::messages(3, 0));
}

/// A peer that returned early is named, long before the deadline.
pub fn a_dropped_session_is_gone_at_once(connect: Connect) {
    let start = Instant::now();
    in_threads(connect(&NAMES), |mut s| {
        if s.id() != 0 {
            let error = s.round(vec![], &[(0, 1)]).expect_err("alice left");
            // Or from the other one, who noticed first.
            let told = matches!(peer_fault(&error).1, PeerFault::Aborted(why) if why.starts_with("alice is gone"));
            assert!(told || peer_fault(&error) == ("alice", &PeerFault::Gone), "{error}");
        }
    });
    assert!(start.elapsed() < AT_ONCE);
}

/// So is one whose thread panicked, and its peers' errors reach those who waited for them.
pub fn a_panicked_thread_is_gone_at_once(connect: Connect) {
    let start = Instant::now();
    thread::scope(|scope| {
        for mut s in connect(&NAMES) {
            let alice = s.id() == 0;
            let run = move || match s.id() {
                // `resume_unwind` is a panic that prints nothing.
                0 => std::panic::resume_unwind(Box::new("a bug")),
                1 => {
                    let error = s.round(vec![], &[(0, 1)]).expect_err("alice panicked");
                    assert_eq!(peer_fault(&error), ("alice", &PeerFault::Gone));
                }
                _ => {
                    let error = s.round(vec![], &[(1, 1)]).expect_err("bob stopped");
                    let reason = "alice is gone; see its own messages for the reason, then start the session again";
                    assert_eq!(peer_fault(&error), ("bob", &PeerFault::Aborted(reason.into())));
                }
            };
            let thread = scope.spawn(run);
            scope.spawn(move || assert_eq!(thread.join().is_err(), alice));
        }
    });
    assert!(start.elapsed() < AT_ONCE);
}

/// The reason reaches whoever waits for the endpoint that stopped, or sends to it.
pub fn an_abort_reaches_every_peer(connect: Connect) {
    in_threads(connect(&NAMES), |mut s| match s.id() {
        0 => s.abort("the input is not finite"),
        1 => {
            let error = s.round(vec![], &[(0, 1)]).expect_err("abort");
            assert_eq!(peer_fault(&error), ("alice", &PeerFault::Aborted("the input is not finite".into())));
        }
        _ => {
            // A send may succeed before the abort arrives; not for ever.
            let error = (0..).find_map(|_| s.round(vec![(0, vec![1])], &[]).err()).expect("abort");
            assert!(error.to_string().contains("the input is not finite"), "{error}");
        }
    });
}

/// Carol waits for bob, who waits for nobody and says nothing; alice stops.
pub fn an_abort_is_heard_while_waiting_for_another(connect: Connect) {
    let start = Instant::now();
    in_threads(connect(&NAMES), |mut s| match s.id() {
        0 => s.abort("out of memory"),
        1 => {
            let mut waited = s.round(vec![], &[(2, 1)]);
            waited = waited.and_then(|_| s.round(vec![], &[(2, 1)]));
            assert!(waited.is_err());
        }
        _ => {
            s.set_deadline(AT_ONCE * 2);
            let error = s.round(vec![], &[(1, 1)]).expect_err("abort");
            assert!(error.to_string().contains("alice") || peer_fault(&error).0 == "alice", "{error}");
            assert!(error.to_string().contains("out of memory"), "{error}");
        }
    });
    assert!(start.elapsed() < AT_ONCE);
}

/// An endpoint may finish and leave while its last messages are unread.
pub fn what_was_sent_before_leaving_still_arrives(connect: Connect) {
    in_threads(connect(&NAMES[..2]), |mut s| match s.id() {
        0 => (0..3).for_each(|i| drop(s.round(vec![(1, vec![i])], &[]).expect("bob is there"))),
        _ => {
            thread::sleep(Duration::from_millis(50));
            for i in 0..3 {
                assert_eq!(s.round(vec![], &[(0, 1)]).expect("sent before"), [[i]]);
            }
            assert_eq!(peer_fault(&s.round(vec![], &[(0, 1)]).expect_err("gone")).1, &PeerFault::Gone);
        }
    });
}

/// A silent peer costs the deadline and no more.
pub fn a_late_peer_is_late(connect: Connect) {
    in_threads(connect(&NAMES[..2]), |mut s| {
        if s.id() == 0 {
            let waited = Duration::from_millis(100);
            s.set_deadline(waited);
            let start = Instant::now();
            let error = s.round(vec![], &[(1, 1)]).expect_err("bob sleeps");
            assert!(matches!(peer_fault(&error), ("bob", PeerFault::Late { waited: w }) if *w >= waited), "{error}");
            assert!((waited..AT_ONCE).contains(&start.elapsed()));
        } else {
            let error = s.round(vec![], &[(0, 1)]).expect_err("alice gives up");
            assert!(matches!(peer_fault(&error), ("alice", PeerFault::Aborted(_))), "{error}");
        }
    });
}

/// A session that lasts longer than this endpoint allows blames nobody, and tells the other.
pub fn the_end_of_a_session_is_nobodys_fault(connect: Connect) {
    in_threads(connect(&NAMES[..2]), |mut s| {
        if s.id() == 0 {
            s.set_limit(Some(Instant::now() + Duration::from_millis(50)));
            let error = s.round(vec![], &[(1, 1)]).expect_err("bob waits as well");
            assert_eq!(error, Error::SessionLimit { waiting_for: "bob".to_owned() });
        } else {
            let error = s.round(vec![], &[(0, 1)]).expect_err("alice ends");
            assert!(matches!(peer_fault(&error), ("alice", PeerFault::Aborted(_))), "{error}");
        }
    });
}

/// After an error every later round returns it, and sends nothing.
pub fn a_failed_session_stays_failed(connect: Connect) {
    in_threads(connect(&NAMES[..2]), |mut s| {
        if s.id() == 1 {
            let first = s.round(vec![], &[(0, 1)]).expect_err("alice left");
            let sent = s.traffic(0).sent;
            assert_eq!(s.round(vec![(0, vec![1])], &[]), Err(first));
            assert_eq!(s.traffic(0).sent, sent);
        }
    });
}

/// A message that does not fit the round is refused, and the sender learns why.
pub fn another_length_is_refused(connect: Connect) {
    in_threads(connect(&NAMES[..2]), |mut s| match s.id() {
        0 => {
            // Bob may be the faster.
            let posted = s.round(vec![(1, vec![0; 7])], &[]);
            let error = posted.and_then(|_| s.round(vec![], &[(1, 1)])).expect_err("bob refused");
            assert!(matches!(peer_fault(&error), ("bob", PeerFault::Aborted(_))), "{error}");
        }
        _ => {
            let error = s.round(vec![], &[(0, 8)]).expect_err("seven bytes");
            assert_eq!(peer_fault(&error), ("alice", &PeerFault::Length { expected: 8, got: 7 }));
        }
    });
}

/// Faults below the session never end in a wrong answer: they name the sender.
pub fn repeated_swapped_and_damaged_frames_are_refused(connect: Connect) {
    let mut faults = vec![
        Fault::Duplicate { frame: 1 },
        Fault::Swap { frame: 1 },
        Fault::Truncate { frame: 1, to: 5 },
        Fault::Truncate { frame: 1, to: 0 },
    ];
    faults.extend((0..crate::frame::HEADER).map(|byte| Fault::Flip { frame: 1, byte, mask: 1 << (byte % 8) }));
    for fault in faults {
        let error = bob_under(connect, fault, 4).expect_err("a damaged frame");
        assert_eq!(peer_fault(&error).0, "alice", "{fault:?}: {error}");
    }
}

/// Bob is told after exactly the frames that were delivered.
pub fn a_cut_link_is_gone(connect: Connect) {
    let start = Instant::now();
    let error = bob_under(connect, Fault::Cut { frames: 2 }, 4).expect_err("cut");
    assert_eq!(peer_fault(&error), ("alice", &PeerFault::Gone));
    assert!(start.elapsed() < AT_ONCE);
}

/// Slowness within the deadline is no fault.
pub fn delayed_frames_arrive(connect: Connect) {
    let start = Instant::now();
    bob_under(connect, Fault::Delay { by: Duration::from_millis(30) }, 3).expect("late but there");
    assert!(start.elapsed() >= Duration::from_millis(90));
}

/// Impossible rounds blame this program, not a peer.
pub fn misuse_is_told_apart(connect: Connect) {
    let refused = |sends: Vec<(EndpointId, Vec<u8>)>, receives: &[(EndpointId, usize)]| {
        let result = connect(&NAMES[..2])[0].round(sends, receives);
        assert!(matches!(result, Err(Error::Misuse(_))), "{result:?}");
    };
    refused(vec![(0, vec![])], &[]);
    refused(vec![(7, vec![])], &[]);
    refused(vec![(1, vec![1]), (1, vec![2])], &[]);
    refused(vec![], &[(1, 1), (1, 1)]);
}

/// Equal digests pass; another one is named by those who see it, and ends their sessions.
pub fn a_hello_finds_who_disagrees(connect: Connect) {
    let hello = |digests: [u8; 3]| {
        in_threads(connect(&NAMES), move |mut s| {
            let result = s.hello(&others(s.id()), &[digests[s.id()]; 32]);
            let later = s.round(vec![], &[]);
            (result, later)
        })
    };
    for (result, later) in hello([7, 7, 7]) {
        assert_eq!((result, later), (Ok(()), Ok(vec![])));
    }
    for (id, (result, later)) in hello([7, 8, 7]).into_iter().enumerate() {
        let error = result.expect_err("somebody disagrees");
        let (peer, fault) = peer_fault(&error);
        // Bob differs from both others; the others may first hear of it from each other.
        let told = matches!(fault, PeerFault::Aborted(_));
        assert!(told || *fault == PeerFault::Disagrees, "{error}");
        assert!(told || id == 1 || peer == NAMES[1], "{error}");
        assert_eq!(later, Err(error));
    }
}

/// Payloads only, in order, from the moment recording began.
pub fn transcripts_hold_what_was_sent(connect: Connect) {
    let mut sessions = connect(&NAMES);
    let alice = &mut sessions[0];
    alice.round(vec![(1, vec![9])], &[]).expect("posted");
    assert!(alice.transcript().is_empty());
    alice.record_transcript();
    alice.round(vec![(2, vec![1, 2]), (1, vec![3])], &[]).expect("posted");
    alice.round(vec![(1, vec![])], &[]).expect("posted");
    assert_eq!(alice.transcript(), [(2, vec![1, 2]), (1, vec![3]), (1, vec![])]);
}
