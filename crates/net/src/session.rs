//! One endpoint's end of a session.

use crate::error::{Error, PeerFault};
use crate::frame::{ABORT, DATA, Frame, HEARTBEAT, Header};
use crate::link::{Later, Link, LinkError};
use crate::wait::{Spin, Wake, park};
use std::fmt;
use std::time::{Duration, Instant};
use subrosa_core::{FRAME_HEADER_BYTES, Meter, Phase};

/// Index of an endpoint in a session: compute parties first, then the roles.
pub type EndpointId = usize;

/// The time a peer may be silent in a round unless [`Session::set_deadline`] says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// A peer that is alive (its heartbeats come) may still not hold a round up for more than
/// this many deadlines.
const ROUND_DEADLINES: u32 = 4;

/// Heartbeats in one deadline, of whoever waits.
const BEATS: u32 = 4;

/// The longest message that is skipped in search of an abort behind it, bytes.
const SEARCHED: u64 = 1 << 20;

/// And how many of them.
const MAX_SEARCHED: usize = 64;

/// Heartbeats taken from one peer before the others are looked at again.
const MAX_HEARTBEATS: usize = 64;

/// How long an endpoint that stops waits for its last words to leave.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One endpoint's end of a session. Dropping it closes every link, so that peers see at
/// once that this endpoint is gone, even if its thread panicked.
pub struct Session {
    id: EndpointId,
    names: Vec<String>,
    /// By endpoint; none where there is no link, as to oneself.
    peers: Vec<Option<Peer>>,
    /// The way to a peer that is diverted.
    aside: Option<(EndpointId, Peer)>,
    deadline: Duration,
    /// The end of the whole session, if it has one.
    limit: Option<Instant>,
    spin: Spin,
    phase: Phase,
    meter: Meter,
    /// When the last heartbeats were sent.
    beaten: Instant,
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
    /// Messages sent and received so far, modulo 2^32.
    sent: u32,
    received: u32,
    traffic: Traffic,
    /// When anything last came, and how much had come then.
    heard: Instant,
    seen: u64,
}

/// What passed between this endpoint and one peer, headers included; heartbeats and what
/// encryption adds are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent, by phase.
    pub sent: [u64; Phase::ALL.len()],
    /// Bytes received, by phase.
    pub received: [u64; Phase::ALL.len()],
    /// Time spent waiting while a message of this peer was still to come, by phase.
    pub waited: [Duration; Phase::ALL.len()],
}

/// The messages of a round that are still to come.
struct Awaited<'a> {
    receives: &'a [(EndpointId, usize)],
    got: Vec<Option<Vec<u8>>>,
    start: Instant,
}

impl Session {
    /// The session of endpoint `id` over its links to the others. An endpoint without a
    /// link can be named but neither sent to nor received from.
    pub fn new(id: EndpointId, names: Vec<String>, links: Vec<(EndpointId, Box<dyn Link>)>) -> Self {
        let mut peers: Vec<Option<Peer>> = names.iter().map(|_| None).collect();
        for (peer, link) in links {
            if let Some(slot) = peers.get_mut(peer) {
                let heard = Instant::now();
                *slot = Some(Peer { link, sent: 0, received: 0, traffic: Traffic::default(), heard, seen: 0 });
            }
        }
        Self {
            id,
            names,
            peers,
            aside: None,
            deadline: DEFAULT_DEADLINE,
            limit: None,
            spin: Spin::NONE,
            phase: Phase::Setup,
            meter: Meter::default(),
            waited: [Duration::ZERO; Phase::ALL.len()],
            beaten: Instant::now(),
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

    /// How long an awaited peer may be silent in each later round; [`DEFAULT_DEADLINE`] at
    /// first. A peer that itself waits says so by heartbeats, so that the one at fault is
    /// blamed; a round lasts at most four deadlines.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// What [`Session::set_deadline`] set.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The end of the whole session, whatever goes on; none at first.
    pub fn set_limit(&mut self, limit: Option<Instant>) {
        self.limit = limit;
    }

    /// How long to spin before parking; not at all at first.
    pub fn set_spin(&mut self, spin: Spin) {
        self.spin = spin;
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

    /// What passed between this endpoint and `peer`; nothing where there is no link.
    pub fn traffic(&self, peer: EndpointId) -> Traffic {
        self.peers.get(peer).and_then(Option::as_ref).map_or_else(Traffic::default, |p| p.traffic)
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

    /// A round in which one message is expected, of `length` bytes, and left where it is until it
    /// is needed. None, and no round, where it comes when it comes.
    ///
    /// **Errors:** as [`Session::round`].
    pub fn defer(&mut self, from: EndpointId, length: usize) -> Result<Option<Later>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let phase = self.phase as usize;
        let peer = self.peer(from)?;
        let later = match peer.link.defer(length as u64) {
            Ok(later) => later,
            Err(error) => {
                let error = self.blame_link(from, error, length as u64);
                self.tell_all(&error.to_string());
                return Err(self.failed.insert(error).clone());
            }
        };
        if later.is_some() {
            peer.received = peer.received.wrapping_add(1);
            peer.traffic.received[phase] += length as u64 + FRAME_HEADER_BYTES;
            self.meter.record(self.phase, std::iter::empty());
        }
        Ok(later)
    }

    /// Messages about the session itself, as [`Session::round`] but outside the meter: it
    /// counts what the protocol says, and is held against the plan. `deadline` stands in
    /// for the session's own.
    ///
    /// **Errors:** as [`Session::round`].
    pub fn control(
        &mut self,
        sends: Vec<(EndpointId, Vec<u8>)>,
        receives: &[(EndpointId, usize)],
        deadline: Duration,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let meter = self.meter.clone();
        let usual = std::mem::replace(&mut self.deadline, deadline);
        let answers = self.round(sends, receives);
        self.deadline = usual;
        self.meter = meter;
        answers
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

    /// Waits until everything posted has left this process, so that what a slow peer has
    /// not taken does not pile up here.
    ///
    /// **Errors:** [`PeerFault::Late`] naming the first peer that does not take it.
    pub fn flush(&mut self, within: Duration) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let seen = self.events();
            let slow = (0..self.peers.len())
                .find(|&id| self.peers.get(id).and_then(Option::as_ref).is_some_and(|p| !p.link.is_flushed()));
            let Some(slow) = slow else { return Ok(()) };
            if start.elapsed() >= within {
                let error = self.blame(slow, PeerFault::Late { waited: start.elapsed() });
                self.stop(&error.to_string());
                return Err(error);
            }
            for id in 0..self.peers.len() {
                // A fault shows when something is next wanted from that peer.
                let _ = self.poll(id, None);
            }
            // Whoever waits for this endpoint hears that it is not the one to blame.
            if self.beaten.elapsed() >= self.deadline / BEATS {
                self.beat();
                self.beaten = Instant::now();
            }
            self.park(seen, Duration::from_millis(20));
        }
    }

    /// Ends the session because of what `peer` did, as found out above the session: every
    /// peer is told, and later rounds return the error again.
    pub fn accuse(&mut self, peer: EndpointId, fault: PeerFault) -> Error {
        let error = self.blame(peer, fault);
        self.stop(&error.to_string());
        self.failed.insert(error).clone()
    }

    /// Tells every peer that this endpoint stops, and why (no secrets), and consumes the
    /// session.
    pub fn abort(mut self, reason: &str) {
        self.stop(reason);
    }

    /// As [`Session::abort`], for whoever has the session by reference; every later round
    /// fails.
    pub fn stop(&mut self, reason: &str) {
        if self.failed.is_none() {
            self.tell_all(reason);
            self.failed = Some(Error::Misuse(format!("the session was stopped: {reason}")));
        }
    }

    /// Wraps every link, to shape or to watch what passes.
    pub fn wrap_links(mut self, wrap: impl Fn(Box<dyn Link>) -> Box<dyn Link>) -> Self {
        for slot in &mut self.peers {
            *slot = slot.take().map(|p| Peer { link: wrap(p.link), ..p });
        }
        self
    }

    /// Makes `link` the way to `peer` in place of any that was there, or leaves none; numbers of
    /// messages start anew. For a peer whose words come from elsewhere, a file, part by part.
    pub fn attach(&mut self, peer: EndpointId, link: Option<Box<dyn Link>>) {
        if let Some(slot) = self.peers.get_mut(peer) {
            let traffic = slot.take().map_or_else(Traffic::default, |p| p.traffic);
            let heard = Instant::now();
            *slot = link.map(|link| Peer { link, sent: 0, received: 0, traffic, heard, seen: 0 });
        }
    }

    /// Puts `link` in the place of the way to `peer` until [`Session::resume`]: for a peer who passes
    /// on somebody else's words for a while. These are metered as its own would be, and are none of its
    /// [`Session::traffic`]; heartbeats and an abort still go to itself. One peer at a time.
    pub fn divert(&mut self, peer: EndpointId, link: Box<dyn Link>) {
        self.aside = self.peers.get_mut(peer).and_then(Option::take).map(|way| (peer, way));
        self.attach(peer, Some(link));
    }

    /// Takes up the way that was set aside, where it was left.
    pub fn resume(&mut self) {
        if let Some((peer, way)) = self.aside.take()
            && let Some(slot) = self.peers.get_mut(peer)
        {
            *slot = Some(way);
        }
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
        for (to, payload) in sends {
            self.post(to, payload)?;
        }
        let start = Instant::now();
        let payloads = self.receive(Awaited { receives, got: vec![None; receives.len()], start });
        self.waited[self.phase as usize] += start.elapsed();
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
        let phase = self.phase as usize;
        let peer = self.peer(to)?;
        peer.traffic.sent[phase] += payload.len() as u64 + FRAME_HEADER_BYTES;
        let frame = Frame::data(peer.sent, payload);
        peer.sent = peer.sent.wrapping_add(1);
        match peer.link.send(frame) {
            Ok(()) => Ok(()),
            Err(error) => {
                // It closed its end; if it said why first, that is the better answer.
                self.search_abort(to)?;
                Err(self.blame_link(to, error, 0))
            }
        }
    }

    /// The one progress loop: moves all links together until every awaited message is here.
    fn receive(&mut self, mut awaited: Awaited<'_>) -> Result<Vec<Vec<u8>>, Error> {
        loop {
            // In a stream of short rounds, too: whoever else waits for this endpoint hears of it.
            if self.beaten.elapsed() >= self.deadline / BEATS {
                self.beat();
                self.beaten = Instant::now();
            }
            let seen = self.events();
            self.sweep(&mut awaited)?;
            if awaited.got.iter().all(Option::is_some) {
                return Ok(awaited.got.into_iter().flatten().collect());
            }
            let waiting = Instant::now();
            self.check_time(&awaited, waiting)?;
            match self.spin.again(awaited.start) {
                true => std::hint::spin_loop(),
                false => self.park(seen, self.deadline / BEATS),
            }
            self.account(&awaited, waiting.elapsed());
        }
    }

    /// Moves every link once and takes in what has arrived.
    fn sweep(&mut self, awaited: &mut Awaited<'_>) -> Result<(), Error> {
        for id in 0..self.peers.len() {
            let want = awaited.receives.iter().zip(&awaited.got).position(|(r, got)| r.0 == id && got.is_none());
            let length = want.and_then(|i| awaited.receives.get(i)).map(|r| r.1 as u64);
            // More than one frame: heartbeats come before what is awaited.
            while let Some(frame) = self.poll(id, length)? {
                if let Some(slot) = want.and_then(|i| awaited.got.get_mut(i)) {
                    *slot = Some(self.accept(id, frame, length.unwrap_or(0))?);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next message from `id`, if one of up to `length` bytes is wanted and has arrived.
    ///
    /// **Errors:** the peer's abort; a closed link if something is wanted from it.
    fn poll(&mut self, id: EndpointId, length: Option<u64>) -> Result<Option<Frame>, Error> {
        for _ in 0..MAX_HEARTBEATS {
            let Some(Some(peer)) = self.peers.get_mut(id) else { return Ok(None) };
            let polled = peer.link.poll(length);
            // A long message on a slow way is no silence.
            let received = peer.link.received();
            if std::mem::replace(&mut peer.seen, received) != received {
                peer.heard = Instant::now();
            }
            let frame = match polled {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame,
                Err(LinkError::Closed) if length.is_none() => return Ok(None),
                Err(error) => return Err(self.blame_link(id, error, length.unwrap_or(0))),
            };
            peer.heard = Instant::now();
            let header = Header::decode(&frame.header);
            match header.kind {
                ABORT => return Err(self.blame(id, PeerFault::Aborted(frame.reason()))),
                HEARTBEAT if header.length == 0 && frame.payload.is_empty() => {}
                _ => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }

    /// The payload of `frame`, which must be the next message and have `length` bytes.
    fn accept(&mut self, from: EndpointId, frame: Frame, length: u64) -> Result<Vec<u8>, Error> {
        let phase = self.phase as usize;
        let header = Header::decode(&frame.header);
        let expected = self.peer(from)?.received;
        if let Some(fault) = judge(&frame, header, expected, length) {
            return Err(self.blame(from, fault));
        }
        let peer = self.peer(from)?;
        peer.received = expected.wrapping_add(1);
        peer.traffic.received[phase] += length + FRAME_HEADER_BYTES;
        Ok(frame.payload)
    }

    /// **Errors:** the awaited peer that was silent for too long, or the session's own end.
    fn check_time(&self, awaited: &Awaited<'_>, now: Instant) -> Result<(), Error> {
        if self.limit.is_some_and(|limit| now >= limit)
            && let Some(id) = awaited.missing().next()
        {
            return Err(Error::SessionLimit { waiting_for: self.name_of(id) });
        }
        let round_over = now - awaited.start >= self.deadline * ROUND_DEADLINES;
        let late = |id: EndpointId| {
            let heard = self.peers.get(id).and_then(Option::as_ref).map_or(awaited.start, |p| p.heard);
            round_over || now - heard.max(awaited.start) >= self.deadline
        };
        match awaited.missing().find(|&id| late(id)) {
            Some(id) => Err(self.blame(id, PeerFault::Late { waited: now - awaited.start })),
            None => Ok(()),
        }
    }

    /// Tells every peer that this endpoint is alive and waits.
    fn beat(&mut self) {
        for peer in self.ways() {
            // A peer that is gone is noticed when something is wanted from it.
            let _ = peer.link.send(Frame::heartbeat());
        }
    }

    /// Parks until a link has something to say, a held frame is due, or time is up.
    fn park(&self, seen: u64, timeout: Duration) {
        let links = || self.peers.iter().flatten().map(|p| &p.link);
        let now = Instant::now();
        let due = links().filter_map(|l| l.due()).min().map(|due| due.saturating_duration_since(now));
        let limit = self.limit.map(|limit| limit.saturating_duration_since(now));
        let timeout = [due, limit].into_iter().flatten().fold(timeout, Duration::min);
        let wakes: Vec<Wake<'_>> = links().map(|l| l.wake()).collect();
        park(&wakes, seen, timeout);
    }

    /// The count of this endpoint's in-process event, if it has one.
    fn events(&self) -> u64 {
        let mut links = self.peers.iter().flatten();
        links.find_map(|p| if let Wake::Event(event) = p.link.wake() { Some(event.count()) } else { None }).unwrap_or(0)
    }

    /// Books waiting time on those whose messages are still to come.
    fn account(&mut self, awaited: &Awaited<'_>, waited: Duration) {
        let phase = self.phase as usize;
        let missing: Vec<EndpointId> = awaited.missing().collect();
        for id in missing {
            if let Some(Some(peer)) = self.peers.get_mut(id) {
                peer.traffic.waited[phase] += waited;
            }
        }
    }

    /// Reads what a peer that closed its end had sent before, for its reason. Messages are
    /// dropped: the session is over.
    ///
    /// **Errors:** the peer's abort, if that is among it.
    fn search_abort(&mut self, peer: EndpointId) -> Result<(), Error> {
        let end = Instant::now() + LAST_WORDS;
        for _ in 0..MAX_SEARCHED {
            match self.poll(peer, Some(SEARCHED)) {
                Ok(Some(_)) => {}
                Err(error @ Error::Peer { kind: PeerFault::Aborted(_), .. }) => return Err(error),
                Err(_) => return Ok(()),
                Ok(None) => {
                    let due = self.peers.get(peer).and_then(Option::as_ref).and_then(|p| p.link.due());
                    let Some(due) = due.filter(|due| *due < end) else { return Ok(()) };
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            }
        }
        Ok(())
    }

    /// Posts the reason to every peer and gives it a moment to leave.
    fn tell_all(&mut self, reason: &str) {
        for peer in self.ways() {
            // A peer that is already gone needs no reason.
            let _ = peer.link.send(Frame::abort(peer.sent, reason));
        }
        let end = Instant::now() + LAST_WORDS;
        while Instant::now() < end && self.ways().any(|p| !p.link.is_flushed()) {
            for peer in self.ways() {
                let _ = peer.link.poll(None);
            }
            self.park(self.events(), Duration::from_millis(5));
        }
    }

    /// To all peers, also to one that is diverted.
    fn ways(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut().flatten().chain(self.aside.as_mut().map(|(_, way)| way))
    }

    fn peer(&mut self, id: EndpointId) -> Result<&mut Peer, Error> {
        match self.peers.get_mut(id) {
            Some(Some(peer)) => Ok(peer),
            _ => Err(Error::Misuse(format!("endpoint {} has no link to endpoint {id}", self.id))),
        }
    }

    fn blame_link(&self, peer: EndpointId, error: LinkError, expected: u64) -> Error {
        let kind = match error {
            LinkError::Closed => PeerFault::Gone,
            LinkError::TooLong { announced } => PeerFault::Length { expected, got: announced },
            LinkError::Fault(fault) => fault,
        };
        self.blame(peer, kind)
    }

    fn blame(&self, peer: EndpointId, kind: PeerFault) -> Error {
        Error::Peer { peer: self.name_of(peer), kind }
    }

    fn name_of(&self, peer: EndpointId) -> String {
        self.names.get(peer).cloned().unwrap_or_else(|| format!("endpoint {peer}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // All at once: a link may linger when it is dropped, and the others' peers should
        // not wait for that.
        self.ways().for_each(|p| p.link.close());
    }
}

impl Awaited<'_> {
    /// Whose messages are still to come.
    fn missing(&self) -> impl Iterator<Item = EndpointId> {
        self.receives.iter().zip(&self.got).filter(|(_, got)| got.is_none()).map(|(r, _)| r.0)
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
