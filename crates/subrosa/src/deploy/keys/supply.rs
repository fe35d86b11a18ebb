//! Keys for the batches of one session.

use super::agree::agree;
use super::{Stock, Wanted};
use crate::Result;
use crate::deploy::party::Shared;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use subrosa_mpc::Party;
use subrosa_mpc::ahead::Purpose;

/// What a session takes its keys from.
pub(in crate::deploy) struct Supply<'a> {
    stock: &'a Stock,
    purpose: Purpose,
    digest: [u8; 32],
    /// By size of a batch.
    payloads: BTreeMap<usize, u64>,
}

impl<'a> Supply<'a> {
    pub(in crate::deploy) fn new(stock: &'a Stock, purpose: Purpose) -> Self {
        Self { stock, digest: purpose.digest(), purpose, payloads: BTreeMap::new() }
    }

    /// Prepares a batch from keys that no other batch ever gets.
    ///
    /// **Errors:** [`Error::Input`](crate::Error::Input) when there are none;
    /// [`Error::Io`](crate::Error::Io); those of the session.
    pub(in crate::deploy) fn prepare(&mut self, party: &mut Party, batch: usize, shared: &Shared) -> Result<()> {
        let wanted = self.wanted(batch, shared.me)?;
        let (servers, deadline) = (shared.config.seats(), shared.config.limits.deadline());
        let tell = |line: &str| shared.log(line);
        let claim = agree(party.session(), servers, self.stock, &wanted, deadline, &tell)?;
        shared.log(&format!("keys {}: used up", claim.name()));
        Ok(party.prepare_from(batch, Box::new(claim.open()?))?)
    }

    fn wanted(&mut self, batch: usize, me: usize) -> Result<Wanted> {
        let payload = match self.payloads.entry(batch) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(self.purpose.bytes(batch)?.get(me).copied().unwrap_or(0)),
        };
        Ok(Wanted { purpose: self.digest, batch: batch as u32, payload })
    }
}
