//! Links that misbehave on purpose.

use crate::frame::{Frame, HEADER, HEARTBEAT, Header};
use crate::link::{Link, LinkError};
use crate::session::{EndpointId, Session};
use crate::wait::Wake;
use std::time::{Duration, Instant};

/// What to do to the frames an endpoint sends on one link. Frames are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Deliver the first `frames` frames, then close the link.
    Cut {
        /// Frames delivered.
        frames: usize,
    },
    /// Hold every frame back for `by`.
    Delay {
        /// The time each frame is held.
        by: Duration,
    },
    /// Deliver one frame twice.
    Duplicate {
        /// Which.
        frame: usize,
    },
    /// Deliver one frame after the next one.
    Swap {
        /// The earlier of the two.
        frame: usize,
    },
    /// Cut one payload short, leaving its header as it is.
    Truncate {
        /// Which.
        frame: usize,
        /// Payload bytes left.
        to: usize,
    },
    /// XOR one byte of one frame.
    Flip {
        /// Which.
        frame: usize,
        /// Which byte, the header's 16 first; beyond the frame's end nothing happens.
        byte: usize,
        /// What the byte is XORed with.
        mask: u8,
    },
}

impl Session {
    /// This session with `fault` on everything it sends to `to`. Faults add up.
    pub fn with_fault(mut self, to: EndpointId, fault: Fault) -> Self {
        self.wrap_link(to, |link| Box::new(Faulty { link: Some(link), fault, frames: 0, held: None }));
        self
    }
}

struct Faulty {
    /// None once cut.
    link: Option<Box<dyn Link>>,
    fault: Fault,
    /// Frames seen.
    frames: usize,
    /// The frame to deliver after the next one.
    held: Option<Frame>,
}

impl Link for Faulty {
    fn send(&mut self, mut frame: Frame) -> Result<(), LinkError> {
        if Header::decode(&frame.header).kind == HEARTBEAT {
            return self.deliver(frame);
        }
        let n = self.frames;
        self.frames += 1;
        match self.fault {
            Fault::Cut { frames } if n >= frames => self.link = None,
            Fault::Delay { by } => std::thread::sleep(by),
            Fault::Duplicate { frame: at } if n == at => self.deliver(frame.clone())?,
            Fault::Swap { frame: at } if n == at => {
                self.held = Some(frame);
                return Ok(());
            }
            Fault::Truncate { frame: at, to } if n == at => frame.payload.truncate(to),
            Fault::Flip { frame: at, byte, mask } if n == at => flip(&mut frame, byte, mask),
            Fault::Cut { .. }
            | Fault::Duplicate { .. }
            | Fault::Swap { .. }
            | Fault::Truncate { .. }
            | Fault::Flip { .. } => {}
        }
        self.deliver(frame)?;
        self.held.take().map_or(Ok(()), |held| self.deliver(held))
    }

    fn poll(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        self.link.as_mut().ok_or(LinkError::Closed)?.poll(limit)
    }

    fn wake(&self) -> Wake<'_> {
        self.link.as_ref().map_or(Wake::Never, |link| link.wake())
    }

    fn due(&self) -> Option<Instant> {
        self.link.as_ref().and_then(|link| link.due())
    }

    fn received(&self) -> u64 {
        self.link.as_ref().map_or(0, |link| link.received())
    }

    fn close(&mut self) {
        if let Some(link) = &mut self.link {
            link.close();
        }
    }

    fn is_flushed(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.is_flushed())
    }
}

impl Faulty {
    fn deliver(&mut self, frame: Frame) -> Result<(), LinkError> {
        self.link.as_mut().ok_or(LinkError::Closed)?.send(frame)
    }
}

fn flip(frame: &mut Frame, byte: usize, mask: u8) {
    let target = match byte.checked_sub(HEADER) {
        None => Some(&mut frame.header[byte]),
        Some(i) => frame.payload.get_mut(i),
    };
    if let Some(b) = target {
        *b ^= mask;
    }
}
