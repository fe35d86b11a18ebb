//! A link over one TLS connection.

use super::pin::fault_in;
use crate::error::PeerFault;
use crate::frame::{Frame, HEADER, Header};
use crate::link::{Admission, Link, LinkError, admit};
use crate::wait::{Wake, park};
use rustls::Connection;
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Bytes read from the socket at once.
const READ: usize = 256 << 10;

/// Plaintext given to TLS at once; more waits until the socket has taken this.
const WRITE: usize = 256 << 10;

/// How long a link that is dropped waits for its last bytes to be taken and for the peer
/// to close: a socket closed with unread bytes would reset the connection and take the
/// last words with it.
const LINGER: Duration = Duration::from_millis(300);

pub(super) struct TlsLink {
    stream: TcpStream,
    tls: Connection,
    /// Frames not yet given to TLS whole, and how much of the first one is.
    queue: VecDeque<Frame>,
    queued_from: usize,
    /// Ciphertext read, and how much of it TLS has taken.
    raw: Vec<u8>,
    raw_range: std::ops::Range<usize>,
    /// Bytes read in all.
    received: u64,
    incoming: Incoming,
    /// The next frame waits until it is asked for.
    held: bool,
    /// Nothing can be read any more, and why.
    ended: Option<LinkError>,
}

/// The frame being read.
struct Incoming {
    header: [u8; HEADER],
    /// Bytes of header and payload read.
    have: usize,
    payload: Vec<u8>,
}

impl TlsLink {
    pub(super) fn new(stream: TcpStream, mut tls: Connection) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        tls.set_buffer_limit(Some(WRITE));
        Ok(Self {
            stream,
            tls,
            queue: VecDeque::new(),
            queued_from: 0,
            raw: vec![0; READ],
            raw_range: 0..0,
            received: 0,
            incoming: Incoming::new(),
            held: false,
            ended: None,
        })
    }

    /// **Errors:** a [`PeerFault`]: [`PeerFault::Late`] when it is not done by `until`.
    pub(super) fn handshake(&mut self, until: Instant) -> Result<(), PeerFault> {
        let start = Instant::now();
        while self.tls.is_handshaking() {
            self.flush().map_err(fault)?;
            if self.tls.is_handshaking() && !self.fill().map_err(fault)? {
                self.park_until(until).ok_or(PeerFault::Late { waited: start.elapsed() })?;
            }
        }
        self.flush().map_err(fault)
    }

    pub(super) fn peer_certificate(&self) -> Option<&rustls::pki_types::CertificateDer<'static>> {
        self.tls.peer_certificates().and_then(|chain| chain.first())
    }

    /// RFC 9266 §2: label and an empty context.
    pub(super) fn exporter(&self) -> Option<[u8; 32]> {
        self.tls.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[])).ok()
    }

    /// None when time is up.
    fn park_until(&self, until: Instant) -> Option<()> {
        let left = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())?;
        park(&[self.wake()], 0, left);
        Some(())
    }

    /// Encrypts and sends what the socket takes.
    fn flush(&mut self) -> Result<(), LinkError> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.stream) {
                    Ok(0) => return Err(LinkError::Closed),
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return Err(LinkError::Closed),
                }
            }
            if self.queue.is_empty() || self.tls.is_handshaking() {
                return Ok(());
            }
            self.encrypt()?;
        }
    }

    /// Gives TLS as much of the queue as it takes at once, header and payload as one.
    ///
    /// **Errors:** [`LinkError::Closed`] once the connection has failed: it takes nothing more.
    fn encrypt(&mut self) -> Result<(), LinkError> {
        let Some(frame) = self.queue.front() else { return Ok(()) };
        let header = frame.header.get(self.queued_from..).unwrap_or(&[]);
        let payload = frame.payload.get(self.queued_from.saturating_sub(HEADER)..).unwrap_or(&[]);
        let written = self.tls.writer().write_vectored(&[IoSlice::new(header), IoSlice::new(payload)]);
        // A full buffer takes nothing, too, but this one was emptied before.
        let taken = written.ok().filter(|&n| n > 0).ok_or(LinkError::Closed)?;
        self.queued_from += taken;
        if self.queued_from == HEADER + frame.payload.len() {
            self.queue.pop_front();
            self.queued_from = 0;
        }
        Ok(())
    }

    /// Decrypts some more; false when nothing has arrived.
    fn fill(&mut self) -> Result<bool, LinkError> {
        if self.raw_range.is_empty() {
            match self.stream.read(&mut self.raw) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(n) => {
                    self.raw_range = 0..n;
                    self.received += n as u64;
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
                Err(_) => return Err(LinkError::Closed),
            }
        }
        let mut rest = self.raw.get(self.raw_range.clone()).unwrap_or(&[]);
        let taken = self.tls.read_tls(&mut rest).map_err(|e| LinkError::Fault(PeerFault::Damaged(e.to_string())))?;
        self.raw_range.start += taken;
        match self.tls.process_new_packets() {
            Ok(_) => Ok(true),
            Err(error) => {
                // The alert that tells the peer; whether it arrives is not in our hands.
                let _ = self.tls.write_tls(&mut self.stream);
                Err(LinkError::Fault(blame(error)))
            }
        }
    }

    /// Reads plaintext into the missing part of the frame; false when nothing has arrived.
    fn read_some(&mut self) -> Result<bool, LinkError> {
        loop {
            let Incoming { header, have, payload } = &mut self.incoming;
            let buffer = match have.checked_sub(HEADER) {
                None => header.get_mut(*have..).unwrap_or(&mut []),
                Some(at) => payload.get_mut(at..).unwrap_or(&mut []),
            };
            match self.tls.reader().read(buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(n) => {
                    *have += n;
                    return Ok(true);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(LinkError::Closed),
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// The next frame if it is here and may be taken.
    fn next(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        while self.incoming.have < HEADER {
            if !self.read_some()? {
                return Ok(None);
            }
        }
        let header = Header::decode(&self.incoming.header);
        self.held = admit(header, limit)? == Admission::Hold;
        if self.held {
            return Ok(None);
        }
        // Admitted: at most what this round calls for.
        let length = usize::try_from(header.length).map_err(|_| LinkError::TooLong { announced: header.length })?;
        if self.incoming.payload.len() != length {
            self.incoming.payload = vec![0; length];
        }
        while self.incoming.have < HEADER + length {
            if !self.read_some()? {
                return Ok(None);
            }
        }
        let Incoming { header, payload, .. } = std::mem::replace(&mut self.incoming, Incoming::new());
        Ok(Some(Frame { header, payload }))
    }
}

impl TlsLink {
    /// The last record of this direction, and the end of the stream.
    fn finish(&mut self) {
        self.tls.send_close_notify();
        let _ = self.tls.write_tls(&mut self.stream);
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl Incoming {
    fn new() -> Self {
        Self { header: [0; HEADER], have: 0, payload: Vec::new() }
    }
}

impl Link for TlsLink {
    fn send(&mut self, frame: Frame) -> Result<(), LinkError> {
        self.queue.push_back(frame);
        self.flush()
    }

    fn poll(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        // A peer that no longer reads may still have said something.
        let flushed = self.flush();
        let next = self.next(limit);
        if let Err(error) = &next {
            self.ended = Some(error.clone());
        }
        match next {
            Ok(None) => flushed.map(|()| None),
            next => next,
        }
    }

    fn wake(&self) -> Wake<'_> {
        let read = !self.held && self.ended.is_none();
        let write = self.tls.wants_write() || !self.queue.is_empty();
        Wake::Socket { fd: self.stream.as_fd(), read, write: write && self.ended.is_none() }
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn close(&mut self) {
        let _ = self.flush();
        if self.is_flushed() {
            self.finish();
        }
    }

    fn is_flushed(&self) -> bool {
        self.ended.is_some() || (self.queue.is_empty() && !self.tls.wants_write())
    }
}

impl Drop for TlsLink {
    fn drop(&mut self) {
        let end = Instant::now() + LINGER;
        while !self.is_flushed() && self.flush().is_ok() && self.park_until(end).is_some() {}
        self.finish();
        // Until the peer closes, too, what it sends is read and dropped.
        loop {
            match self.stream.read(&mut self.raw) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let Some(left) = end.checked_duration_since(Instant::now()) else { break };
                    park(&[Wake::Socket { fd: self.stream.as_fd(), read: true, write: false }], 0, left);
                }
                Err(_) => break,
            }
            if Instant::now() >= end {
                break;
            }
        }
    }
}

/// What a failing TLS connection says of the peer.
fn blame(error: rustls::Error) -> PeerFault {
    if let Some(fault) = fault_in(&error) {
        return PeerFault::Certificate(fault);
    }
    if let rustls::Error::AlertReceived(alert) = error {
        return PeerFault::RefusedUs(format!("{alert:?}"));
    }
    PeerFault::Damaged(error.to_string())
}

/// A link's error as the peer's.
pub(super) fn fault(error: LinkError) -> PeerFault {
    match error {
        LinkError::Closed => PeerFault::Gone,
        LinkError::TooLong { announced } => PeerFault::Length { expected: 0, got: announced },
        LinkError::Fault(fault) => fault,
    }
}
