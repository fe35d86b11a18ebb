//! Links between threads of one process.

use crate::frame::Frame;
use crate::link::{Link, LinkError};
use crate::session::Session;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

/// In-process sessions between `names.len()` endpoints, one to move into each thread.
pub fn local(names: &[&str]) -> Vec<Session> {
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    let mut ends: Vec<Vec<(usize, Box<dyn Link>)>> = names.iter().map(|_| Vec::new()).collect();
    for b in 0..names.len() {
        for a in 0..b {
            let (to_b, to_a) = pair();
            ends[a].push((b, Box::new(to_b)));
            ends[b].push((a, Box::new(to_a)));
        }
    }
    ends.into_iter().enumerate().map(|(id, links)| Session::new(id, names.clone(), links)).collect()
}

/// Both ends of one duplex link.
fn pair() -> (LocalLink, LocalLink) {
    let (to_second, from_first) = channel();
    let (to_first, from_second) = channel();
    (LocalLink { out: to_second, inbox: from_second }, LocalLink { out: to_first, inbox: from_first })
}

/// One end of a link between two threads: frames move, payloads are never copied.
struct LocalLink {
    out: Sender<Frame>,
    inbox: Receiver<Frame>,
}

impl Link for LocalLink {
    fn send(&mut self, frame: Frame) -> Result<(), LinkError> {
        self.out.send(frame).map_err(|_| LinkError::Closed)
    }

    fn recv(&mut self, deadline: Instant) -> Result<Frame, LinkError> {
        let wait = deadline.saturating_duration_since(Instant::now());
        self.inbox.recv_timeout(wait).map_err(|e| match e {
            RecvTimeoutError::Timeout => LinkError::Timeout,
            RecvTimeoutError::Disconnected => LinkError::Closed,
        })
    }
}

#[cfg(test)]
mod tests {
    crate::link_conformance!(crate::local);
}
