//! Which keys a batch uses: the servers agree, though each has used what it has used.
//!
//! The first server leads. It takes a file and proposes it; each other server takes the same
//! one, or says which is the first that it has from there on; the leader goes on from the
//! furthest. When all have taken the same one it says so. Everybody takes before it speaks, so
//! a file that one server has used, or has not got, is passed over by all, and a server that
//! was set back to an older state is corrected by one that was not. Outside the meter:
//! messages of 32 and 8 bytes, mostly three in all.

use super::name::Dealing;
use super::{Claim, Stock, Wanted};
use crate::{Error, Result};
use std::time::Duration;
use subrosa_net::{EndpointId, Session};

/// The server that proposes.
const LEADER: EndpointId = 0;

/// What a server answers that has none left.
const NONE: u64 = u64::MAX;

/// Proposals for one batch, before something must be wrong.
const MOST: usize = 64;

/// What the leader says: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Word {
    dealing: Dealing,
    index: u64,
    /// Whether all have taken it.
    agreed: bool,
}

impl Word {
    const BYTES: usize = 32;

    fn encode(self) -> Vec<u8> {
        [&self.dealing.0[..], &self.index.to_le_bytes(), &u64::from(self.agreed).to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (dealing, rest) = bytes.split_first_chunk()?;
        let (index, agreed) = rest.split_first_chunk()?;
        let agreed = match u64::from_le_bytes(agreed.try_into().ok()?) {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self { dealing: Dealing(*dealing), index: u64::from_le_bytes(*index), agreed })
    }
}

/// Agrees with the other servers, endpoints `0..servers`, on keys that none of them has used, and
/// takes this server's.
///
/// **Errors:** [`Error::Input`] when there are none left; [`Error::Io`]; those of the session.
pub(super) fn agree<'a>(
    session: &mut Session,
    servers: usize,
    stock: &'a Stock,
    wanted: &Wanted,
    deadline: Duration,
) -> Result<Claim<'a>> {
    let claim = match session.id() == LEADER {
        true => lead(session, servers, stock, wanted, deadline)?,
        false => follow(session, stock, deadline)?,
    };
    claim.ok_or_else(|| {
        let message = format!("no keys for a batch of {} samples of this model are left at all servers", wanted.batch);
        Error::input(message, "have the dealer deal more (subrosa dealer deal), or ask for batches that it dealt for")
    })
}

fn lead<'a>(
    session: &mut Session,
    servers: usize,
    stock: &'a Stock,
    wanted: &Wanted,
    deadline: Duration,
) -> Result<Option<Claim<'a>>> {
    let others: Vec<EndpointId> = (0..servers).filter(|&p| p != LEADER).collect();
    let expected: Vec<_> = others.iter().map(|&p| (p, 8)).collect();
    let mut say = |word: Word, answers: &[(EndpointId, usize)]| {
        let sends = others.iter().map(|&p| (p, word.encode())).collect();
        session.control(sends, answers, deadline)
    };
    let mut proposals = 0;
    for dealing in stock.dealings(wanted)? {
        let mut claim = stock.claim(dealing, 0)?;
        while let Some(taken) = claim {
            proposals += 1;
            let word = Word { dealing, index: taken.index, agreed: false };
            let answers = say(word, &expected)?;
            let numbers = answers.iter().map(|a| a.first_chunk().map_or(NONE, |b| u64::from_le_bytes(*b)));
            let furthest = numbers.max().unwrap_or(NONE);
            if furthest == taken.index {
                say(Word { agreed: true, ..word }, &[])?;
                return Ok(Some(taken));
            }
            if furthest == NONE || furthest < taken.index || proposals > MOST {
                break;
            }
            claim = stock.claim(dealing, furthest)?;
        }
    }
    Ok(None)
}

fn follow<'a>(session: &mut Session, stock: &'a Stock, deadline: Duration) -> Result<Option<Claim<'a>>> {
    let mut held: Option<Claim<'a>> = None;
    for _ in 0..=MOST {
        let words = session.control(vec![], &[(LEADER, Word::BYTES)], deadline)?;
        let word = words.first().and_then(|w| Word::decode(w));
        let Some(Word { dealing, index, agreed }) = word else { break };
        let fits = held.as_ref().is_some_and(|claim| claim.dealing == dealing && claim.index >= index);
        match (agreed, fits) {
            (true, true) if held.as_ref().is_some_and(|claim| claim.index == index) => return Ok(held),
            (true, _) => break,
            (false, true) => {}
            (false, false) => held = stock.claim(dealing, index)?,
        }
        let answer = held.as_ref().map_or(NONE, |claim| claim.index);
        session.control(vec![(LEADER, answer.to_le_bytes().to_vec())], &[], deadline)?;
    }
    Err(Error::Peer { message: "the first server agreed on keys that were not taken here".to_owned() })
}
