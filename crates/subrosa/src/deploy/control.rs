//! What clients and parties say to each other before and beside the protocol.
//!
//! Every message on a fresh connection is `"SROC"`, the version of these messages (u16,
//! little-endian) and a postcard-encoded value; so two versions that do not fit tell each
//! other, instead of misreading.

use super::sealing::SealingStatement;
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};
use subrosa_core::{Cost, Meter, Phase};
use subrosa_mpc::Load;
use subrosa_mpc::relayed::Refused;
use subrosa_net::Network;
use subrosa_net::tcp::Channel;

/// Version of the messages below.
pub(super) const VERSION: u16 = 3;

const MAGIC: &[u8; 4] = b"SROC";

/// The longest request or reply, bytes; cards and shares are announced and follow apart.
const MAX_MESSAGE: usize = 1 << 20;

/// How long either end waits for a request or reply.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Names a session among all of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// A fresh one.
    ///
    /// **Errors:** [`Error::Io`] without randomness.
    pub fn random() -> Result<Self> {
        let seed = subrosa_core::Seed::random().map_err(subrosa_mpc::Error::from)?;
        let mut id = [0; 16];
        id.copy_from_slice(&seed.expose()[..16]);
        Ok(Self(id))
    }

    /// Stands in for a sharing's id where the weights are dealt in the session itself.
    pub(super) fn sharing(self) -> [u8; 32] {
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.0);
        id
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl FromStr for SessionId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            || Error::misuse("a session's code has 32 hexadecimal digits", "copy it from the data owner's terminal");
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut id = [0; 16];
        for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(id))
    }
}

/// The first message of a connection.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// How are you? Answered by [`Reply::Status`].
    Status,
    /// Answered by [`Reply::Pong`], then the next request of the same connection.
    Ping,
    /// A message of this many bytes follows; answered by [`Reply::Pong`] when it is here.
    Bulk { bytes: u32 },
    /// Imitate this network (round trip in ns, bits a second) on this connection, once
    /// [`Reply::Pong`] is sent.
    Shape { rtt: u64, bandwidth: f64 },
    /// Measure your links to the other parties, imitating a network if one is given.
    /// Answered by [`Reply::Probed`].
    Probe { network: Option<(u64, f64)> },
    /// A card and this party's share of its weights follow, once [`Reply::Go`] came.
    Provision { name: String, sharing: [u8; 32], card: u64, share: u64 },
    /// Forget a model. Answered by [`Reply::Done`].
    Remove { name: String, version: Option<u32> },
    /// Open a session. Answered by [`Reply::Go`].
    Open(Open),
    /// This connection belongs to that session. From a party or a receiver. A receiver gets
    /// [`Reply::Go`].
    Join { session: SessionId },
    /// What may boxes for you be sealed to, and what do you say of this dealing of a model? Answered by
    /// [`Reply::SealingKey`].
    SealingKey { model: String, dealing: [u8; 32] },
}

/// A session to be.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) session: SessionId,
    /// One id for all parties' logs and traces.
    pub(super) trace: [u8; 16],
    /// [`super::ClusterConfig::digest`].
    pub(super) cluster: [u8; 32],
    pub(super) model: Wanted,
    /// Who gets the results, if not the data owner.
    pub(super) receiver: Option<String>,
    /// Round trip (ns) and bits a second to imitate.
    pub(super) network: Option<(u64, f64)>,
}

/// The model of a session.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Wanted {
    /// One that was provisioned, the newest version unless one is named.
    Kept { name: String, version: Option<u32> },
    /// One that the client brings for this session alone: its card of this length follows,
    /// and its weights are dealt during setup.
    Brought { card: u64 },
}

impl Open {
    pub(super) fn network(&self) -> Option<Network> {
        self.network.and_then(network)
    }
}

/// A network from its round trip (ns) and bits a second, if it can be one.
pub(super) fn network((rtt, bandwidth): (u64, f64)) -> Option<Network> {
    let usable = (1e3..=1e13).contains(&bandwidth);
    usable.then(|| Network { rtt: Duration::from_nanos(rtt.min(60_000_000_000)), bandwidth })
}

/// The other way round.
pub(super) fn as_numbers(network: Network) -> (u64, f64) {
    (u64::try_from(network.rtt.as_nanos()).unwrap_or(u64::MAX), network.bandwidth)
}

/// An answer.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Reply {
    Status(Status),
    Pong,
    Probed(Vec<Measured>),
    /// Go on. For [`Request::Open`] and [`Request::Join`] with the model's card (this many
    /// bytes, they follow) and version.
    Go {
        card: u64,
        version: u32,
        sharing: [u8; 32],
    },
    Done {
        version: u32,
    },
    SealingKey(SealingStatement),
}

/// A party on itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its program's version.
    pub version: String,
    /// Its clock, nanoseconds since 1970.
    pub clock_ns: u64,
    /// When its certificate expires, seconds since 1970.
    pub expires_s: u64,
    /// [`ClusterConfig::digest`](super::ClusterConfig::digest) as it sees it.
    pub cluster: [u8; 32],
    /// Models it holds.
    pub models: Vec<Held>,
    /// Sessions at work.
    pub sessions: u32,
}

/// A model that a party holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Which dealing its share is of; equal at all parties.
    pub sharing: [u8; 32],
}

/// One link as one of its ends sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The other end.
    pub peer: String,
    /// Round trip (ns) and bytes a second, or why not.
    pub result: std::result::Result<(u64, f64), String>,
}

/// Sends `message`.
///
/// **Errors:** [`Error::Peer`].
pub(super) fn say<T: Serialize>(channel: &mut Channel, message: &T) -> Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    let bytes = postcard::to_extend(message, bytes).map_err(|e| Error::misuse(format!("a message: {e}"), ""))?;
    Ok(channel.send(bytes)?)
}

/// Reads the next message.
///
/// **Errors:** [`Error::Peer`] for silence, a refusal, another version, or nonsense.
pub(super) fn hear<T: DeserializeOwned>(channel: &mut Channel, within: Duration) -> Result<T> {
    let bytes = channel.recv(MAX_MESSAGE, Instant::now() + within)?;
    let peer = |what: String| Error::Peer { message: format!("{} {what}", channel.peer()) };
    let body = bytes.strip_prefix(MAGIC).and_then(|b| b.split_first_chunk::<2>());
    let Some((version, body)) = body else {
        return Err(peer("does not speak this protocol; check its address".into()));
    };
    let version = u16::from_le_bytes(*version);
    if version != VERSION {
        return Err(peer(format!(
            "speaks version {version} of the messages, this program version {VERSION}; update the older one"
        )));
    }
    postcard::from_bytes(body)
        .map_err(|_| peer("sent a message that cannot be read; compare both programs' versions".into()))
}

/// What a client orders in a session: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Make the preprocessing for a batch of this.
    Prepare(Load),
    /// Compute this many samples, and open the first of them, so many: the others only fill the batch up.
    Run { samples: u32, opened: u32 },
    /// The same of owners elsewhere, a part each: their parcels follow, in one message. Answered by a [`refusal`]
    /// of each and, if none is refused, the boxes of the answers.
    RunRelayed(Load),
    /// The session is over.
    End,
}

impl Order {
    pub(super) const BYTES: usize = 16;

    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, numbers) = match self {
            Self::Prepare(load) => (1u64, [load.samples, load.parts]),
            Self::Run { samples, opened } => (2, [samples as usize, opened as usize]),
            Self::End => (3, [0, 0]),
            Self::RunRelayed(load) => (4, [load.samples, load.parts]),
        };
        // More than there can be is a load that nobody grants.
        let numbers = numbers.map(|n| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
        [kind.to_le_bytes().as_slice(), numbers.as_flattened()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, numbers) = bytes.split_first_chunk::<8>()?;
        let (samples, second) = numbers.split_first_chunk::<4>()?;
        let (samples, second) = (u32::from_le_bytes(*samples), u32::from_le_bytes(second.try_into().ok()?));
        let load = Load { parts: second as usize, samples: samples as usize };
        match u64::from_le_bytes(*kind) {
            1 => Some(Self::Prepare(load)),
            2 if (1..=samples).contains(&second) => Some(Self::Run { samples, opened: second }),
            3 => Some(Self::End),
            4 => Some(Self::RunRelayed(load)),
            _ => None,
        }
    }
}

/// Parts of one batch at most: each takes memory and bookkeeping of its own.
pub(super) const MOST_PARTS: usize = 64;

/// What a party says to another one of a parcel: 65 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why it refuses it, a byte, 0 if it does not.
    pub(super) refused: Option<Refused>,
    /// What the request is called: [`Opened::agreement`](subrosa_mpc::relayed::Opened::agreement).
    pub(super) agreement: [u8; 32],
    /// [`Outline::common`](subrosa_mpc::relayed::Outline::common) with the other party.
    pub(super) common: [u8; 32],
}

impl Verdict {
    pub(super) const BYTES: usize = 65;

    pub(super) fn encode(self) -> Vec<u8> {
        [&[refusal(self.refused)][..], &self.agreement, &self.common].concat()
    }

    /// Of all parcels; one of another length is a refusal.
    pub(super) fn decode_all(bytes: &[u8]) -> Vec<Self> {
        let one = |bytes: &[u8]| match bytes.split_first().map(|(number, rest)| (number, rest.as_chunks().0)) {
            Some((number, &[agreement, common])) => Self { refused: refused(*number), agreement, common },
            Some(_) | None => Self { refused: Some(Refused::Failed), agreement: [0; 32], common: [0; 32] },
        };
        bytes.chunks(Self::BYTES).map(one).collect()
    }
}

/// Why a parcel is refused, if it is, as a byte: what parties tell the relay of each, and at last each other.
pub(super) fn refusal(refused: Option<Refused>) -> u8 {
    refused.map_or(0, Refused::number)
}

/// The other way round. A number that does not exist is a refusal, too.
pub(super) fn refused(number: u8) -> Option<Refused> {
    (number != 0).then(|| Refused::numbered(number).unwrap_or(Refused::Failed))
}

/// What a party answers to each order, and once after setup: its totals so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) meter: Meter,
    /// Nanoseconds spent waiting, by phase.
    pub(super) waited: [u64; 3],
    /// Largest memory so far, bytes.
    pub(super) peak: u64,
}

impl Totals {
    pub(super) const BYTES: usize = 80;

    pub(super) fn of(session: &subrosa_net::Session) -> Self {
        let waited = Phase::ALL.map(|p| u64::try_from(session.waited(p).as_nanos()).unwrap_or(u64::MAX));
        Self { meter: session.meter().clone(), waited, peak: (crate::machine::peak_rss_mb() * 1_048_576.0) as u64 }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let costs = Phase::ALL.map(|p| self.meter.cost(p));
        let numbers = costs.iter().flat_map(|c| [c.rounds, c.bytes]).chain(self.waited).chain([self.peak]);
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let numbers: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        let at = |i: usize| numbers.get(i).copied().unwrap_or(0);
        let cost = |i: usize| Cost { rounds: at(2 * i), bytes: at(2 * i + 1) };
        Self { meter: Meter::from_costs([cost(0), cost(1), cost(2)]), waited: [at(6), at(7), at(8)], peak: at(9) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_totals_round_trip() {
        let load = Load { parts: 3, samples: 5 };
        let run = Order::Run { samples: u32::MAX, opened: 7 };
        for order in [Order::Prepare(load), run, Order::RunRelayed(load), Order::End] {
            let bytes = order.encode();
            assert_eq!((bytes.len(), Order::decode(&bytes)), (Order::BYTES, Some(order)));
        }
        assert_eq!(Order::decode(&[9; 16]), None);
        for opened in [0, 10] {
            let none = [[2, 0, 0, 0], [0; 4], [9, 0, 0, 0], [opened, 0, 0, 0]].concat();
            assert_eq!(Order::decode(&none), None, "{opened} of 9 samples");
        }
        assert_eq!(Order::decode(&[1; 3]), None);
        let cost = |n| Cost { rounds: n, bytes: 10 * n };
        let totals = Totals { meter: Meter::from_costs([cost(1), cost(2), cost(3)]), waited: [4, 5, 6], peak: 7 };
        assert_eq!(totals.encode().len(), Totals::BYTES);
        assert_eq!(Totals::decode(&totals.encode()), totals);
        for refused in Refused::ALL.map(Some).into_iter().chain([None]) {
            let verdict = Verdict { refused, agreement: [9; 32], common: [8; 32] };
            let bytes = verdict.encode();
            assert_eq!((bytes.len(), Verdict::decode_all(&bytes.repeat(2))), (Verdict::BYTES, vec![verdict; 2]));
            assert_eq!(super::refused(refusal(refused)), refused);
        }
        assert_eq!(Verdict::decode_all(&[77; 65])[0].refused, Some(Refused::Failed));
        assert!(
            Verdict::decode_all(&[0; 64])[0].refused.is_some() && Verdict::decode_all(&[0; 1])[0].refused.is_some()
        );
    }

    #[test]
    fn session_codes_round_trip() {
        let id = SessionId::random().unwrap();
        assert!(id.to_string().parse() == Ok(id) && SessionId::random().unwrap() != id);
        assert!("xyz".parse::<SessionId>().is_err());
    }
}
