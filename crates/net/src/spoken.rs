//! A link to a peer whose words are here already.

use crate::frame::{DATA, Frame, Header};
use crate::link::{Link, LinkError};
use crate::wait::Wake;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// One end of a link whose other end has said all that it says: `words`, in their order. For
/// [`Session::divert`](crate::Session::divert). What it hears is kept for [`Heard`].
pub fn spoken(words: Vec<Vec<u8>>) -> (Box<dyn Link>, Heard) {
    let heard = Heard::default();
    (Box::new(Spoken { words: words.into(), number: 0, heard: heard.clone() }), heard)
}

/// What such a peer is told. No `Debug`: these are shares.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<Vec<u8>>>>);

impl Heard {
    /// The messages so far, in their order; they are kept no longer.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Spoken {
    words: VecDeque<Vec<u8>>,
    /// Of the next one.
    number: u32,
    heard: Heard,
}

impl Link for Spoken {
    fn send(&mut self, frame: Frame) -> Result<(), LinkError> {
        // The way to the peer itself, which is set aside, takes the rest.
        if Header::decode(&frame.header).kind == DATA {
            self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).push(frame.payload);
        }
        Ok(())
    }

    fn poll(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        if limit.is_none() {
            return Ok(None);
        }
        let payload = self.words.pop_front().ok_or(LinkError::Closed)?;
        let number = self.number;
        self.number = number.wrapping_add(1);
        Ok(Some(Frame::data(number, payload)))
    }

    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, PeerFault, local};
    use std::time::Duration;

    #[test]
    fn a_diverted_peer_is_taken_up_where_it_was_left() {
        let mut ends = local(&["party", "client"]).into_iter();
        let (mut party, mut client) = (ends.next().unwrap(), ends.next().unwrap());
        client.round(vec![(0, vec![1, 2])], &[]).unwrap();
        assert_eq!(party.round(vec![], &[(1, 2)]).unwrap(), [[1, 2]]);
        let (link, heard) = spoken(vec![vec![7], vec![]]);
        party.divert(1, link);
        let (meter, traffic) = (party.meter().clone(), party.traffic(1));
        assert_eq!(party.round(vec![(1, vec![9; 5])], &[(1, 1)]).unwrap(), [[7]]);
        assert_eq!(party.round(vec![], &[(1, 0)]).unwrap(), [[0u8; 0]]);
        // Metered as if it had been the client.
        assert_ne!(*party.meter(), meter);
        party.resume();
        assert_eq!(party.traffic(1).received, [2 + 16, 0, 0]);
        assert_eq!(heard.take(), [[9; 5]]);
        assert!(heard.take().is_empty() && traffic.sent == [0; 3]);
        party.round(vec![(1, vec![3])], &[]).unwrap();
        client.round(vec![(0, vec![4])], &[]).unwrap();
        assert_eq!(
            (party.round(vec![], &[(1, 1)]).unwrap(), client.round(vec![], &[(0, 1)]).unwrap()),
            (vec![vec![4]], vec![vec![3]])
        );
    }

    #[test]
    fn a_session_that_fails_meanwhile_tells_the_peer_itself() {
        let mut ends = local(&["party", "client"]).into_iter();
        let (mut party, mut client) = (ends.next().unwrap(), ends.next().unwrap());
        let (link, _) = spoken(vec![vec![7; 3]]);
        party.divert(1, link);
        let error = party.round(vec![], &[(1, 2)]).unwrap_err();
        assert!(matches!(&error, Error::Peer { kind: PeerFault::Length { expected: 2, got: 3 }, .. }), "{error}");
        party.resume();
        client.set_deadline(Duration::from_secs(5));
        let told = client.round(vec![], &[(0, 1)]).unwrap_err();
        assert!(matches!(&told, Error::Peer { kind: PeerFault::Aborted(_), .. }), "{told}");
    }

    #[test]
    fn nothing_more_is_heard_of_one_who_has_said_all() {
        let (link, _) = spoken(vec![]);
        let mut party = local(&["party", "client"]).remove(0);
        party.divert(1, link);
        let error = party.round(vec![], &[(1, 2)]).unwrap_err();
        assert!(matches!(error, Error::Peer { kind: PeerFault::Gone, .. }));
    }
}
