//! A client of all parties that stands before owners who are none: it passes on boxes that it cannot open.
//!
//! An owner fetches an [`Offer`], checks that the parties vouch for their keys, shares its input and seals
//! each share to one party ([`subrosa_mpc::relayed`] says what binds the boxes). A [`Relay`] holds a
//! session with the parties, has them prepare while nobody asks, and passes requests on, one after another or
//! several at once.
//!
//! The gateway learns who asks, when, which model and how many samples. It can refuse, delay, and choose
//! which of the models that the parties hold it offers.

use super::choice::Which;
use super::client::{Cluster, OpenOptions};
use super::config::Role;
use super::control::MOST_PARTS;
use super::remote::Remote;
use super::sealing::SealingStatement;
use crate::model::Port;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use subrosa_core::{Cost, Phase};
use subrosa_mpc::Load;
use subrosa_mpc::relayed::{Outline, Refused, answer};

/// How long statements of the parties are passed on before they are asked again.
const FRESH: Duration = Duration::from_secs(60);

/// And the least time between two times that they are asked, also where one did not answer.
const RARELY: Duration = Duration::from_secs(1);

/// Outlines whose statements are kept.
const MOST_HEARD: usize = 256;

/// How long a party that does not answer is tried.
const REACH: Duration = Duration::from_secs(3);

/// The way from owners to the parties.
pub struct Gateway {
    cluster: Cluster,
    heard: Mutex<HashMap<[u8; 32], Arc<Mutex<Heard>>>>,
}

/// What the parties last said of one outline, and when; or why there is nothing. Locked while
/// they are asked, so that all who wait for it share what comes.
type Heard = Option<(Instant, std::result::Result<Vec<SealingStatement>, String>)>;

/// What an owner needs for a request, as JSON. Whoever passes it on is believed in nothing but names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// [`Outline::encode`], in hexadecimal digits.
    pub outline: String,
    /// The parties, in their order.
    pub parties: Vec<Offered>,
}

/// A party, and its word for its sealing key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offered {
    /// What the deployment calls it.
    pub name: String,
    /// Its identity.
    pub fingerprint: String,
    /// [`SealingStatement::key`], in hexadecimal digits.
    pub key: String,
    /// [`SealingStatement::until`].
    pub until: u64,
    /// [`SealingStatement::signature`], in hexadecimal digits.
    pub signature: String,
}

impl Gateway {
    /// In front of these parties.
    ///
    /// **Errors:** [`Error::Misuse`] for a protocol that has to tell owners something first, or a client
    /// that may not both give inputs and get results.
    pub fn new(mut cluster: Cluster) -> Result<Self> {
        // Somebody waits.
        cluster.set_reach(REACH);
        let protocol = cluster.config.protocol;
        if protocol.sharing().is_none() {
            let message = format!("via {} the parties tell whoever gives an input its mask", protocol.name());
            return Err(Error::misuse(message, "a gateway stands before rep3, rep3-malicious or rep4"));
        }
        let roles = cluster.config.client(cluster.fingerprint()).map(|client| &client.roles);
        if !roles.is_some_and(|roles| [Role::DataOwner, Role::Receiver].iter().all(|role| roles.contains(role))) {
            let hint = "give its [[client]] the roles data-owner and receiver, at every party";
            return Err(Error::misuse("a gateway passes on inputs and results, and may not here", hint));
        }
        Ok(Self { cluster, heard: Mutex::default() })
    }

    /// What the parties compute.
    pub fn protocol(&self) -> subrosa_mpc::ProtocolKind {
        self.cluster.config.protocol
    }

    /// What an owner needs for a request to this model.
    ///
    /// **Cost:** now and then a connection to each party.
    ///
    /// **Errors:** [`Error::Peer`] naming a party that does not answer.
    pub fn offer(&self, outline: &Outline) -> Result<Offer> {
        let statements = self.statements(outline)?;
        let party = |(entry, statement): (&super::PartyEntry, SealingStatement)| Offered {
            name: entry.name.clone(),
            fingerprint: entry.fingerprint.to_string(),
            key: hex(&statement.key),
            until: statement.until,
            signature: hex(&statement.signature),
        };
        let parties = self.cluster.config.parties.iter().zip(statements).map(party).collect();
        Ok(Offer { outline: hex(&outline.encode()?), parties })
    }

    /// The parties may have other keys than were offered for this model: they are asked again.
    pub fn doubt(&self, outline: &Outline) {
        let Ok(heard) = self.heard(outline) else { return };
        let mut heard = match heard.try_lock() {
            Ok(heard) => heard,
            Err(TryLockError::Poisoned(heard)) => heard.into_inner(),
            // They are being asked.
            Err(TryLockError::WouldBlock) => return,
        };
        // Whoever sends nonsense has the parties asked no more often than this.
        if heard.as_ref().is_some_and(|(since, _)| since.elapsed() >= RARELY) {
            *heard = None;
        }
    }

    fn statements(&self, outline: &Outline) -> Result<Vec<SealingStatement>> {
        let heard = self.heard(outline)?;
        let mut heard = whole(&heard);
        let lasts = |said: &std::result::Result<_, _>| if said.is_ok() { FRESH } else { RARELY };
        if let Some((since, said)) = heard.as_ref()
            && since.elapsed() < lasts(said)
        {
            return said.clone().map_err(peer);
        }
        let said = self.cluster.sealing_keys(outline).map_err(|error| error.to_string());
        *heard = Some((Instant::now(), said.clone()));
        said.map_err(peer)
    }

    fn heard(&self, outline: &Outline) -> Result<Arc<Mutex<Heard>>> {
        let name = *blake3::hash(&outline.encode()?).as_bytes();
        let mut all = whole(&self.heard);
        // A server that reads its models anew offers others by and by.
        if all.len() >= MOST_HEARD && !all.contains_key(&name) {
            all.clear();
        }
        Ok(Arc::clone(all.entry(name).or_default()))
    }

    /// A session on a model that the parties keep: the newest version that all of them hold, or the one
    /// that every party calls `version`. It takes requests of up to `most` samples.
    ///
    /// **Errors:** [`Error::Peer`] naming the party; [`Error::Input`] for an unknown model.
    pub fn relay(self: &Arc<Self>, name: &str, version: Option<u32>, most: usize) -> Result<Relay> {
        let lane = Lane::open(&self.cluster, name, version.into())?;
        let most = most.min(self.cluster.config.limits.batch);
        let (version, outline) = (lane.remote.version, lane.outline.clone());
        let (gateway, name) = (Arc::clone(self), name.to_owned());
        Ok(Relay { gateway, name, version, outline, most, together: MOST_PARTS, lane: Some(lane) })
    }
}

impl Offer {
    /// What the owner of an input makes of it, who knows the parties by their fingerprints: the model's
    /// outline, and the keys to seal to, for both of which every party vouches.
    ///
    /// **Errors:** [`Error::Peer`] for other parties, or one that does not vouch for its key and the outline;
    /// [`Error::Input`] for an outline that is none.
    pub fn check(&self, parties: &[super::PartyEntry]) -> Result<(Outline, Vec<[u8; 32]>)> {
        let encoded = unhex(&self.outline).ok_or_else(|| peer("the gateway's offer is none".to_owned()))?;
        let outline = Outline::decode(&encoded)?;
        if self.parties.len() != parties.len() || outline.parties() != parties.len() {
            return Err(peer(format!(
                "the gateway offers {} parties, and there are {}",
                self.parties.len(),
                parties.len()
            )));
        }
        let key = |(offered, party): (&Offered, &super::PartyEntry)| {
            let vouches = |s: &SealingStatement| offered.name == party.name && s.is_of(party.fingerprint, &encoded);
            offered.statement().filter(vouches).map(|statement| statement.key).ok_or_else(|| {
                let what = "its fingerprint is not that of your subrosa.toml, or a clock is wrong";
                peer(format!("{} does not vouch for the key and model that the gateway offers; {what}", party.name))
            })
        };
        let keys = self.parties.iter().zip(parties).map(key).collect::<Result<Vec<_>>>()?;
        Ok((outline, keys))
    }
}

impl Offered {
    fn statement(&self) -> Option<SealingStatement> {
        let key = unhex(&self.key)?.try_into().ok()?;
        // Before it is decoded, a signature has no length that matters.
        let signature = unhex(self.signature.get(..512).unwrap_or(&self.signature))?;
        Some(SealingStatement { key, until: self.until, signature })
    }
}

/// A session with the parties that passes requests on, and is opened again after it failed.
pub struct Relay {
    gateway: Arc<Gateway>,
    name: String,
    version: u32,
    outline: Outline,
    most: usize,
    /// Requests at once, as far as is known.
    together: usize,
    lane: Option<Lane>,
}

struct Lane {
    remote: Remote,
    outline: Outline,
    /// What the parties have prepared for.
    prepared: Option<Load>,
    used: Instant,
}

/// What came of a request.
pub enum Passed {
    /// It was computed; the answer for the owner.
    Answered {
        /// To be read with the request's [`Asked`](subrosa_mpc::relayed::Asked).
        bytes: Vec<u8>,
        /// Samples.
        samples: usize,
        /// What the parties took for it, and for what they computed at once with it.
        took: Duration,
        /// What they sent each other and the owners for that, as the plan counts it.
        online: Cost,
    },
    /// The parties refuse it. The owner fetches another offer, and makes it anew.
    Refused(Refused),
}

impl Relay {
    /// Another session on the same model, opened when it is first needed.
    #[must_use]
    pub fn another(&self) -> Self {
        let (gateway, name, outline) = (Arc::clone(&self.gateway), self.name.clone(), self.outline.clone());
        Self { gateway, name, version: self.version, outline, most: self.most, together: self.together, lane: None }
    }

    /// The gateway.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// What an owner may know of the model.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// What the first party calls its version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Inputs, in ONNX order.
    pub fn inputs(&self) -> Vec<Port> {
        self.outline.inputs.iter().map(|input| port(&input.port)).collect()
    }

    /// What is opened.
    pub fn outputs(&self) -> Vec<Port> {
        self.outline.outputs.iter().map(port).collect()
    }

    /// Passes a request on.
    ///
    /// **Errors:** [`Error::Input`] for what is no request; [`Error::Peer`] naming a party that is gone: a new
    /// request may find it again.
    pub fn pass(&mut self, request: &[u8]) -> Result<Passed> {
        let (samples, parcels) = self.outline.parcels(request, self.most)?;
        self.pass_parcels(samples, parcels)
    }

    /// The same, of a request that was taken apart by [`Outline::parcels`]: a parcel for each party.
    ///
    /// **Errors:** [`Error::Peer`] as for [`Relay::pass`].
    pub fn pass_parcels(&mut self, samples: usize, parcels: Vec<Vec<u8>>) -> Result<Passed> {
        let mut passed = self.pass_group(samples, vec![parcels]);
        passed.pop().unwrap_or_else(|| Err(Error::misuse("a bug in this program: a request without an answer", "")))
    }

    /// Passes requests on, those of as many samples at once, and says of each what came of it, in their order.
    /// One that the parties refuse costs the others a second try, without it, and nothing else.
    ///
    /// **Errors:** of each request as for [`Relay::pass`].
    pub fn pass_together(&mut self, requests: &[&[u8]]) -> Vec<Result<Passed>> {
        let mut passed: BTreeMap<usize, Result<Passed>> = BTreeMap::new();
        let mut of_size: BTreeMap<usize, Vec<Placed>> = BTreeMap::new();
        for (at, request) in requests.iter().enumerate() {
            match self.outline.parcels(request, self.most) {
                Ok((samples, parcels)) => of_size.entry(samples).or_default().push((at, parcels)),
                Err(fault) => drop(passed.insert(at, Err(fault.into()))),
            }
        }
        for (samples, group) in of_size {
            let mut waiting = group.into_iter();
            while let at_once @ 1.. = self.at_once(samples, waiting.len()) {
                let (places, parcels): (Vec<_>, Vec<_>) = waiting.by_ref().take(at_once).unzip();
                passed.extend(places.into_iter().zip(self.pass_group(samples, parcels)));
            }
        }
        passed.into_values().collect()
    }

    /// How many of so many requests fit a batch.
    fn at_once(&self, samples: usize, waiting: usize) -> usize {
        let most = waiting.min(self.together).min((self.most / samples).max(1));
        (1..=most).rev().find(|parts| self.outline.holds(parts * samples)).unwrap_or(waiting.min(1))
    }

    /// Requests of as many samples: without those that the parties refuse, until the others are computed.
    fn pass_group(&mut self, samples: usize, requests: Vec<Vec<Vec<u8>>>) -> Vec<Result<Passed>> {
        let mut passed: BTreeMap<usize, Result<Passed>> = BTreeMap::new();
        let mut left: Vec<(usize, Vec<Vec<u8>>)> = requests.into_iter().enumerate().collect();
        while !left.is_empty() {
            let (places, parcels): (Vec<usize>, Vec<_>) = left.into_iter().unzip();
            match self.pass_at_once(samples, &parcels) {
                Ok(came) => {
                    let came = places.into_iter().zip(parcels).zip(came);
                    let (fine, done): (Vec<_>, Vec<_>) = came.partition(|(_, came)| came.is_none());
                    passed.extend(done.into_iter().filter_map(|((at, _), came)| Some((at, Ok(came?)))));
                    left = fine.into_iter().map(|(request, _)| request).collect();
                }
                // Perhaps the parties do not grant as much at once.
                Err(Failed::Preparing(_)) if places.len() > 1 => {
                    let half = places.len() / 2;
                    let mut first: Vec<_> = places.into_iter().zip(parcels).collect();
                    let second = first.split_off(half);
                    for some in [first, second] {
                        let (places, parcels): (Vec<_>, Vec<_>) = some.into_iter().unzip();
                        passed.extend(places.into_iter().zip(self.pass_group(samples, parcels)));
                    }
                    // So it was the size, and no party that was gone for a moment.
                    if passed.values().any(Result::is_ok) {
                        self.together = self.together.min(half);
                    }
                    left = Vec::new();
                }
                Err(Failed::Opening(error) | Failed::Preparing(error) | Failed::Passing(error)) => {
                    passed.extend(places.into_iter().map(|at| (at, Err(error.clone()))));
                    left = Vec::new();
                }
            }
        }
        passed.into_values().collect()
    }

    /// All of these requests, or none: nothing came of those that are fine where others were refused.
    fn pass_at_once(
        &mut self,
        samples: usize,
        requests: &[Vec<Vec<u8>>],
    ) -> std::result::Result<Vec<Option<Passed>>, Failed> {
        let start = Instant::now();
        // A session that ended since the last request costs a second try; what goes wrong in one opened for this
        // request does not. If it ended with boxes opened, the parties refuse them as they would anybody's, and
        // the owner makes the request anew.
        let kept = self.lane.is_some();
        let passed = match self.attempt(samples, requests) {
            Err(_) if kept => self.attempt(samples, requests)?,
            passed => passed?,
        };
        Ok(match passed {
            Ok((answers, online)) => {
                let took = start.elapsed();
                let answered = |boxes: Vec<Vec<u8>>| Passed::Answered { bytes: answer(&boxes), samples, took, online };
                answers.into_iter().map(|boxes| Some(answered(boxes))).collect()
            }
            Err(refused) => {
                self.gateway.doubt(&self.outline);
                refused.into_iter().map(|why| why.map(Passed::Refused)).collect()
            }
        })
    }

    fn attempt(&mut self, samples: usize, requests: &[Vec<Vec<u8>>]) -> std::result::Result<Boxes, Failed> {
        let load = Load { parts: requests.len(), samples };
        let passed = match self.ready(load) {
            Ok(lane) => lane.pass(load, requests).map_err(Failed::Passing),
            Err(failed) => Err(failed),
        };
        // Nor does a party go on after a refusal.
        if !matches!(passed, Ok(Ok(_))) {
            self.lane = None;
        }
        passed
    }

    /// Has the parties prepare for one sample, so that whoever asks next does not wait for that. What fails
    /// shows when somebody asks.
    pub fn rest(&mut self) {
        if self.lane.is_some() && self.ready(1.into()).is_err() {
            self.lane = None;
        }
    }

    /// Lets go of the session; the next request opens another one.
    pub fn close(&mut self) {
        self.lane = None;
    }

    fn ready(&mut self, load: Load) -> std::result::Result<&mut Lane, Failed> {
        let limits = &self.gateway.cluster.config.limits;
        // The parties end a session that is silent for too long.
        if self.lane.as_ref().is_some_and(|lane| lane.used.elapsed() >= limits.idle() / 2) {
            self.lane = None;
        }
        let lane = match &mut self.lane {
            Some(lane) => lane,
            none => {
                // By its dealing: a number is only as good as whoever gave it.
                let dealing = Which::Dealing(self.outline.dealing);
                let lane = Lane::open(&self.gateway.cluster, &self.name, dealing).map_err(Failed::Opening)?;
                if lane.outline != self.outline {
                    let message = format!("the parties hold another {} version {}", self.name, self.version);
                    return Err(Failed::Opening(peer(message)));
                }
                none.insert(lane)
            }
        };
        lane.ready(load).map_err(Failed::Preparing)?;
        Ok(lane)
    }
}

/// A request's place among others, and its parcels.
type Placed = (usize, Vec<Vec<u8>>);

/// Of each request the parties' boxes, and what all of it cost; or of each why they refuse it, if they do.
type Boxes = std::result::Result<(Vec<Vec<Vec<u8>>>, Cost), Vec<Option<Refused>>>;

/// Before there was a session, before boxes were passed on, or while they were.
enum Failed {
    Opening(Error),
    Preparing(Error),
    Passing(Error),
}

impl Lane {
    fn open(cluster: &Cluster, name: &str, which: Which) -> Result<Self> {
        let remote = cluster.open_dealing(name, which, &OpenOptions::default())?;
        let outline = remote.model.outline(remote.dealing)?;
        Ok(Self { remote, outline, prepared: None, used: Instant::now() })
    }

    fn ready(&mut self, load: Load) -> Result<()> {
        if self.prepared == Some(load) {
            return Ok(());
        }
        self.prepared = None;
        let deadline = self.remote.deadline;
        self.lane()?.prepare(load, deadline)?;
        (self.prepared, self.used) = (Some(load), Instant::now());
        Ok(())
    }

    fn pass(&mut self, load: Load, requests: &[Vec<Vec<u8>>]) -> Result<Boxes> {
        let parties = 0..self.outline.parties();
        let each: Vec<usize> = parties.clone().map(|p| self.outline.answer_bytes(p, load.samples)).collect();
        let of_all: Vec<usize> = each.iter().map(|bytes| bytes * load.parts).collect();
        let parcels = parties.map(|p| requests.iter().filter_map(|r| r.get(p)).flatten().copied().collect()).collect();
        let deadline = self.remote.deadline;
        // Whatever comes of it.
        self.prepared = None;
        let lane = self.lane()?;
        let passed = lane.relay(load, parcels, &of_all, deadline)?;
        let cost = lane.since(Phase::Online);
        self.used = Instant::now();
        let own = |boxes: &[Vec<u8>], at: usize| -> Vec<Vec<u8>> {
            let cut = |(all, &len): (&Vec<u8>, &usize)| all.chunks(len).nth(at).unwrap_or_default().to_vec();
            boxes.iter().zip(&each).map(cut).collect()
        };
        Ok(passed.map(|boxes| ((0..load.parts).map(|at| own(&boxes, at)).collect(), cost)))
    }

    fn lane(&mut self) -> Result<&mut super::remote::Lane> {
        self.remote.lanes.first_mut().ok_or_else(|| Error::misuse("a session needs a lane", ""))
    }
}

/// A port as an outline has it.
pub(crate) fn port(port: &subrosa_mpc::relayed::Port) -> Port {
    let shape = port.shape.iter().map(|&d| d as usize).collect();
    Port { name: port.name.clone(), shape, batched: port.batched }
}

// What is behind them is replaced as a whole: a panic leaves it sound.
fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn peer(message: String) -> Error {
    Error::Peer { message }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|v| u8::try_from(v).ok());
    let pairs = digits.as_chunks::<2>();
    pairs.1.is_empty().then_some(())?;
    pairs.0.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_round_trip() {
        assert_eq!(unhex(&hex(&[0, 1, 0xfe])), Some(vec![0, 1, 0xfe]));
        for wrong in ["0", "0g", "é", "+1"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
