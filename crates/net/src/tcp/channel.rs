//! An authenticated connection before it belongs to a session.

use super::identity::Fingerprint;
use super::tls::{TlsLink, fault};
use crate::error::{Error, PeerFault};
use crate::frame::{ABORT, Frame, Header};
use crate::link::{Link, LinkError};
use crate::shape::{Network, shaped};
use crate::wait::park;
use std::time::Instant;

/// A connection to a known peer. A few messages agree on what it is for; then it becomes a
/// session's link.
pub struct Channel {
    link: Box<dyn Link>,
    name: String,
    fingerprint: Fingerprint,
    exporter: Option<[u8; 32]>,
}

impl Channel {
    pub(super) fn new(link: TlsLink, name: String, fingerprint: Fingerprint) -> Self {
        let exporter = link.exporter();
        Self { link: Box::new(link), name, fingerprint, exporter }
    }

    /// The peer's name in the configuration.
    pub fn peer(&self) -> &str {
        &self.name
    }

    /// The peer's key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A secret that both ends of this one connection share and nobody else does: RFC 9266's
    /// `tls-exporter`. Evidence that names it is about this connection.
    ///
    /// None if TLS does not give it, which it does for every finished handshake.
    pub fn exporter(&self) -> Option<[u8; 32]> {
        self.exporter
    }

    /// Posts a message.
    ///
    /// **Errors:** the peer is gone or refused us.
    pub fn send(&mut self, message: Vec<u8>) -> Result<(), Error> {
        // What it last said (an alert, a refusal) is a better answer than "gone".
        let sent = self.link.send(Frame::data(0, message));
        let said = if sent.is_err() { self.link.poll(None).err() } else { None };
        sent.map_err(|error| self.blame(fault(said.unwrap_or(error))))
    }

    /// The next message, of up to `limit` bytes.
    ///
    /// **Errors:** the peer is late or gone, refuses, or sends more.
    pub fn recv(&mut self, limit: usize, until: Instant) -> Result<Vec<u8>, Error> {
        let frame = self.next(limit as u64, until).map_err(|fault| self.blame(fault))?;
        match Header::decode(&frame.header).kind {
            ABORT => Err(self.blame(PeerFault::Aborted(frame.reason()))),
            _ => Ok(frame.payload),
        }
    }

    /// Waits for the next frame of up to `limit` bytes.
    fn next(&mut self, limit: u64, until: Instant) -> Result<Frame, PeerFault> {
        let start = Instant::now();
        loop {
            let next = self.link.poll(Some(limit)).map_err(|error| match error {
                LinkError::TooLong { announced } => PeerFault::Length { expected: limit, got: announced },
                LinkError::Closed | LinkError::Fault(_) => fault(error),
            });
            if let Some(frame) = next? {
                return Ok(frame);
            }
            let now = Instant::now();
            let left = until.checked_duration_since(now).filter(|left| !left.is_zero());
            let left = left.ok_or(PeerFault::Late { waited: start.elapsed() })?;
            let due = self.link.due().map_or(left, |due| due.saturating_duration_since(now));
            park(&[self.link.wake()], 0, left.min(due));
        }
    }

    /// Whether the peer has hung up, as far as is known without waiting.
    pub fn is_closed(&mut self) -> bool {
        self.link.poll(None).is_err()
    }

    /// From now on imitates `network`, as the other end does from the same message on.
    pub fn shape(self, network: Network) -> Self {
        Self { link: shaped(self.link, network), ..self }
    }

    /// Says why nothing comes of this connection, and closes it.
    pub fn refuse(mut self, reason: &str) {
        let _ = self.link.send(Frame::abort(0, reason));
    }

    /// The link for a session.
    pub fn into_link(self) -> Box<dyn Link> {
        self.link
    }

    fn blame(&self, kind: PeerFault) -> Error {
        Error::Peer { peer: self.name.clone(), kind }
    }
}
