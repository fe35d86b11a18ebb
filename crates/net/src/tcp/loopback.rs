//! Sessions between threads of one process over real mutual TLS on the loopback
//! interface, for tests and benches.
#![expect(clippy::expect_used, reason = "for tests and benches only")]

use super::{Endpoint, Identity, Validity};
use crate::link::Link;
use crate::session::{EndpointId, Session};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

/// A session for each of `names`, every pair connected.
pub fn loopback(names: &[&str]) -> Vec<Session> {
    let until = Instant::now() + Duration::from_secs(60);
    let identities: Vec<Identity> =
        names.iter().map(|n| Identity::create(n, Validity::days(1)).expect("an identity")).collect();
    let prints: Vec<_> = identities.iter().map(Identity::fingerprint).collect();
    let known: BTreeMap<_, _> = prints.iter().copied().zip(names.iter().map(|&n| n.to_owned())).collect();
    let endpoints: Vec<Endpoint> =
        identities.into_iter().map(|i| Endpoint::new(i, known.clone()).expect("an endpoint")).collect();
    let listeners: Vec<TcpListener> =
        names.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let addresses: Vec<String> = listeners.iter().map(|l| l.local_addr().expect("bound").to_string()).collect();
    // Everybody dials those before it and accepts those behind it.
    let links = |me: EndpointId| {
        let mut links: Vec<(EndpointId, Box<dyn Link>)> = Vec::new();
        for peer in 0..me {
            let channel = endpoints[me].dial(names[peer], &addresses[peer], prints[peer], until).expect("dialed");
            links.push((peer, channel.into_link()));
        }
        for _ in me + 1..names.len() {
            let (stream, _) = listeners[me].accept().expect("a connection");
            let channel = endpoints[me].accept(stream, until).expect("accepted");
            let peer = names.iter().position(|n| *n == channel.peer()).expect("known");
            links.push((peer, channel.into_link()));
        }
        Session::new(me, names.iter().map(|&n| n.to_owned()).collect(), links)
    };
    let links = &links;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..names.len()).map(|me| scope.spawn(move || links(me))).collect();
        threads.into_iter().map(|t| t.join().expect("connected")).collect()
    })
}

#[cfg(test)]
mod tests {
    crate::link_conformance!(super::loopback);
}
