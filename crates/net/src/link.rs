//! The transport below a session.

use crate::frame::Frame;
use std::time::Instant;

/// One end of a duplex, ordered link to one peer.
///
/// A link carries frames and judges none: numbers, kinds and lengths are the session's
/// to check. Dropping a link closes it, which the other end notices at once.
pub trait Link: Send {
    /// Posts `frame`. Never waits for the peer to read: two ends that both send before
    /// they receive must not block one another, whatever the sizes.
    ///
    /// **Errors:** [`LinkError::Closed`].
    fn send(&mut self, frame: Frame) -> Result<(), LinkError>;

    /// The next frame, waiting for it until `deadline`; a deadline in the past asks for
    /// what has already arrived. Frames sent before the peer closed are still delivered.
    ///
    /// **Errors:** [`LinkError::Timeout`], [`LinkError::Closed`].
    fn recv(&mut self, deadline: Instant) -> Result<Frame, LinkError>;
}

/// Why a link has no frame to give, or takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The other end is closed.
    #[error("the other end of the link is closed")]
    Closed,
    /// Nothing came before the deadline.
    #[error("nothing came before the deadline")]
    Timeout,
}
