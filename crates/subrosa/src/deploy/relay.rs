//! An order whose inputs are of owners elsewhere: the client who gives it only passes boxes on.
//!
//! The party opens its own, one a request, and before anything of them is used hears from the other parties
//! that theirs are of the same requests, in the same order, and were not used before. Then the protocol runs
//! as ever, a part of the batch a request, on a link in the client's place that says what was in the boxes, and
//! what it hears is sealed for each owner. If a box of one request does not open, none of the others is used.

use super::card::Model;
use super::control::Verdict;
use super::party::Shared;
use crate::{Error, Result};
use subrosa_mpc::relayed::{Opened, Outline, Refused, agreed};
use subrosa_mpc::{Load, Party, Seats};
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

    /// Takes the parcels of requests and, if all parties agree to, computes on them. Returns whether they
    /// did; if not, the session can only be ended.
    pub(super) fn run(&mut self, shared: &Shared, party: &mut Party, model: &Model, load: Load) -> Result<bool> {
        self.keep_to(Kind::Elsewhere)?;
        let Seats { data_owner: client, receiver } = self.seats;
        if receiver != client {
            return Err(Error::misuse("boxes are answered to whoever sealed them, and to no receiver", ""));
        }
        let outline = match self.outline.take() {
            Some(outline) => outline,
            None => model.outline(self.dealing)?,
        };
        if !outline.holds(load.batch()) {
            return Err(Error::misuse(format!("{} samples at once are beyond all measure", load.batch()), ""));
        }
        let deadline = shared.config.limits.deadline();
        let each = outline.parcel_bytes(self.me, load.samples);
        let expected = [(client, each * load.parts)];
        let parcels = party.session().control(vec![], &expected, deadline)?.pop().unwrap_or_default();
        let parcels: Vec<&[u8]> = parcels.chunks(each).collect();
        let opened = shared.sealing.open(&outline, self.me, load.samples, &parcels);
        let names: Vec<_> = opened.iter().flatten().map(|opened| opened.name).collect();
        let judged = self.compare(shared, party, opened)?;
        let refused = judged.as_ref().err().copied();
        self.refused = refused.is_some();
        if self.refused {
            // Nothing of them was used here, so they may come again.
            shared.sealing.release(&names);
        }
        let verdict = Verdict { refused, agreement: [0; 32] };
        party.session().control(vec![(client, verdict.encode())], &[], deadline)?;
        if let Ok(opened) = judged {
            let answer = self.compute(&outline, party, opened, load)?;
            party.session().control(vec![(client, answer)], &[], deadline)?;
        }
        self.outline = Some(outline);
        Ok(refused.is_none())
    }

    /// Tells all other parties what came of this one's boxes, and hears the same of them. They come to the
    /// same conclusion, unless one deviates; then somebody waits in vain, and the session ends.
    fn compare(
        &self,
        shared: &Shared,
        party: &mut Party,
        opened: std::result::Result<Vec<Opened>, Refused>,
    ) -> Result<std::result::Result<Vec<Opened>, Refused>> {
        let mine = Verdict {
            refused: opened.as_ref().err().copied(),
            agreement: opened.as_ref().map_or([0; 32], |opened| agreed(opened.iter().map(|o| &o.agreement))),
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

    /// Runs on what was in the boxes; the sealed answers, one after another.
    fn compute(&self, outline: &Outline, party: &mut Party, opened: Vec<Opened>, load: Load) -> Result<Vec<u8>> {
        let (messages, owed): (Vec<_>, Vec<_>) = opened.into_iter().map(|o| (o.messages, o.owed)).unzip();
        let (link, heard) = spoken(turned(messages));
        party.session().divert(self.seats.data_owner, link);
        let ran = party.run(load);
        party.session().resume();
        let said = Zeroizing::new(heard.take());
        ran?;
        let lens: Vec<usize> = said.iter().map(Vec::len).collect();
        let expected = outline.opening_bytes(self.me, load.samples).into_iter();
        if lens != expected.flat_map(|len| vec![len; load.parts]).collect::<Vec<_>>() {
            return Err(Error::misuse(format!("a bug in this program: the results have {lens:?} bytes"), ""));
        }
        let mut answers = Vec::new();
        for (at, owed) in owed.into_iter().enumerate() {
            // Of each output this owner's part.
            let mine = said.iter().skip(at).step_by(load.parts);
            let answer = Zeroizing::new(mine.flatten().copied().collect::<Vec<u8>>());
            answers.extend(owed.seal(&answer).map_err(|e| Error::Io { message: e.to_string(), hint: None })?);
        }
        Ok(answers)
    }
}

/// Each owner's messages for all inputs, as the protocol asks for them: of each input all owners'.
fn turned(messages: Vec<Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    let inputs = messages.first().map_or(0, Vec::len);
    let mut owners: Vec<_> = messages.into_iter().map(Vec::into_iter).collect();
    (0..inputs).flat_map(|_| owners.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests;
