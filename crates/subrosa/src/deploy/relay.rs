//! An order whose inputs are of owners elsewhere: the client who gives it only passes boxes on.
//!
//! The party opens its own, one a request, and before anything of them is used hears from the other parties
//! that theirs are of the same requests, in the same order, were not used before, and hold the same where two
//! parties are dealt the same. Then the protocol runs as ever, a part of the batch a request, on a link in the
//! client's place that says what was in the boxes, and what it hears is sealed for each owner. If one request
//! is refused, nothing of the others is used, and they may come again without it.

use super::card::Model;
use super::control::{Verdict, refusal};
use super::party::Shared;
use crate::{Error, Result};
use subrosa_mpc::relayed::{Opened, Outline, Refused};
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
        let open = |parcel: &[u8]| shared.sealing.open(&outline, self.me, load.samples, parcel);
        let opened: Vec<_> = parcels.chunks(each).map(open).collect();
        let refused = self.compare(shared, party, &outline, load.samples, &opened)?;
        self.refused = refused.iter().any(Option::is_some);
        let opened: Vec<Opened> = opened.into_iter().flatten().collect();
        if self.refused {
            shared.sealing.release(&opened.iter().map(|opened| opened.name).collect::<Vec<_>>());
        }
        let told = refused.into_iter().map(refusal).collect();
        party.session().control(vec![(client, told)], &[], deadline)?;
        if !self.refused {
            let answer = self.compute(&outline, party, opened, load)?;
            party.session().control(vec![(client, answer)], &[], deadline)?;
        }
        self.outline = Some(outline);
        Ok(!self.refused)
    }

    /// Tells all other parties what came of this one's boxes, and hears the same of them: of each part, why it is
    /// refused, if it is. They come to the same conclusion, unless one deviates; then somebody waits in vain,
    /// and the session ends.
    fn compare(
        &self,
        shared: &Shared,
        party: &mut Party,
        outline: &Outline,
        samples: usize,
        opened: &[std::result::Result<Opened, Refused>],
    ) -> Result<Vec<Option<Refused>>> {
        let deadline = shared.config.limits.deadline();
        let others: Vec<EndpointId> = (0..shared.config.seats()).filter(|&other| other != self.me).collect();
        let verdict = |other: EndpointId, one: &std::result::Result<Opened, Refused>| match one {
            Ok(opened) => Verdict {
                refused: None,
                agreement: opened.agreement,
                common: outline.common(self.me, other, samples, opened),
            },
            Err(refused) => Verdict { refused: Some(*refused), agreement: [0; 32], common: [0; 32] },
        };
        let to = |other: EndpointId| opened.iter().flat_map(|one| verdict(other, one).encode()).collect();
        let sends: Vec<(EndpointId, Vec<u8>)> = others.iter().map(|&other| (other, to(other))).collect();
        let expected: Vec<_> = others.iter().map(|&other| (other, Verdict::BYTES * opened.len())).collect();
        let heard = party.session().control(sends, &expected, deadline)?;
        let heard: Vec<Vec<Verdict>> = heard.iter().map(|bytes| Verdict::decode_all(bytes)).collect();
        let judge = |(part, one): (usize, &std::result::Result<Opened, Refused>)| {
            let theirs = || others.iter().zip(&heard).filter_map(|(&other, said)| Some((other, said.get(part)?)));
            let mine = |other| verdict(other, one);
            match one {
                Err(refused) => Some(*refused),
                Ok(_) if theirs().any(|(_, said)| said.refused.is_some()) => Some(Refused::Elsewhere),
                Ok(_) if theirs().any(|(to, said)| said.agreement != mine(to).agreement) => Some(Refused::Mixed),
                Ok(_) if theirs().any(|(to, said)| said.common != mine(to).common) => Some(Refused::Contradictory),
                Ok(_) => None,
            }
        };
        let mut judged: Vec<Option<Refused>> = opened.iter().enumerate().map(judge).collect();
        // What two parties are dealt in common no third one can compare: they have to tell it.
        if outline.sharing.overlaps() {
            let mine: Vec<u8> = judged.iter().copied().map(refusal).collect();
            let sends = others.iter().map(|&other| (other, mine.clone())).collect();
            #[cfg(test)]
            let sends = tests::perhaps_lying(shared, sends);
            let expected: Vec<_> = others.iter().map(|&other| (other, opened.len())).collect();
            let heard = party.session().control(sends, &expected, deadline)?;
            for (part, one) in judged.iter_mut().enumerate() {
                if heard.iter().any(|said| said.get(part).is_none_or(|&number| number != 0)) {
                    one.get_or_insert(Refused::Elsewhere);
                }
            }
        }
        Ok(judged)
    }

    /// Runs on what was in the boxes; the sealed answers, one after another.
    fn compute(&self, outline: &Outline, party: &mut Party, opened: Vec<Opened>, load: Load) -> Result<Vec<u8>> {
        let (messages, owed): (Vec<_>, Vec<_>) = opened.into_iter().map(|o| (o.messages, o.owed)).unzip();
        let (link, heard) = spoken(turned(&messages));
        drop(messages);
        party.session().divert(self.seats.data_owner, link);
        let ran = party.run(load);
        party.session().resume();
        let said = Zeroizing::new(heard.take());
        ran?;
        let lens: Vec<usize> = said.iter().map(Vec::len).collect();
        let each = outline.opening_bytes(self.me, load.samples);
        if lens != each.iter().map(|len| len * load.parts).collect::<Vec<_>>() {
            return Err(Error::misuse(format!("a bug in this program: the results have {lens:?} bytes"), ""));
        }
        let mut answers = Vec::new();
        for (at, owed) in owed.into_iter().enumerate() {
            // Of each output this owner's part.
            let mine = said.iter().zip(&each).filter_map(|(all, len)| all.get(at * len..(at + 1) * len));
            let answer = Zeroizing::new(mine.flatten().copied().collect::<Vec<u8>>());
            answers.extend(owed.seal(&answer).map_err(|e| Error::Io { message: e.to_string(), hint: None })?);
        }
        Ok(answers)
    }
}

/// Each owner's messages for all inputs, as the protocol asks for them: of each input all owners' in one.
fn turned(owners: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let inputs = owners.first().map_or(0, Vec::len);
    (0..inputs).map(|input| owners.iter().filter_map(|own| own.get(input)).flatten().copied().collect()).collect()
}

#[cfg(test)]
mod tests;
