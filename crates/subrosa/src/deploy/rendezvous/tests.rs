use super::super::control::{Open, Reply, Request, Wanted, hear, say};
use super::*;
use crate::deploy::support::{self, Deployment};
use std::time::Duration;
use subrosa_net::tcp::Endpoint;

/// A deployment's party 0, which waits for the vendor in a session of this code.
#[test]
fn a_session_takes_those_it_waits_for_and_each_once() {
    let deployment = Deployment::new("");
    let config = deployment.parsed();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let here = support::identity(deployment.folder.path(), "hospital");
    let print = here.fingerprint();
    let here = Endpoint::new(here, config.known()).unwrap();
    let soon = || Instant::now() + Duration::from_secs(10);
    let dial = |name: &str| {
        let there = support::identity(deployment.folder.path(), name);
        let there = Endpoint::new(there, config.known()).unwrap();
        std::thread::scope(|scope| {
            let dialed = scope.spawn(|| there.dial("hospital", &address, print, soon()).unwrap());
            let (stream, _) = listener.accept().unwrap();
            (here.accept(stream, soon()).unwrap(), dialed.join().unwrap())
        })
    };
    let rendezvous = Rendezvous::default();
    let session = SessionId::random().unwrap();
    let place = rendezvous.open(session, ["vendor".to_owned()].into()).unwrap();
    assert!(rendezvous.open(session, BTreeSet::new()).is_none());
    // Kept, so that none hangs up.
    let mut callers = Vec::new();
    let mut deliver = |name: &str, session| {
        let (channel, caller) = dial(name);
        callers.push(caller);
        rendezvous.deliver(session, channel, Instant::now()).err().map(|(_, turned)| turned)
    };
    assert_eq!(deliver("ministry", session), Some(Turned::Unexpected));
    assert_eq!(deliver("regulator", session), Some(Turned::Unexpected));
    assert_eq!(deliver("vendor", session), None);
    assert_eq!(deliver("vendor", session), Some(Turned::Unexpected), "a second time");
    assert_eq!(deliver("vendor", SessionId::random().unwrap()), Some(Turned::Unopened));
    assert_eq!(place.next(Instant::now()).unwrap().peer(), "vendor");
    assert!(place.next(Instant::now()).is_none());
    drop(place);
    assert_eq!(deliver("vendor", session), Some(Turned::Unopened));
}

/// The same of a party at work, as the one that is turned away hears it.
#[test]
fn a_party_turns_away_whoever_is_no_part_of_a_session() {
    let deployment = Deployment::started("");
    let join = |name: &str, session| {
        let config = deployment.parsed();
        let endpoint = Endpoint::new(support::identity(deployment.folder.path(), name), config.known()).unwrap();
        let party = &config.parties[0];
        let soon = Instant::now() + Duration::from_secs(10);
        let mut channel = endpoint.dial(&party.name, &party.address, party.fingerprint, soon).unwrap();
        say(&mut channel, &Request::Join { session }).unwrap();
        channel
    };
    let session = SessionId::random().unwrap();
    let mut opened = deployment.client("clinic").dial(0).unwrap();
    let cluster = deployment.parsed().digest();
    let model = Wanted::Brought { card: 1 };
    let open = Open { session, trace: [0; 16], cluster, model, receiver: None, network: None };
    say(&mut opened, &Request::Open(open)).unwrap();
    let _vendor = join("vendor", session);
    for name in ["ministry", "laboratory"] {
        let error = hear::<Reply>(&mut join(name, session), Duration::from_secs(10)).err().unwrap();
        assert!(error.to_string().contains("does not wait for this connection"), "{name}: {error}");
    }
}
