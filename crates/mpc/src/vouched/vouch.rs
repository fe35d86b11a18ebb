//! Messages that one party sends and a second one vouches for.
//!
//! Whatever is sent is known to two parties. One sends it, the other a digest, in the same
//! round; the receiver goes on only if they agree. At most one party deviates, so what
//! agrees is what an honest party would have sent: a deviation changes nothing that another
//! party computes, it only ends the session, by a fault that does not depend on any secret.
//! Nothing is checked later: a party that had worked on with a wrong value could be made to
//! give away, by what it sends next, how that differs from the right one.

use super::share::{Pieces, next, previous};
use super::{Crew, Vouched};
use crate::Error;
use crate::protocol::Contradiction;
pub(super) use crate::sharing::{DIGEST, digest};
use subrosa_net::EndpointId;
use subrosa_ring::bits::{plane_words, planes_from_bytes, planes_to_bytes, xor_assign};
use subrosa_ring::{Ring, Word, pack, packed_len, unpack};

/// A message of `len` bytes from `sender` that `by` vouches for.
pub(super) struct Due {
    pub(super) sender: EndpointId,
    pub(super) by: EndpointId,
    pub(super) len: usize,
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// One round: sends messages and digests, and takes the vouched messages that are due.
    ///
    /// **Errors:** [`PeerFault::Contradicted`](subrosa_net::PeerFault::Contradicted) naming
    /// both if a message and its digest differ.
    pub(super) fn vouched_round(
        &mut self,
        sends: Vec<(EndpointId, Vec<u8>)>,
        due: Option<Due>,
    ) -> Result<Vec<u8>, Error> {
        let due = due.filter(|due| due.len > 0);
        let receives = due.as_ref().map_or(vec![], |due| vec![(due.sender, due.len), (due.by, DIGEST)]);
        let mut received = self.session.round(sends, &receives)?.into_iter();
        let (Some(due), Some(message), Some(vouched)) = (due, received.next(), received.next()) else {
            return Ok(Vec::new());
        };
        match vouched == digest(&message) {
            true => Ok(message),
            false => Err(Contradiction { sender: due.sender, by: due.by }.accuse(&mut self.session)),
        }
    }

    /// Parties 0 to 2 give each other the piece that each lacks: messages of one length, the
    /// first to be sent, the second to be vouched for.
    fn swap(&mut self, sent: Vec<u8>, vouched: &[u8]) -> Result<Vec<u8>, Error> {
        let (me, len) = (self.me, sent.len());
        let sends = vec![(previous(me), sent), (next(me), digest(vouched).to_vec())];
        self.vouched_round(sends, Some(Due { sender: next(me), by: previous(me), len }))
    }

    /// The sum of three pieces, which fresh masks hide. One round.
    pub(super) fn open(&mut self, pieces: Pieces<R::Word>) -> Result<Vec<R::Word>, Error> {
        let k = R::WIDTH.bits();
        let [sent, vouched] = two(pieces)?;
        let n = sent.len();
        if n == 0 {
            return Ok(Vec::new());
        }
        let received = self.swap(pack(&sent, k), &pack(&vouched, k))?;
        let third: Vec<R::Word> = unpack(&received, k, n);
        let sums = sent.iter().zip(&vouched).zip(&third);
        let sums: Vec<R::Word> = sums.map(|((&x, &y), &z)| x.add(y).add(z)).collect();
        #[cfg(test)]
        super::leak_tests::opened_words(&sums);
        Ok(sums)
    }

    /// As [`Vouched::open`], at parties 1 and 2 alone: party 0 gets nothing. One round.
    pub(super) fn open_without_party_0(&mut self, pieces: Pieces<R::Word>) -> Result<Vec<R::Word>, Error> {
        let k = R::WIDTH.bits();
        let [sent, vouched] = two(pieces)?;
        let (me, n) = (self.me, sent.len());
        if n == 0 {
            return Ok(Vec::new());
        }
        let sends = match me {
            0 => vec![(2, pack(&sent, k)), (1, digest(&pack(&vouched, k)).to_vec())],
            1 => vec![(2, digest(&pack(&vouched, k)).to_vec())],
            _ => vec![(1, pack(&sent, k))],
        };
        let due = (me != 0).then(|| Due { sender: next(me), by: previous(me), len: packed_len(n, k) });
        let received = self.vouched_round(sends, due)?;
        if me == 0 {
            return Ok(Vec::new());
        }
        let third: Vec<R::Word> = unpack(&received, k, n);
        let sums: Vec<R::Word> = sent.iter().zip(&vouched).zip(&third).map(|((&x, &y), &z)| x.add(y).add(z)).collect();
        #[cfg(test)]
        super::leak_tests::opened_words(&sums);
        Ok(sums)
    }

    /// As [`Vouched::open`], `count` planes of `n` bits in each piece.
    pub(super) fn open_planes(&mut self, n: usize, count: usize, pieces: Pieces<u64>) -> Result<Vec<u64>, Error> {
        let [mut sum, vouched] = two(pieces)?;
        let received = self.swap(plane_message(&sum, n), &plane_message(&vouched, n))?;
        xor_assign(&mut sum, &vouched);
        xor_assign(&mut sum, planes_from_bytes(&received, count, n).words());
        #[cfg(test)]
        super::leak_tests::opened_planes(n, count, &sum);
        Ok(sum)
    }

    /// A plane that parties 1 and 2 know, at all of parties 0 to 2. One round.
    pub(super) fn tell_party_0(&mut self, n: usize, plane: Vec<u64>) -> Result<Vec<u64>, Error> {
        let message = plane_message(&plane, n);
        let sends = match self.me {
            0 => vec![],
            1 => vec![(0, message)],
            _ => vec![(0, digest(&message).to_vec())],
        };
        let due = (self.me == 0).then(|| Due { sender: 1, by: 2, len: subrosa_ring::bits::plane_bytes(n) });
        let received = self.vouched_round(sends, due)?;
        Ok(if self.me == 0 { planes_from_bytes(&received, 1, n).words().to_vec() } else { plane })
    }

    /// What goes to the receiver: the piece that this party sends, and a digest of the one it
    /// vouches for.
    pub(super) fn opening_message(pieces: Pieces<R::Word>) -> Result<Vec<u8>, Error> {
        let k = R::WIDTH.bits();
        let [sent, vouched] = two(pieces)?;
        let mut message = pack(&sent, k);
        message.extend(digest(&pack(&vouched, k)));
        Ok(message)
    }
}

/// Planes, one after another, on the wire.
pub(super) fn plane_message(planes: &[u64], n: usize) -> Vec<u8> {
    planes_to_bytes(&planes.chunks_exact(plane_words(n).max(1)).collect::<Vec<_>>(), n)
}

fn two<T>(pieces: Vec<T>) -> Result<[T; 2], Error> {
    pieces.try_into().map_err(|_| Error::Misuse("only parties 0 to 2, who hold two pieces, open values".into()))
}
