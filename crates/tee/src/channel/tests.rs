//! Two servers, a client, and somebody in between.

use super::*;
use crate::binding::{Freshness, Role, Suite};
use crate::policy::Policy;
use crate::synthetic::Enclave;
use crate::verify::tests::signed;
use crate::verify::{Roots, Verdict, verify, verify_under};
use crate::{Collateral, Evidence, Reason, Stapled};

const NOW: u64 = 1_795_392_000;

/// A server in an enclave of its own, and what it can show.
struct Server {
    enclave: Enclave,
    key: ChannelKey,
}

impl Server {
    fn new() -> Self {
        Self { enclave: Enclave::new(), key: ChannelKey::generate().unwrap() }
    }

    fn bound(&self, policy: &Policy, nonce: [u8; 32]) -> Bound {
        Bound {
            role: Role::Serve,
            suite: Suite::X25519ChaCha20,
            channel_key: self.key.public(),
            tls_key: None,
            freshness: Freshness::Nonce(nonce),
            data_policy: Some(policy.id()),
            model_policy: None,
            model: [4; 32],
            configuration: [5; 32],
            exporter: None,
        }
    }
}

fn policy() -> Policy {
    signed(&Enclave::rules())
}

fn check(server: &Server, stapled: &Stapled, policy: &Policy, bound: &Bound, now: u64) -> Result<Attested, Reason> {
    match verify_under(&server.enclave.roots(), &stapled.evidence, &stapled.collateral, policy, bound, now) {
        Verdict::Attested(attested) => Ok(*attested),
        Verdict::Untrusted(reason) => Err(reason),
    }
}

fn meet(server: &Server) -> (Attested, Bound) {
    let policy = policy();
    let bound = server.bound(&policy, [2; 32]);
    let stapled = server.enclave.attest(&bound, NOW);
    (check(server, &stapled, &policy, &bound, NOW).unwrap(), bound)
}

#[test]
fn the_whole_way_under_a_test_root_which_vendors_roots_refuse() {
    let server = Server::new();
    let (attested, bound) = meet(&server);
    assert_eq!(attested.valid_until(), NOW + 3600);
    let stapled = server.enclave.attest(&bound, NOW);
    let verdict = verify(&stapled.evidence, &stapled.collateral, &policy(), &bound, NOW);
    assert_eq!(verdict, Verdict::Untrusted(Reason::Issuer { piece: crate::Piece::NitroChain }));
    // Debug mode, another program, a lie about the time: under the same root.
    let said = bound.report_data();
    for (document, code) in [
        (server.enclave.document(&said, NOW, |_| 0), "debug"),
        (server.enclave.document(&said, NOW, |n| n + 2), "measurement"),
        (server.enclave.document(&said, NOW - 301, |n| n + 1), "expired"),
        (server.enclave.document(&said, NOW + 1, |n| n + 1), "not-yet-valid"),
        (server.enclave.document(b"short", NOW, |n| n + 1), "binding"),
    ] {
        assert_eq!(check(&server, &document, &policy(), &bound, NOW).unwrap_err().code(), code);
    }

    let responder = Responder::new(server.key);
    let (request, awaited) = seal(&attested, b"an image", NOW).unwrap();
    assert!(!request.windows(8).any(|w| w == b"an image"));
    let (opened, owed) = responder.open(&bound, &request).unwrap();
    assert_eq!(opened, b"an image");
    let answer = owed.seal(b"a seven").unwrap();
    assert_eq!(awaited.open(&answer).unwrap(), b"a seven");
    assert_eq!(seal(&attested, b"", NOW + 3601).err(), Some(Error::Stale { until: NOW + 3600 }));
}

#[test]
fn a_relay_gets_nothing() {
    let (good, relay) = (Server::new(), Server::new());
    let policy = policy();
    // The relay passes the client's nonce on and shows what comes back.
    let bound = good.bound(&policy, [2; 32]);
    let shown = good.enclave.attest(&bound, NOW);
    let attested = check(&good, &shown, &policy, &bound, NOW).unwrap();
    let (request, awaited) = seal(&attested, b"an image", NOW).unwrap();
    // It cannot read what it carries, and not make an answer.
    let relay_key = relay.key.public();
    let responder = Responder::new(relay.key);
    let swapped = Bound { channel_key: relay_key, ..bound.clone() };
    assert!(matches!(responder.open(&swapped, &request), Err(Error::Message { .. })));
    assert!(matches!(awaited.open(&[0; 64]), Err(Error::Message { .. })));
    // With its own key in place of the good one, the evidence is not about it.
    assert_eq!(check(&good, &shown, &policy, &swapped, NOW), Err(Reason::Binding));
    // A responder does not answer under a key that is not its own, nor for another purpose.
    assert!(matches!(responder.open(&bound, &request), Err(Error::Message { .. })));
    let fetching = Bound { role: Role::FetchKey, ..bound };
    assert!(matches!(Responder::new(good.key).open(&fetching, &request), Err(Error::Message { .. })));
}

#[test]
fn old_evidence_is_not_about_this_connection() {
    let server = Server::new();
    let policy = policy();
    let bound = server.bound(&policy, [2; 32]);
    let shown = server.enclave.attest(&bound, NOW);
    let other = |change: fn(&mut Bound)| {
        let mut bound = bound.clone();
        change(&mut bound);
        check(&server, &shown, &policy, &bound, NOW)
    };
    assert!(other(|_| {}).is_ok());
    let changes: [fn(&mut Bound); 8] = [
        |b| b.freshness = Freshness::Nonce([3; 32]),
        |b| b.freshness = Freshness::Epoch(1),
        |b| b.model[0] ^= 1,
        |b| b.configuration[0] ^= 1,
        |b| b.exporter = Some([1; 32]),
        |b| b.tls_key = Some([1; 32]),
        |b| b.role = Role::FetchKey,
        |b| b.model_policy = Some(crate::PolicyId([1; 32])),
    ];
    for change in changes {
        assert_eq!(other(change), Err(Reason::Binding));
    }
    let epoch = |n| Bound { freshness: Freshness::Epoch(n), ..bound.clone() };
    let shared = server.enclave.attest(&epoch(7), NOW);
    assert!(check(&server, &shared, &policy, &epoch(7), NOW).is_ok());
    assert_eq!(check(&server, &shared, &policy, &epoch(8), NOW), Err(Reason::Binding));
}

#[test]
fn each_request_is_answered_once_and_with_its_own_answer() {
    let server = Server::new();
    let (attested, bound) = meet(&server);
    let responder = Responder::new(server.key);
    let (first, awaits_first) = seal(&attested, b"one", NOW).unwrap();
    let (second, awaits_second) = seal(&attested, b"two", NOW).unwrap();
    let (_, owes_first) = responder.open(&bound, &first).unwrap();
    assert_eq!(responder.open(&bound, &first).err(), Some(Error::Replayed));
    // X25519 ignores the highest bit of a public key: another spelling of the same message.
    let mut respelled = first.clone();
    respelled[8 + 31] ^= 0x80;
    assert!(responder.open(&bound, &respelled).is_err());
    let (_, owes_second) = responder.open(&bound, &second).unwrap();
    let (to_first, to_second) = (owes_first.seal(b"1").unwrap(), owes_second.seal(b"2").unwrap());
    assert!(awaits_first.open(&to_second).is_err(), "answers are swapped");
    assert_eq!(awaits_second.open(&to_second).unwrap(), b"2");
    assert_ne!(to_first, to_second);
}

#[test]
fn no_byte_of_a_message_changes() {
    let server = Server::new();
    let (attested, bound) = meet(&server);
    let responder = Responder::new(server.key);
    let (request, _) = seal(&attested, b"an image", NOW).unwrap();
    for at in 0..request.len() {
        let mut changed = request.clone();
        changed[at] ^= 1;
        assert!(matches!(responder.open(&bound, &changed), Err(Error::Message { .. })), "byte {at}");
        assert!(responder.open(&bound, &request[..at]).is_err(), "{at} bytes");
    }
    let (_, owed) = responder.open(&bound, &request).unwrap();
    let answer = owed.seal(b"a seven").unwrap();
    for at in (0..answer.len()).step_by(5) {
        let (request, awaited) = seal(&attested, b"x", NOW).unwrap();
        let (_, owed) = responder.open(&bound, &request).unwrap();
        let mut changed = owed.seal(b"y").unwrap();
        let place = at.min(changed.len() - 1);
        changed[place] ^= 1;
        assert!(awaited.open(&changed).is_err(), "byte {place}");
    }
}

#[test]
fn evidence_that_is_not_of_the_root_opens_no_channel() {
    let server = Server::new();
    let bound = server.bound(&policy(), [2; 32]);
    let stapled = Server::new().enclave.attest(&bound, NOW);
    assert!(check(&server, &stapled, &policy(), &bound, NOW).is_err());
    let verdict =
        verify_under(&Roots::VENDORS, &Evidence::Simulated(Vec::new()), &Collateral::Simulated, &policy(), &bound, NOW);
    assert_eq!(verdict, Verdict::Untrusted(Reason::Simulated));
}
