//! Taking a seat, with keys at once or batch by batch, and what the dealer says in all.

use super::cast::{Cast, Gates};
use super::deal::{Stage, message_bytes};
use super::keys::{self, Dealt};
use super::streams::Streams;
use super::{Masked, large_blocks_stay};
use crate::Error;
use crate::protocol::{Primitive, Protocol};
use std::collections::VecDeque;
use subrosa_net::Session;
use subrosa_ring::Ring;

impl<R: Ring, C: Cast> Masked<R, C> {
    /// A party without keys.
    pub(super) fn seated(session: Session) -> Result<Self, Error> {
        large_blocks_stay();
        let (me, parties) = (session.id(), Self::PARTIES);
        if me >= parties {
            let message = format!("{} has {parties} parties; endpoint {me} is none of them", C::NAME);
            return Err(Error::Misuse(message));
        }
        Ok(Self {
            me,
            session,
            cast: None,
            seeds: Vec::new(),
            batches: 0,
            streams: Vec::new(),
            stage: Stage::Setup,
            material: VecDeque::new(),
            keys: Dealt::default(),
            told: 0,
        })
    }

    /// Agrees on new keys; what was made under older ones is gone.
    pub(super) fn agree(&mut self) -> Result<(), Error> {
        self.stage = Stage::Setup;
        self.material.clear();
        self.streams.clear();
        (self.cast, self.batches) = (None, 0);
        let (cast, seeds) = C::setup(&mut self.session)?;
        self.streams = seeds.iter().map(|seed| Streams::new(C::NAME, seed)).collect();
        (self.cast, self.seeds) = (Some(cast), seeds);
        Ok(())
    }
}

/// Bytes that the dealer says to each computing party, from its seed on.
pub(super) fn ahead<C: Cast>(demand: &[Primitive], k: u32) -> Vec<u64> {
    let mut bytes = vec![C::told_in_setup(); C::COMPUTING];
    let [first, last] = message_bytes::<C>(demand, k).map(|bytes| bytes as u64);
    bytes.iter_mut().take(1).for_each(|b| *b += first);
    bytes.iter_mut().skip(C::COMPUTING - 1).for_each(|b| *b += last);
    if C::GATES == Gates::Keys {
        let words: u64 = demand.iter().map(|call| keys::word_bytes(call, k)).sum();
        bytes.iter_mut().for_each(|b| *b += words);
    }
    bytes
}

pub(super) fn no_keys<C: Cast>() -> Error {
    Error::Misuse(format!("{}: no keys were agreed on", C::NAME))
}
