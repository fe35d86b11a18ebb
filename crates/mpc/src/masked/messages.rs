//! The dealer's messages: all in one, or streamed, primitive by primitive.

use super::Masked;
use super::cast::{Cast, Gates};
use super::deal::{self, Dealing, Stage, round};
use crate::Error;
use crate::protocol::Primitive;
use subrosa_ring::Ring;

impl<R: Ring, C: Cast> Masked<R, C> {
    /// Computing parties: what was dealt for `demand`.
    pub(super) fn receive_dealt(&mut self, demand: &[Primitive]) -> Result<Dealing, Error> {
        let lens = match C::GATES {
            Gates::Bits => deal::message_bytes::<C>(demand, R::WIDTH.bits()),
            Gates::Keys => [0, 0],
        };
        if self.is_dealer() {
            return Ok(Dealing::with_capacity(lens));
        }
        self.receive_message(lens)
    }

    /// Computing parties: what they get of two messages of these lengths.
    fn receive_message(&mut self, lens: [usize; 2]) -> Result<Dealing, Error> {
        let [first, last] = lens;
        let len = match self.me {
            0 => first,
            me if me == C::COMPUTING - 1 => last,
            _ => 0,
        };
        if lens == [0, 0] {
            return Ok(Dealing::of(Vec::new()));
        }
        let received = round(&mut self.session, vec![], &[(C::COMPUTING, len)])?;
        Ok(Dealing::of(received.into_iter().next().unwrap_or_default()))
    }

    /// Where the dealer streams: computing parties get what was dealt for `call`.
    pub(super) fn begin(&mut self, call: Primitive) -> Result<(), Error> {
        match C::GATES {
            Gates::Keys if !self.is_dealer() => {
                let dealing = self.receive_message(deal::dealt_bytes::<C>(&call, R::WIDTH.bits()))?;
                self.stage = Stage::Offline(dealing);
                Ok(())
            }
            Gates::Keys | Gates::Bits => Ok(()),
        }
    }

    /// Where the dealer streams: it sends what it dealt for `call`.
    pub(super) fn finish(&mut self, call: Primitive) -> Result<(), Error> {
        match (C::GATES, &mut self.stage) {
            (Gates::Keys, Stage::Offline(dealing)) if self.me == C::COMPUTING => {
                let dealing = std::mem::replace(dealing, Dealing::with_capacity([0, 0]));
                self.send_message(dealing, deal::dealt_bytes::<C>(&call, R::WIDTH.bits()))
            }
            (Gates::Keys | Gates::Bits, Stage::Setup | Stage::Offline(_) | Stage::Online) => Ok(()),
        }
    }

    /// The dealer: sends what it dealt.
    pub(super) fn send_dealt(&mut self, dealing: Dealing, demand: &[Primitive]) -> Result<(), Error> {
        match C::GATES {
            Gates::Bits if self.is_dealer() => {
                self.send_message(dealing, deal::message_bytes::<C>(demand, R::WIDTH.bits()))
            }
            Gates::Bits | Gates::Keys => Ok(()),
        }
    }

    fn send_message(&mut self, dealing: Dealing, lens: [usize; 2]) -> Result<(), Error> {
        if lens == [0, 0] {
            return Ok(());
        }
        let Dealing { to_first, to_last, .. } = dealing;
        if [to_first.len(), to_last.len()] != lens {
            let name = C::NAME;
            return Err(Error::Misuse(format!("{name}: the rehearsal made other calls than it was announced to")));
        }
        round(&mut self.session, vec![(0, to_first), (C::COMPUTING - 1, to_last)], &[])?;
        Ok(())
    }
}
