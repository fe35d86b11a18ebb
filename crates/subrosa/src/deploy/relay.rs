//! An order whose input is an owner's elsewhere: the client who gives it only passes boxes on.
//!
//! The party opens its own, and before anything of it is used hears from the other parties that theirs are
//! of the same request and were not opened before. Then the protocol runs as ever, on a link in the
//! client's place that says what was in the box, and what it hears is sealed for the owner.

use super::card::Model;
use super::control::Verdict;
use super::party::Shared;
use crate::{Error, Result};
use subrosa_mpc::relayed::{Opened, Outline, Refused};
use subrosa_mpc::{Party, Seats};
use subrosa_net::{EndpointId, spoken};
use zeroize::Zeroizing;

/// Whose inputs a session computes on: from its first run on, that of one kind alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Client,
    Elsewhere,
}

/// What a session needs to know for such orders.
pub(super) struct Relayed {
    pub(super) seats: Seats,
    me: EndpointId,
    dealing: [u8; 32],
    outline: Option<Outline>,
    kind: Option<Kind>,
    refused: bool,
}

impl Relayed {
    /// In a session on this dealing of a model.
    pub(super) fn new(me: EndpointId, dealing: [u8; 32], seats: Seats) -> Self {
        Self { seats, me, dealing, outline: None, kind: None, refused: false }
    }

    /// Before any order but the end. Parties that one of them lies to may have come to different
    /// conclusions: those who compute use their masks now, and the others must not use the same ones with
    /// another input. So what was prepared for a request that was refused is never used.
    ///
    /// **Errors:** [`Error::Peer`] after a refusal.
    pub(super) fn goes_on(&self) -> Result<()> {
        match self.refused {
            false => Ok(()),
            true => Err(Error::Peer { message: "after a box was refused the client has to end its session".into() }),
        }
    }

    /// Before a run on what the client itself gives, which nothing binds to what other parties see.
    ///
    /// **Errors:** [`Error::Peer`] in a session that opens boxes.
    pub(super) fn takes_inputs(&mut self) -> Result<()> {
        self.keep_to(Kind::Client)
    }

    fn keep_to(&mut self, kind: Kind) -> Result<()> {
        match *self.kind.get_or_insert(kind) == kind {
            true => Ok(()),
            false => Err(Error::Peer { message: "the client gave inputs and boxes in one session".into() }),
        }
    }

    /// Takes the parcel of a request of so many samples and, if all parties agree to, computes on it.
    /// Returns whether they did; if not, the session can only be ended.
    pub(super) fn run(&mut self, shared: &Shared, party: &mut Party, model: &Model, samples: usize) -> Result<bool> {
        self.keep_to(Kind::Elsewhere)?;
        let Seats { data_owner: client, receiver } = self.seats;
        if receiver != client {
            return Err(Error::misuse("boxes are answered to whoever sealed them, and to no receiver", ""));
        }
        let outline = match self.outline.take() {
            Some(outline) => outline,
            None => model.outline(self.dealing)?,
        };
        if !outline.holds(samples) {
            return Err(Error::misuse(format!("a request of {samples} samples is beyond all measure"), ""));
        }
        let deadline = shared.config.limits.deadline();
        let parcel = outline.parcel_bytes(self.me, samples);
        let parcel = party.session().control(vec![], &[(client, parcel)], deadline)?.pop().unwrap_or_default();
        let opened = shared.sealing.open(&outline, self.me, samples, &parcel);
        let judged = self.compare(shared, party, opened)?;
        let refused = judged.as_ref().err().copied();
        self.refused = refused.is_some();
        let verdict = Verdict { refused, agreement: [0; 32] };
        party.session().control(vec![(client, verdict.encode())], &[], deadline)?;
        if let Ok(opened) = judged {
            let answer = self.compute(&outline, party, opened, samples)?;
            party.session().control(vec![(client, answer)], &[], deadline)?;
        }
        self.outline = Some(outline);
        Ok(refused.is_none())
    }

    /// Tells all other parties what came of this one's box, and hears the same of them. They come to the
    /// same conclusion, unless one deviates; then somebody waits in vain, and the session ends.
    fn compare(
        &self,
        shared: &Shared,
        party: &mut Party,
        opened: std::result::Result<Opened, Refused>,
    ) -> Result<std::result::Result<Opened, Refused>> {
        let mine = Verdict {
            refused: opened.as_ref().err().copied(),
            agreement: opened.as_ref().map_or([0; 32], |opened| opened.agreement),
        };
        let others: Vec<EndpointId> = (0..shared.config.seats()).filter(|&other| other != self.me).collect();
        let sends: Vec<_> = others.iter().map(|&other| (other, mine.encode())).collect();
        #[cfg(test)]
        let sends = tests::perhaps_lying(shared, sends);
        let expected: Vec<_> = others.iter().map(|&other| (other, Verdict::BYTES)).collect();
        let heard = party.session().control(sends, &expected, shared.config.limits.deadline())?;
        let theirs: Vec<Verdict> = heard.iter().map(|bytes| Verdict::decode(bytes)).collect();
        let elsewhere = theirs.iter().any(|verdict| verdict.refused.is_some());
        let mixed = theirs.iter().any(|verdict| verdict.agreement != mine.agreement);
        Ok(opened.and_then(|opened| match (elsewhere, mixed) {
            (true, _) => Err(Refused::Elsewhere),
            (false, true) => Err(Refused::Mixed),
            (false, false) => Ok(opened),
        }))
    }

    /// Runs on what was in the box; the sealed answer.
    fn compute(&self, outline: &Outline, party: &mut Party, opened: Opened, samples: usize) -> Result<Vec<u8>> {
        let Opened { messages, owed, .. } = opened;
        let (link, heard) = spoken(messages);
        party.session().divert(self.seats.data_owner, link);
        let ran = party.run(samples);
        party.session().resume();
        let said = Zeroizing::new(heard.take());
        ran?;
        let lens: Vec<usize> = said.iter().map(Vec::len).collect();
        if lens != outline.opening_bytes(self.me, samples) {
            return Err(Error::misuse(format!("a bug in this program: the results have {lens:?} bytes"), ""));
        }
        let answer = Zeroizing::new(said.concat());
        owed.seal(&answer).map_err(|e| Error::Io { message: e.to_string(), hint: None })
    }
}

#[cfg(test)]
mod tests;
