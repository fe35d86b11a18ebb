//! One endpoint's end of a session.

use crate::error::{Error, PeerFault};
use crate::frame::{ABORT, DATA, Frame, Header};
use crate::link::{Link, LinkError};
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};
use subrosa_core::{FRAME_HEADER_BYTES, Meter, Phase};

/// Index of an endpoint in a session: compute parties first, then the roles.
pub type EndpointId = usize;

/// The time a round may take unless [`Session::set_deadline`] says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// How long one peer is waited for before the other links are searched for an abort.
const POLL: Duration = Duration::from_millis(20);

/// One endpoint's end of a session. Dropping it closes every link, so that peers see at
/// once that this endpoint is gone, even if its thread panicked.
pub struct Session {
    id: EndpointId,
    names: Vec<String>,
    /// By endpoint; none where there is no link, as to oneself.
    peers: Vec<Option<Peer>>,
    deadline: Duration,
    phase: Phase,
    meter: Meter,
    /// Time spent waiting, by phase.
    waited: [Duration; Phase::ALL.len()],
    /// What was sent, for tests only: it holds masked secrets, and during setup keys.
    #[cfg(any(test, feature = "fault"))]
    transcript: Option<Vec<(EndpointId, Vec<u8>)>>,
    /// The first error; a session that failed once is over.
    failed: Option<Error>,
}

struct Peer {
    link: Box<dyn Link>,
    /// Frames sent and received so far, modulo 2^32.
    sent: u32,
    received: u32,
    /// Headers included.
    sent_bytes: u64,
    /// Frames of later rounds, met while searching for an abort.
    early: VecDeque<Frame>,
}

impl Session {
    /// The session of endpoint `id` over its links to the others. An endpoint without a
    /// link can be named but neither sent to nor received from.
    pub fn new(id: EndpointId, names: Vec<String>, links: Vec<(EndpointId, Box<dyn Link>)>) -> Self {
        let mut peers: Vec<Option<Peer>> = names.iter().map(|_| None).collect();
        for (peer, link) in links {
            if let Some(slot) = peers.get_mut(peer) {
                *slot = Some(Peer { link, sent: 0, received: 0, sent_bytes: 0, early: VecDeque::new() });
            }
        }
        Self {
            id,
            names,
            peers,
            deadline: DEFAULT_DEADLINE,
            phase: Phase::Setup,
            meter: Meter::default(),
            waited: [Duration::ZERO; Phase::ALL.len()],
            #[cfg(any(test, feature = "fault"))]
            transcript: None,
            failed: None,
        }
    }

    /// This endpoint's index.
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// Names of all endpoints, by index.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The time each later round may take, from its start; [`DEFAULT_DEADLINE`] at first.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Accounts for everything that follows under `phase`; [`Phase::Setup`] at first.
    pub fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The phase in force.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What this endpoint has sent so far.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Time this endpoint has spent waiting for messages in `phase`.
    pub fn waited(&self, phase: Phase) -> Duration {
        self.waited[phase as usize]
    }

    /// Bytes sent to `peer` so far in all phases, headers included; 0 where there is no link.
    pub fn sent_to(&self, peer: EndpointId) -> u64 {
        self.peers.get(peer).and_then(Option::as_ref).map_or(0, |p| p.sent_bytes)
    }

    /// Keeps a copy of every payload sent from now on. For tests of what peers get to see:
    /// the copies stay in memory until the session is dropped.
    #[cfg(any(test, feature = "fault"))]
    pub fn record_transcript(&mut self) {
        self.transcript.get_or_insert_default();
    }

    /// The payloads sent since [`Session::record_transcript`], with their receivers.
    #[cfg(any(test, feature = "fault"))]
    pub fn transcript(&self) -> &[(EndpointId, Vec<u8>)] {
        self.transcript.as_deref().unwrap_or_default()
    }

    /// One round: posts every message of `sends`, then waits for exactly one message from
    /// each endpoint in `receives`, whose payload must have the stated length (bytes).
    /// Returns the payloads in the order of `receives`. Counts as one round of the current
    /// phase even if nothing is sent. At most one message a peer each way.
    ///
    /// **Errors:** a peer that is gone, late, aborting, or whose message has another
    /// length or sequence number. An error ends the session: it is told to every peer,
    /// and later rounds return it again.
    pub fn round(
        &mut self,
        sends: Vec<(EndpointId, Vec<u8>)>,
        receives: &[(EndpointId, usize)],
    ) -> Result<Vec<Vec<u8>>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.exchange(sends, receives).inspect_err(|error| {
            self.tell_all(&error.to_string());
            self.failed = Some(error.clone());
        })
    }

    /// Agrees with `peers` on what is about to run, before anything secret flows: each
    /// sends the others its digest of version, protocol, ring and plan. One round, 32
    /// bytes a message.
    ///
    /// **Errors:** [`PeerFault::Disagrees`] naming the first peer with another digest.
    pub fn hello(&mut self, peers: &[EndpointId], digest: &[u8; 32]) -> Result<(), Error> {
        let sends = peers.iter().map(|&p| (p, digest.to_vec())).collect();
        let expected: Vec<_> = peers.iter().map(|&p| (p, digest.len())).collect();
        let answers = self.round(sends, &expected)?;
        match peers.iter().zip(&answers).find(|(_, theirs)| *theirs != digest) {
            Some((&peer, _)) => {
                let error = self.blame(peer, PeerFault::Disagrees);
                self.tell_all(&error.to_string());
                self.failed = Some(error.clone());
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Tells every peer that this endpoint stops, and why (no secrets), and consumes the
    /// session.
    pub fn abort(mut self, reason: &str) {
        self.tell_all(reason);
    }

    /// Replaces the link to `peer` by what `wrap` makes of it, if there is one.
    #[cfg(any(test, feature = "fault"))]
    pub(crate) fn wrap_link(&mut self, peer: EndpointId, wrap: impl FnOnce(Box<dyn Link>) -> Box<dyn Link>) {
        if let Some(slot) = self.peers.get_mut(peer) {
            *slot = slot.take().map(|p| Peer { link: wrap(p.link), ..p });
        }
    }

    fn exchange(
        &mut self,
        sends: Vec<(EndpointId, Vec<u8>)>,
        receives: &[(EndpointId, usize)],
    ) -> Result<Vec<Vec<u8>>, Error> {
        self.check_peers(sends.iter().map(|s| s.0))?;
        self.check_peers(receives.iter().map(|r| r.0))?;
        self.meter.record(self.phase, sends.iter().map(|s| s.1.len()));
        let start = Instant::now();
        for (to, payload) in sends {
            self.post(to, payload)?;
        }
        let waiting = Instant::now();
        let payloads = receives.iter().map(|&(from, length)| self.receive(from, length, start)).collect();
        self.waited[self.phase as usize] += waiting.elapsed();
        payloads
    }

    /// Each is a linked endpoint, and none comes twice.
    fn check_peers(&self, ids: impl Iterator<Item = EndpointId>) -> Result<(), Error> {
        let mut seen = vec![false; self.peers.len()];
        for id in ids {
            if self.peers.get(id).is_none_or(Option::is_none) {
                return Err(Error::Misuse(format!("endpoint {} has no link to endpoint {id}", self.id)));
            }
            if std::mem::replace(&mut seen[id], true) {
                return Err(Error::Misuse(format!("two messages of one round with endpoint {id}")));
            }
        }
        Ok(())
    }

    fn post(&mut self, to: EndpointId, payload: Vec<u8>) -> Result<(), Error> {
        #[cfg(any(test, feature = "fault"))]
        if let Some(transcript) = &mut self.transcript {
            transcript.push((to, payload.clone()));
        }
        let peer = self.peer(to)?;
        peer.sent_bytes += payload.len() as u64 + FRAME_HEADER_BYTES;
        let frame = Frame::data(peer.sent, payload);
        peer.sent = peer.sent.wrapping_add(1);
        if peer.link.send(frame).is_ok() {
            return Ok(());
        }
        // It closed its end; if it said why first, that is the better answer.
        self.search_abort(to)?;
        Err(self.blame(to, PeerFault::Gone))
    }

    /// The payload of the next message from `from`, which must have `length` bytes, in a
    /// round that began at `start`.
    fn receive(&mut self, from: EndpointId, length: usize, start: Instant) -> Result<Vec<u8>, Error> {
        let frame = self.next_frame(from, start)?;
        let header = Header::decode(&frame.header);
        let expected = self.peer(from)?.received;
        if let Some(fault) = judge(&frame, header, expected, length as u64) {
            return Err(self.blame(from, fault));
        }
        self.peer(from)?.received = expected.wrapping_add(1);
        Ok(frame.payload)
    }

    /// The next frame from `from`, as it came. While waiting, every other link is searched
    /// for an abort now and then: the peer waited for may itself be waiting for the one
    /// that stopped.
    fn next_frame(&mut self, from: EndpointId, start: Instant) -> Result<Frame, Error> {
        let end = start + self.deadline;
        loop {
            let peer = self.peer(from)?;
            if let Some(frame) = peer.early.pop_front() {
                return Ok(frame);
            }
            match peer.link.recv(end.min(Instant::now() + POLL)) {
                Ok(frame) => return Ok(frame),
                Err(LinkError::Closed) => return Err(self.blame(from, PeerFault::Gone)),
                Err(LinkError::Timeout) => {}
            }
            for other in 0..self.peers.len() {
                self.search_abort(other)?;
            }
            if Instant::now() >= end {
                return Err(self.blame(from, PeerFault::Late { waited: self.deadline }));
            }
        }
    }

    /// Takes in whatever has arrived from `peer`, keeping messages for their own rounds.
    ///
    /// **Errors:** the peer's abort, if that is among it.
    fn search_abort(&mut self, peer: EndpointId) -> Result<(), Error> {
        let Some(Some(p)) = self.peers.get_mut(peer) else { return Ok(()) };
        while let Ok(frame) = p.link.recv(Instant::now()) {
            if Header::decode(&frame.header).kind == ABORT {
                return Err(self.blame(peer, PeerFault::Aborted(frame.reason())));
            }
            p.early.push_back(frame);
        }
        Ok(())
    }

    fn tell_all(&mut self, reason: &str) {
        for peer in self.peers.iter_mut().flatten() {
            // A peer that is already gone needs no reason.
            let _ = peer.link.send(Frame::abort(peer.sent, reason));
        }
    }

    fn peer(&mut self, id: EndpointId) -> Result<&mut Peer, Error> {
        match self.peers.get_mut(id) {
            Some(Some(peer)) => Ok(peer),
            _ => Err(Error::Misuse(format!("endpoint {} has no link to endpoint {id}", self.id))),
        }
    }

    fn blame(&self, peer: EndpointId, kind: PeerFault) -> Error {
        let peer = self.names.get(peer).cloned().unwrap_or_else(|| format!("endpoint {peer}"));
        Error::Peer { peer, kind }
    }
}

/// What is wrong with a frame where message number `sequence` of `length` bytes belongs.
fn judge(frame: &Frame, header: Header, sequence: u32, length: u64) -> Option<PeerFault> {
    let carried = frame.payload.len() as u64;
    if header.kind == ABORT {
        Some(PeerFault::Aborted(frame.reason()))
    } else if header.kind != DATA || carried != header.length {
        Some(PeerFault::Frame { kind: header.kind, announced: header.length, carried })
    } else if header.sequence != sequence {
        Some(PeerFault::Sequence { expected: sequence, got: header.sequence })
    } else if carried != length {
        Some(PeerFault::Length { expected: length, got: carried })
    } else {
        None
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let me = self.names.get(self.id).map_or("?", String::as_str);
        f.debug_struct("Session").field("endpoint", &me).field("phase", &self.phase).finish_non_exhaustive()
    }
}
