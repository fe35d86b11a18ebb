//! Links between threads of one process.

use crate::frame::{Frame, Header};
use crate::link::{Admission, Link, LinkError, admit};
use crate::session::Session;
use crate::wait::{Event, Wake};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

/// In-process sessions between `names.len()` endpoints, one to move into each thread.
pub fn local(names: &[&str]) -> Vec<Session> {
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    let events: Vec<Arc<Event>> = names.iter().map(|_| Arc::default()).collect();
    let mut ends: Vec<Vec<(usize, Box<dyn Link>)>> = names.iter().map(|_| Vec::new()).collect();
    for b in 0..names.len() {
        for a in 0..b {
            let (to_b, to_a) = pair(&events[a], &events[b]);
            ends[a].push((b, Box::new(to_b)));
            ends[b].push((a, Box::new(to_a)));
        }
    }
    ends.into_iter().enumerate().map(|(id, links)| Session::new(id, names.clone(), links)).collect()
}

/// Both ends of one duplex link, from the events of the endpoints that hold them.
fn pair(first: &Arc<Event>, second: &Arc<Event>) -> (LocalLink, LocalLink) {
    let (to_second, from_first) = channel();
    let (to_first, from_second) = channel();
    let end = |out, inbox, mine: &Arc<Event>, theirs: &Arc<Event>| LocalLink {
        out: Some(out),
        inbox,
        front: None,
        mine: Arc::clone(mine),
        theirs: Arc::clone(theirs),
    };
    (end(to_second, from_second, first, second), end(to_first, from_first, second, first))
}

/// One end of a link between two threads: frames move, payloads are never copied.
struct LocalLink {
    /// None only while it is dropped.
    out: Option<Sender<Frame>>,
    inbox: Receiver<Frame>,
    /// Arrived, but not taken yet.
    front: Option<Frame>,
    mine: Arc<Event>,
    theirs: Arc<Event>,
}

impl Link for LocalLink {
    fn send(&mut self, frame: Frame) -> Result<(), LinkError> {
        let out = self.out.as_ref().ok_or(LinkError::Closed)?;
        out.send(frame).map_err(|_| LinkError::Closed)?;
        self.theirs.notify();
        Ok(())
    }

    fn poll(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        if self.front.is_none() {
            self.front = match self.inbox.try_recv() {
                Ok(frame) => Some(frame),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => return Err(LinkError::Closed),
            };
        }
        match self.front.take_if(|f| admit(Header::decode(&f.header), limit) != Ok(Admission::Hold)) {
            None => Ok(None),
            Some(frame) => admit(Header::decode(&frame.header), limit).map(|_| Some(frame)),
        }
    }

    fn wake(&self) -> Wake<'_> {
        Wake::Event(&self.mine)
    }
}

impl Drop for LocalLink {
    fn drop(&mut self) {
        // First the channel, so that whoever is woken finds it closed.
        self.out = None;
        let (_, closed) = channel();
        self.inbox = closed;
        self.theirs.notify();
    }
}

#[cfg(test)]
mod tests {
    crate::link_conformance!(crate::local);
}
