//! The transport below a session.

use crate::error::PeerFault;
use crate::frame::{ABORT, Frame, HEARTBEAT, Header, MAX_REASON};
use crate::wait::Wake;
use std::time::Instant;

/// One end of a duplex, ordered link to one peer.
///
/// A link carries frames and judges none beyond their size: numbers and kinds are the
/// session's to check. Nothing here waits: the session moves all its links together and
/// then waits for any of them ([`Link::wake`]), so no order of sends and receives can
/// deadlock, whatever the sizes. Dropping a link closes it, which the other end notices.
pub trait Link: Send {
    /// Posts `frame` and sends as much of what is queued as the peer takes now.
    ///
    /// **Errors:** [`LinkError::Closed`].
    fn send(&mut self, frame: Frame) -> Result<(), LinkError>;

    /// Moves bytes both ways, and returns the next frame if it has arrived whole and may
    /// be taken now (see [`admit`]). Frames sent before the peer closed are still delivered.
    ///
    /// **Errors:** [`LinkError`]; none of them goes away by asking again.
    fn poll(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError>;

    /// Leaves the next message, of `length` bytes, where it is until it is needed; none where
    /// messages come when they come.
    ///
    /// **Errors:** [`LinkError`].
    fn defer(&mut self, _length: u64) -> Result<Option<Later>, LinkError> {
        Ok(None)
    }

    /// What says that another [`Link::poll`] is worth while.
    fn wake(&self) -> Wake<'_>;

    /// When a frame that is here already may be taken, if it is held back until then.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Bytes that have come so far, as a sign of life; 0 where frames come whole.
    fn received(&self) -> u64 {
        0
    }

    /// Tells the peer that nothing more is coming. The link is dropped next.
    fn close(&mut self) {}

    /// Whether everything posted has left this process.
    fn is_flushed(&self) -> bool {
        true
    }
}

/// Reads a message that was left where it is.
pub type Later = Box<dyn FnOnce() -> std::io::Result<Vec<u8>> + Send>;

/// What a link does with a frame of which it has read the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Read its payload and hand it over.
    Take,
    /// Leave it (and its payload unread) until a message is asked for.
    Hold,
}

/// Decides on a frame by its header: an abort or a heartbeat is taken at any time, a
/// message only when the session asks for one of up to `limit` bytes. So a peer can make
/// this process allocate what the plan declares, and nothing else.
///
/// **Errors:** [`LinkError::TooLong`].
pub fn admit(header: Header, limit: Option<u64>) -> Result<Admission, LinkError> {
    let notice = header.kind == ABORT || header.kind == HEARTBEAT;
    // With room for what a link below the session adds.
    let limit = if notice { Some(MAX_REASON as u64 + 64) } else { limit };
    match limit {
        None => Ok(Admission::Hold),
        Some(limit) if header.length <= limit => Ok(Admission::Take),
        Some(_) => Err(LinkError::TooLong { announced: header.length }),
    }
}

/// Why a link has no frame to give, or takes none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The other end is closed.
    #[error("the other end of the link is closed")]
    Closed,
    /// The next frame announces more bytes than this round calls for.
    #[error("a frame of {announced} bytes was announced")]
    TooLong {
        /// Bytes announced.
        announced: u64,
    },
    /// The connection itself failed.
    #[error(transparent)]
    Fault(PeerFault),
}
