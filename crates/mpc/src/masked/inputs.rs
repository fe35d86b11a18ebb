//! How inputs come in: shared additively and opened by the parties, or opened by their owner
//! under masks that it is told.

use super::cast::Cast;
use super::deal::{Parts, round};
use super::share::{Share, zip};
use super::{Masked, SEED_BYTES, expand};
use crate::Error;
use crate::protocol::Primitive;
use std::cmp::Ordering;
use subrosa_core::Seed;
use subrosa_net::EndpointId;
use subrosa_ring::{Ring, Word, packed_len, unpack};

impl<R: Ring, C: Cast> Masked<R, C> {
    /// An input that its owner opens under masks it was told: `x = c + m_0 + m_1 + ...`. Each
    /// mask is the stream of a seed that the dealer derives as well, fresh for each input; the
    /// owner alone learns all of them, and knows `x` anyway.
    ///
    /// **Errors:** [`Error::Misuse`] for several parts: nobody tells several people their masks.
    pub(super) fn input_of_owner(
        &mut self,
        owner: EndpointId,
        parts: usize,
        n: usize,
    ) -> Result<Share<R::Word>, Error> {
        let call = Primitive::Input { parts, n };
        if parts != 1 {
            return Err(Error::Misuse(format!("{}: an input under its owner's masks comes in one part", C::NAME)));
        }
        if self.is_offline() {
            let number = [self.batches.to_le_bytes(), self.told.to_le_bytes()].concat();
            self.told += 1;
            let seeds: Vec<Seed> = self.seeds.iter().map(|s| s.derive(b"input mask").derive(&number)).collect();
            let masks = seeds.iter().map(|seed| expand::<R, C>(seed.expose(), n));
            let mask = masks.reduce(|sum, mask| zip(&sum, &mask, Word::add)).unwrap_or_default();
            if let (false, [seed]) = (self.is_dealer(), seeds.as_slice()) {
                self.session.round(vec![(owner, seed.expose().to_vec())], &[])?;
            }
            self.keep(call, Parts::default())?;
            return Ok(Share::masked(mask));
        }
        self.take(call)?;
        if self.is_dealer() {
            return Ok(Share::absent(n));
        }
        let k = R::WIDTH.bits();
        let received = round(&mut self.session, vec![], &[(owner, packed_len(n, k))])?;
        Ok(Share::opened(unpack(received.first().map_or(&[], Vec::as_slice), k, n)))
    }

    /// This party's part of what an owner shares: what a seed stands for, at the last
    /// computing party what these lack of the value, nothing at the dealer.
    pub(super) fn input_part(&mut self, owner: EndpointId, parts: usize, n: usize) -> Result<Vec<R::Word>, Error> {
        let lens = input_bytes::<R, C>(n);
        let Some(&len) = lens.get(self.me) else { return Ok(Vec::new()) };
        let received = self.session.round(vec![], &[(owner, len * parts)])?;
        let message = received.first().map_or(&[] as &[u8], Vec::as_slice);
        let last = C::COMPUTING - 1;
        let one = |message: &[u8]| match self.me.cmp(&last) {
            Ordering::Less => message.first_chunk().map_or_else(Vec::new, |s| expand::<R, C>(s, n)),
            Ordering::Equal => unpack(message, R::WIDTH.bits(), n),
            Ordering::Greater => Vec::new(),
        };
        Ok(message.chunks(len.max(1)).flat_map(one).collect())
    }
}

/// Lengths of a data owner's messages to the parties.
pub(super) fn input_bytes<R: Ring, C: Cast>(n: usize) -> Vec<usize> {
    if C::OWNER_MASKS {
        return vec![packed_len(n, R::WIDTH.bits()); C::COMPUTING];
    }
    let mut lens = vec![SEED_BYTES; C::COMPUTING - 1];
    lens.push(packed_len(n, R::WIDTH.bits()));
    lens.extend(C::DEALER_OPENS.then_some(0));
    lens
}
