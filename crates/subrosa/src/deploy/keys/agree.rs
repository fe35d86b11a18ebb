//! Which keys a batch uses: the servers agree, though each has used what it has used.
//!
//! The first server leads. It offers a file that it could use; each other server offers the same
//! one, or says which is the first that it could use from there on; the leader goes on from the
//! furthest. Up to here nothing has happened to any file. When all offer the same one, the leader
//! has it taken: each other server notes it as used, on the disk, then the leader does, and says
//! that it is agreed. So nobody opens a file before all have noted it, and a file that one server
//! has used, has not got, or cannot use, is passed over by all.
//!
//! With a file that is taken, servers tell each other what else of its dealing they have used, and
//! note that too: a server that was set back to an older state has caught up with the others once
//! it has agreed with them. Outside the meter: five messages, mostly of 32 and 16 bytes.

use super::journal::Used;
use super::name::Dealing;
use super::{Claim, Offer, Stock, Tell, Wanted};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::time::Duration;
use subrosa_net::{EndpointId, Session};

/// The server that proposes.
const LEADER: EndpointId = 0;

/// What a server answers that has none left.
const NONE: u64 = u64::MAX;

/// Words of the leader for one batch, before something must be wrong.
const MOST: usize = 256;

/// Runs of used numbers that are told, the first ones; there are few, unless sessions failed.
const MOST_RUNS: usize = 4096;

/// Bytes of a run.
const RUN: usize = 16;

/// What the leader wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Offer this one, or the next.
    Offer,
    /// Take this one. Runs of used numbers follow.
    Take,
    /// All have taken it.
    Agreed,
}

/// What the leader says: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Word {
    dealing: Dealing,
    index: u64,
    step: Step,
    runs: u32,
}

impl Word {
    const BYTES: usize = 32;

    fn encode(self) -> Vec<u8> {
        let step = match self.step {
            Step::Offer => 0u32,
            Step::Take => 1,
            Step::Agreed => 2,
        };
        [&self.dealing.0[..], &self.index.to_le_bytes(), &step.to_le_bytes(), &self.runs.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (dealing, rest) = bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (step, runs) = rest.split_first_chunk()?;
        let step = match u32::from_le_bytes(*step) {
            0 => Step::Offer,
            1 => Step::Take,
            2 => Step::Agreed,
            _ => return None,
        };
        let runs = u32::from_le_bytes(runs.try_into().ok()?);
        Some(Self { dealing: Dealing(*dealing), index: u64::from_le_bytes(*index), step, runs })
    }
}

/// What another server answers: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Answer {
    /// [`NONE`], if it has none.
    index: u64,
    /// Runs of used numbers follow.
    runs: u64,
}

impl Answer {
    const BYTES: usize = 16;

    fn encode(self) -> Vec<u8> {
        [self.index.to_le_bytes(), self.runs.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (index, runs) = bytes.split_first_chunk()?;
        Some(Self { index: u64::from_le_bytes(*index), runs: u64::from_le_bytes(runs.try_into().ok()?) })
    }
}

/// One server's part in agreeing.
struct Agreeing<'s, 'a> {
    session: &'s mut Session,
    stock: &'a Stock,
    wanted: &'s Wanted,
    deadline: Duration,
    tell: Tell<'s>,
}

/// Agrees with the other servers, endpoints `0..servers`, on keys that none of them has used, and
/// takes this server's. `tell` hears of files that are not what they should be.
///
/// **Errors:** [`Error::Input`] when there are none left; [`Error::Io`]; those of the session.
pub(super) fn agree<'a>(
    session: &mut Session,
    servers: usize,
    stock: &'a Stock,
    wanted: &Wanted,
    deadline: Duration,
    tell: Tell<'_>,
) -> Result<Claim<'a>> {
    let leads = session.id() == LEADER;
    let mut agreeing = Agreeing { session, stock, wanted, deadline, tell };
    if !leads {
        return agreeing.follow();
    }
    let others: Vec<EndpointId> = (0..servers).filter(|&p| p != LEADER).collect();
    agreeing.lead(&others)?.ok_or_else(|| {
        let message = format!("no keys for a batch of {} samples of this model are left at all servers", wanted.batch);
        let hint = "have the dealer deal more (subrosa dealer deal), or ask for batches that it dealt for; \
                    each server's log names the files that it cannot use";
        Error::input(message, hint)
    })
}

impl<'a> Agreeing<'_, 'a> {
    fn lead(&mut self, others: &[EndpointId]) -> Result<Option<Claim<'a>>> {
        let mut words = 0;
        for dealing in self.stock.dealings()? {
            let mut offer = self.stock.offer(dealing, 0, self.wanted, self.tell)?;
            while let Some(held) = offer {
                words += 1;
                // The last two words are for taking what was agreed on.
                if words > MOST - 2 {
                    return Ok(None);
                }
                let index = held.index();
                let answers = self.ask(others, Word { dealing, index, step: Step::Offer, runs: 0 })?;
                let furthest = answers.iter().map(|answer| answer.index).max().unwrap_or(NONE);
                if furthest == index {
                    return self.have_taken(others, held).map(Some);
                }
                if furthest == NONE || furthest < index {
                    break;
                }
                offer = self.stock.offer(dealing, furthest, self.wanted, self.tell)?;
            }
        }
        Ok(None)
    }

    /// Has everybody take what everybody offers.
    fn have_taken(&mut self, others: &[EndpointId], offer: Offer<'a>) -> Result<Claim<'a>> {
        let (dealing, index) = (offer.dealing(), offer.index());
        let used = self.stock.used(dealing)?.encode(MOST_RUNS);
        let word = Word { dealing, index, step: Step::Take, runs: (used.len() / RUN) as u32 };
        self.say(others, word)?;
        self.send(others, &used)?;
        let answers = self.answers(others)?;
        let mut theirs = Used::default();
        for (&other, answer) in others.iter().zip(answers) {
            if answer.index != index {
                return Err(nonsense("another server took other keys than it had offered"));
            }
            theirs.merge(&self.runs(other, answer.runs)?, &BTreeSet::new());
        }
        let claim = offer.take(&theirs)?;
        self.say(others, Word { step: Step::Agreed, runs: 0, ..word })?;
        Ok(claim)
    }

    fn follow(&mut self) -> Result<Claim<'a>> {
        let mut held: Option<Offer<'a>> = None;
        for _ in 0..MOST {
            let words = self.session.control(vec![], &[(LEADER, Word::BYTES)], self.deadline)?;
            let word = words.first().and_then(|word| Word::decode(word));
            let Word { dealing, index, step, runs } =
                word.ok_or_else(|| nonsense("the first server's word is none"))?;
            let fits = |offer: &Offer<'_>| offer.dealing() == dealing && offer.index() >= index;
            match step {
                Step::Offer => {
                    if !held.as_ref().is_some_and(fits) {
                        // What was offered before may be offered elsewhere.
                        drop(held.take());
                        held = self.stock.offer(dealing, index, self.wanted, self.tell)?;
                    }
                    self.answer(Answer { index: held.as_ref().map_or(NONE, Offer::index), runs: 0 })?;
                }
                Step::Take => {
                    let same = |offer: &Offer<'_>| offer.dealing() == dealing && offer.index() == index;
                    let offer = held.take().filter(same);
                    let offer = offer.ok_or_else(|| nonsense("the first server takes keys that were not offered"))?;
                    return self.take(offer, u64::from(runs));
                }
                Step::Agreed => break,
            }
        }
        Err(nonsense("the first server agrees on keys that were not taken here"))
    }

    /// Takes what the leader wants taken, and waits until all have.
    fn take(&mut self, offer: Offer<'a>, runs: u64) -> Result<Claim<'a>> {
        let (dealing, index) = (offer.dealing(), offer.index());
        let leaders = self.runs(LEADER, runs)?;
        let used = self.stock.used(dealing)?.encode(MOST_RUNS);
        let claim = offer.take(&leaders)?;
        self.answer(Answer { index, runs: (used.len() / RUN) as u64 })?;
        self.send(&[LEADER], &used)?;
        let words = self.session.control(vec![], &[(LEADER, Word::BYTES)], self.deadline)?;
        let agreed = Word { dealing, index, step: Step::Agreed, runs: 0 };
        match words.first().and_then(|word| Word::decode(word)) {
            Some(word) if word == agreed => Ok(claim),
            _ => Err(nonsense("the first server does not agree on what it had taken")),
        }
    }

    fn ask(&mut self, others: &[EndpointId], word: Word) -> Result<Vec<Answer>> {
        self.say(others, word)?;
        self.answers(others)
    }

    fn answers(&mut self, others: &[EndpointId]) -> Result<Vec<Answer>> {
        let expected: Vec<_> = others.iter().map(|&p| (p, Answer::BYTES)).collect();
        let answers = self.session.control(vec![], &expected, self.deadline)?;
        let decode = |bytes: &Vec<u8>| Answer::decode(bytes).ok_or_else(|| nonsense("a server's answer is none"));
        answers.iter().map(decode).collect()
    }

    fn say(&mut self, others: &[EndpointId], word: Word) -> Result<()> {
        self.send(others, &word.encode())
    }

    fn answer(&mut self, answer: Answer) -> Result<()> {
        self.send(&[LEADER], &answer.encode())
    }

    fn send(&mut self, to: &[EndpointId], bytes: &[u8]) -> Result<()> {
        if !bytes.is_empty() {
            let sends = to.iter().map(|&p| (p, bytes.to_vec())).collect();
            self.session.control(sends, &[], self.deadline)?;
        }
        Ok(())
    }

    /// The used numbers that another server tells.
    fn runs(&mut self, from: EndpointId, runs: u64) -> Result<Used> {
        let wrong = || nonsense("a server's list of used keys is none");
        let runs = usize::try_from(runs).ok().filter(|runs| *runs <= MOST_RUNS).ok_or_else(wrong)?;
        if runs == 0 {
            return Ok(Used::default());
        }
        let lists = self.session.control(vec![], &[(from, runs * RUN)], self.deadline)?;
        lists.first().and_then(|list| Used::decode(list)).ok_or_else(wrong)
    }
}

fn nonsense(what: &str) -> Error {
    Error::Peer { message: what.to_owned() }
}
