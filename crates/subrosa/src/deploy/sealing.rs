//! A party's sealing keys: what owners who reach it through a gateway seal their shares to.
//!
//! A key is made when it is first asked for, lives in memory alone, and is replaced after a day; the one
//! before it still opens for as long. So a box that was recorded on its way cannot be opened two days later,
//! whoever breaks into the party then, nor after it was started again. Which boxes were opened is
//! remembered as long as their key.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use subrosa_mpc::relayed::{Opened, Outline, Refused};
use subrosa_net::sealed::{KEY, SealError, SealingKey};
use subrosa_net::tcp::{Endpoint, Fingerprint};

/// How long new boxes are sealed to a key.
const LIFE: Duration = Duration::from_secs(86_400);

/// How many boxes a key opens before it is replaced; each costs some 50 bytes to remember.
const MOST_BOXES: usize = 1 << 20;

/// What a party's signature says.
const PURPOSE: &str = "sealing key";

/// A party's word for its sealing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingStatement {
    /// The key.
    pub key: [u8; KEY],
    /// The last second (since 1970) at which something may be sealed to it.
    pub until: u64,
    /// The party's signature of both, with its public key: [`Fingerprint::has_signed`].
    pub signature: Vec<u8>,
}

impl SealingStatement {
    /// Whether the party with this fingerprint vouches for the key now.
    pub fn is_of(&self, party: Fingerprint) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        now <= self.until && party.has_signed(PURPOSE, &signed(&self.key, self.until), &self.signature)
    }
}

fn signed(key: &[u8; KEY], until: u64) -> Vec<u8> {
    [key.as_slice(), &until.to_le_bytes()].concat()
}

/// The keys in use.
#[derive(Default)]
pub(super) struct Sealing {
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    current: Option<Current>,
    previous: Option<Current>,
}

struct Current {
    key: SealingKey,
    made: Instant,
    statement: SealingStatement,
    /// Names of the boxes that it opened.
    seen: HashSet<[u8; 32]>,
}

impl Sealing {
    /// This party's word for the key that boxes are sealed to now.
    ///
    /// **Errors:** [`Error::Io`] without randomness.
    pub(super) fn statement(&self, endpoint: &Endpoint) -> Result<SealingStatement> {
        let mut keys = self.keys();
        keys.expire(Instant::now());
        let worn = |c: &Current| c.made.elapsed() >= LIFE || c.seen.len() >= MOST_BOXES;
        if keys.current.as_ref().is_none_or(worn) {
            let fresh = Current::new(endpoint)?;
            keys.previous = keys.current.replace(fresh);
        }
        let statement = keys.current.as_ref().map(|c| c.statement.clone());
        statement.ok_or_else(|| io("no sealing key could be made".to_owned()))
    }

    /// Opens a party's parcel, once.
    pub(super) fn open(
        &self,
        outline: &Outline,
        party: usize,
        samples: usize,
        parcel: &[u8],
    ) -> std::result::Result<Opened, Refused> {
        let mut keys = self.keys();
        keys.expire(Instant::now());
        let Keys { current, previous } = &mut *keys;
        for one in [current, previous].into_iter().flatten() {
            match outline.open(party, samples, parcel, &one.key) {
                Ok(opened) if one.seen.contains(&opened.name) => return Err(Refused::Replayed),
                Ok(_) if one.seen.len() >= MOST_BOXES => return Err(Refused::Closed),
                Ok(opened) => {
                    one.seen.insert(opened.name);
                    return Ok(opened);
                }
                Err(Refused::Closed) => {}
                Err(refused) => return Err(refused),
            }
        }
        Err(Refused::Closed)
    }

    // A panic elsewhere leaves them whole: names are only ever added.
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// Forgets keys whose time is over.
    fn expire(&mut self, now: Instant) {
        for slot in [&mut self.current, &mut self.previous] {
            if slot.as_ref().is_some_and(|c| now.duration_since(c.made) >= 2 * LIFE) {
                *slot = None;
            }
        }
    }
}

impl Current {
    fn new(endpoint: &Endpoint) -> Result<Self> {
        let key = SealingKey::generate().map_err(|e: SealError| io(e.to_string()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = (now + 2 * LIFE).as_secs();
        let signature = endpoint.sign(PURPOSE, &signed(&key.public(), until)).map_err(|e| io(e.to_string()))?;
        let statement = SealingStatement { key: key.public(), until, signature };
        Ok(Self { key, made: Instant::now(), statement, seen: HashSet::new() })
    }
}

fn io(message: String) -> Error {
    Error::Io { message, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use subrosa_net::tcp::{Identity, Validity};

    fn endpoint() -> Endpoint {
        Endpoint::new(Identity::create("hospital", Validity::days(1)).unwrap(), Default::default()).unwrap()
    }

    #[test]
    fn a_statement_is_of_one_party_one_key_and_one_time() {
        let (party, other) = (endpoint(), endpoint());
        let sealing = Sealing::default();
        let statement = sealing.statement(&party).unwrap();
        assert!(statement.is_of(party.fingerprint()) && !statement.is_of(other.fingerprint()));
        assert_eq!(sealing.statement(&party).unwrap(), statement, "the same for a day");
        let changed = [
            SealingStatement { key: [1; KEY], ..statement.clone() },
            SealingStatement { until: statement.until + 1, ..statement.clone() },
            SealingStatement { signature: vec![], ..statement.clone() },
        ];
        assert!(changed.iter().all(|s| !s.is_of(party.fingerprint())));
        let past = SealingStatement {
            key: statement.key,
            until: 1,
            signature: party.sign(PURPOSE, &signed(&statement.key, 1)).unwrap(),
        };
        assert!(!past.is_of(party.fingerprint()));
    }

    #[test]
    fn a_worn_key_is_replaced_and_opens_a_while_longer() {
        let party = endpoint();
        let sealing = Sealing::default();
        let first = sealing.statement(&party).unwrap();
        let age = |by: Duration| {
            let Keys { current, previous } = &mut *sealing.keys();
            for one in [current, previous].into_iter().flatten() {
                one.made = one.made.checked_sub(by).unwrap();
            }
        };
        let known = |key: [u8; KEY]| {
            let keys = sealing.keys();
            [&keys.current, &keys.previous].into_iter().flatten().any(|c| c.statement.key == key)
        };
        // Instants before the machine was started cannot be told: the test moves as far as it can.
        if Instant::now().checked_sub(2 * LIFE).is_none() {
            return;
        }
        age(LIFE);
        let second = sealing.statement(&party).unwrap();
        assert!(first.key != second.key && known(first.key));
        age(LIFE);
        sealing.statement(&party).unwrap();
        assert!(!known(first.key) && known(second.key));
    }
}
