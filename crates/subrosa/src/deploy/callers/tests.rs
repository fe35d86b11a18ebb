use super::super::control::{Reply, Request, hear, say};
use super::*;
use crate::deploy::support::{self, Deployment};
use std::time::{Duration, Instant};
use subrosa_net::tcp::Endpoint;

#[test]
fn one_caller_does_not_take_every_place() {
    let callers = Callers::new(5, 2);
    let places: Vec<_> = (0..3).map(|_| callers.place("a")).collect();
    assert_eq!(places.iter().flatten().count(), 2);
    let others = [callers.place("b"), callers.place("c"), callers.place("b"), callers.place("d")];
    assert_eq!(others.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false]);
    drop(places);
    assert!(callers.place("d").is_some());
    drop(others);
    assert!(callers.at_work.lock().unwrap().is_empty());
}

/// A client without any role that measures for ever, and one that looks for sessions which nobody opens.
#[test]
fn a_client_shuts_out_neither_others_nor_parties() {
    let deployment = Deployment::started("");
    let config = deployment.parsed();
    let soon = || Instant::now() + Duration::from_secs(10);
    let ask = |name: &str, request: &Request| {
        let endpoint = Endpoint::new(support::identity(deployment.folder.path(), name), config.known()).unwrap();
        let party = &config.parties[0];
        let mut channel = endpoint.dial(&party.name, &party.address, party.fingerprint, soon()).unwrap();
        say(&mut channel, request).unwrap();
        channel
    };
    let answer = |channel: &mut _| hear::<Reply>(channel, Duration::from_secs(10));
    let mut measuring = Vec::new();
    let refused = loop {
        let mut channel = ask("ministry", &Request::Ping);
        match answer(&mut channel) {
            Ok(_) => measuring.push(channel),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(measuring.len(), MOST_OF_ONE);
    assert!(refused.contains("too many callers"), "{refused}");
    let session = super::super::SessionId::random().unwrap();
    let error = answer(&mut ask("ministry", &Request::Join { session })).err().unwrap().to_string();
    assert!(error.contains("too many callers"), "{error}");
    assert!(matches!(answer(&mut ask("clinic", &Request::Status)), Ok(Reply::Status(_))));
}
