//! A party's sealing keys: what owners who reach it through a gateway seal their shares to.
//!
//! A key is made when it is first asked for, lives in memory alone, and is replaced after a day; the one
//! before it still opens for as long, and is then forgotten, whether or not anybody asks. So a box that was
//! recorded on its way cannot be opened two days later, whoever breaks into the party then, nor after it was
//! started again. Which boxes were used is remembered as long as their key.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use subrosa_mpc::relayed::{Opened, Outline, Refused};
use subrosa_net::sealed::{KEY, SealError, SealingKey};
use subrosa_net::tcp::{Endpoint, Fingerprint};

/// How long new boxes are sealed to a key.
const LIFE: Duration = Duration::from_secs(86_400);

/// How many boxes a key opens before it is replaced; each costs some 50 bytes to remember.
const MOST_BOXES: usize = 1 << 20;

/// What a party's signature says.
const PURPOSE: &str = "sealing key for an outline";

/// A party's word for its sealing key, and for the outline of a model that it keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingStatement {
    /// The key.
    pub key: [u8; KEY],
    /// The last second (since 1970) at which something may be sealed to it.
    pub until: u64,
    /// The party's signature of both and of the outline, with its public key: [`Fingerprint::has_signed`].
    pub signature: Vec<u8>,
}

impl SealingStatement {
    /// Whether the party with this fingerprint vouches for the key now, and for this outline
    /// ([`Outline::encode`]).
    pub fn is_of(&self, party: Fingerprint, outline: &[u8]) -> bool {
        let signed = signed(&self.key, self.until, outline);
        clock() <= self.until && party.has_signed(PURPOSE, &signed, &self.signature)
    }
}

fn signed(key: &[u8; KEY], until: u64, outline: &[u8]) -> Vec<u8> {
    [key.as_slice(), &until.to_le_bytes(), outline].concat()
}

/// Seconds since 1970.
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
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
    until: u64,
    /// Names of the boxes that it opened.
    seen: HashSet<[u8; 32]>,
}

impl Sealing {
    /// This party's word for the key that boxes are sealed to now, and for its own outline of a model.
    ///
    /// **Errors:** [`Error::Io`] without randomness; [`Error::Input`] for an outline that cannot be encoded.
    pub(super) fn statement(&self, endpoint: &Endpoint, outline: &Outline) -> Result<SealingStatement> {
        let outline = outline.encode()?;
        let (key, until) = self.current()?;
        let signature = endpoint.sign(PURPOSE, &signed(&key, until, &outline)).map_err(|e| io(e.to_string()))?;
        Ok(SealingStatement { key, until, signature })
    }

    /// The key that boxes are sealed to now, and until when they may be.
    fn current(&self) -> Result<([u8; KEY], u64)> {
        let mut keys = self.keys();
        keys.expire(Instant::now(), clock());
        let worn = |c: &Current| c.made.elapsed() >= LIFE || c.seen.len() >= MOST_BOXES;
        if keys.current.as_ref().is_none_or(worn) {
            let fresh = Current::new()?;
            keys.previous = keys.current.replace(fresh);
        }
        let current = keys.current.as_ref().map(|c| (c.key.public(), c.until));
        current.ok_or_else(|| io("no sealing key could be made".to_owned()))
    }

    /// Forgets keys whose time is over, every [`Sealing::GLANCE`] for as long as anybody holds what has them.
    ///
    /// **Errors:** [`Error::Io`] if no thread can be started.
    pub(super) fn forget_in_time<T: Send + Sync + 'static>(holder: &Arc<T>, of: fn(&T) -> &Self) -> Result<()> {
        let holder = Arc::downgrade(holder);
        let watch = move || {
            while let Some(held) = holder.upgrade() {
                of(&held).keys().expire(Instant::now(), clock());
                drop(held);
                std::thread::sleep(Self::GLANCE);
            }
        };
        std::thread::Builder::new().spawn(watch).map(drop).map_err(|e| io(e.to_string()))
    }

    /// How often keys whose time is over are looked for. A machine that slept is behind by as much.
    const GLANCE: Duration = Duration::from_secs(30);

    /// Boxes that were opened, and of which nothing was used: they may be opened again. To be called once *every*
    /// other party was told what came of this one's boxes, and was heard.
    ///
    /// A party that is lied to may release what another one computes on, and that one refuses it from then on. And
    /// no two parties that follow the protocol compute on a box in two sessions: each would have released it in
    /// the session in which the other one computed, so heard there what the other said after it had opened the
    /// box there, which it could do only after it had released it in its own: a circle.
    pub(super) fn release(&self, names: &[[u8; 32]]) {
        let Keys { current, previous } = &mut *self.keys();
        for one in [current, previous].into_iter().flatten() {
            names.iter().for_each(|name| {
                one.seen.remove(name);
            });
        }
    }

    /// Opens a party's parcel, once, until it is released.
    pub(super) fn open(
        &self,
        outline: &Outline,
        party: usize,
        samples: usize,
        parcel: &[u8],
    ) -> std::result::Result<Opened, Refused> {
        let mut keys = self.keys();
        keys.expire(Instant::now(), clock());
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

    // A panic elsewhere leaves them whole: names come and go one by one.
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// Forgets keys whose time is over. By both clocks: one stands while the machine sleeps, the other may be
    /// set back.
    fn expire(&mut self, now: Instant, clock: u64) {
        for slot in [&mut self.current, &mut self.previous] {
            if slot.as_ref().is_some_and(|c| now.duration_since(c.made) >= 2 * LIFE || clock > c.until) {
                *slot = None;
            }
        }
    }
}

impl Current {
    fn new() -> Result<Self> {
        let key = SealingKey::generate().map_err(|e: SealError| io(e.to_string()))?;
        Ok(Self { key, made: Instant::now(), until: clock() + (2 * LIFE).as_secs(), seen: HashSet::new() })
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

    fn outline(model: &str) -> Outline {
        let port =
            |name: &str| subrosa_mpc::relayed::Port { name: name.to_owned(), shape: vec![2], batched: true, frac: 8 };
        Outline {
            model: model.to_owned(),
            dealing: [1; 32],
            card: [2; 32],
            sharing: subrosa_mpc::ProtocolKind::Rep3.sharing().unwrap(),
            ring: subrosa_core::RingWidth::W64,
            public_weights: false,
            labels_only: false,
            inputs: vec![subrosa_mpc::relayed::Input { port: port("x"), lo: 0.0, hi: 1.0 }],
            outputs: vec![port("y")],
        }
    }

    #[test]
    fn a_statement_is_of_one_party_one_key_one_time_and_one_outline() {
        let (party, other) = (endpoint(), endpoint());
        let sealing = Sealing::default();
        let (model, encoded) = (outline("risk"), outline("risk").encode().unwrap());
        let statement = sealing.statement(&party, &model).unwrap();
        assert!(statement.is_of(party.fingerprint(), &encoded) && !statement.is_of(other.fingerprint(), &encoded));
        assert_eq!(sealing.statement(&party, &model).unwrap().key, statement.key, "the same for a day");
        let narrower = {
            let mut narrower = model.clone();
            narrower.inputs[0].hi = 0.5;
            narrower
        };
        for other in [outline("dose"), narrower] {
            assert!(!statement.is_of(party.fingerprint(), &other.encode().unwrap()));
        }
        let changed = [
            SealingStatement { key: [1; KEY], ..statement.clone() },
            SealingStatement { until: statement.until + 1, ..statement.clone() },
            SealingStatement { signature: vec![], ..statement.clone() },
        ];
        assert!(changed.iter().all(|s| !s.is_of(party.fingerprint(), &encoded)));
        let past = SealingStatement {
            key: statement.key,
            until: 1,
            signature: party.sign(PURPOSE, &signed(&statement.key, 1, &encoded)).unwrap(),
        };
        assert!(!past.is_of(party.fingerprint(), &encoded));
    }

    #[test]
    fn keys_are_gone_in_time_by_either_clock_also_where_nobody_asks() {
        let held = Arc::new(Sealing::default());
        let (_, until) = held.current().unwrap();
        let (now, there) = (Instant::now(), || held.keys().current.is_some());
        held.keys().expire(now, until);
        held.keys().expire(now + 2 * LIFE - Duration::from_secs(60), 0);
        assert!(there());
        held.keys().expire(now + 2 * LIFE + Duration::from_secs(60), 0);
        assert!(!there(), "whatever the clock was set to");
        held.current().unwrap();
        held.keys().expire(now, until + 60);
        assert!(!there(), "also where the machine slept");
        // A key of the past, which nobody asks for.
        held.current().unwrap();
        held.keys().current.as_mut().unwrap().until = 1;
        Sealing::forget_in_time(&held, |held| held).unwrap();
        let start = Instant::now();
        while there() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!there());
    }

    #[test]
    fn a_worn_key_is_replaced_and_opens_a_while_longer() {
        let sealing = Sealing::default();
        let (first, _) = sealing.current().unwrap();
        let age = |by: Duration| {
            let Keys { current, previous } = &mut *sealing.keys();
            for one in [current, previous].into_iter().flatten() {
                one.made = one.made.checked_sub(by).unwrap();
            }
        };
        let known = |key: [u8; KEY]| {
            let keys = sealing.keys();
            [&keys.current, &keys.previous].into_iter().flatten().any(|c| c.key.public() == key)
        };
        // Instants before the machine was started cannot be told: the test moves as far as it can.
        if Instant::now().checked_sub(2 * LIFE).is_none() {
            return;
        }
        age(LIFE);
        let (second, _) = sealing.current().unwrap();
        assert!(first != second && known(first));
        age(LIFE);
        sealing.current().unwrap();
        assert!(!known(first) && known(second));
    }
}
