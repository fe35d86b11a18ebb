//! `subrosa.toml`: who takes part in a deployment. Public, and the same file for all.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use subrosa_mpc::ProtocolKind;
use subrosa_net::tcp::Fingerprint;

/// The largest configuration file, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A deployment: compute parties in their order, and who may use them.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The protocol.
    pub protocol: ProtocolKind,
    /// Whether its dealer, if it has one, is there in sessions.
    pub dealer: Dealer,
    /// Compute parties; their order is their number.
    pub parties: Vec<PartyEntry>,
    /// Model owners, data owners and receivers.
    pub clients: Vec<ClientEntry>,
    /// What a party grants.
    pub limits: Limits,
}

/// One compute party.
#[derive(Clone, Debug)]
pub struct PartyEntry {
    /// Its name.
    pub name: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Its key.
    pub fingerprint: Fingerprint,
}

/// One client.
#[derive(Clone, Debug)]
pub struct ClientEntry {
    /// Its name.
    pub name: String,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// What it may do.
    pub roles: BTreeSet<Role>,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Give models to the parties, and take them away.
    ModelOwner,
    /// Give inputs.
    DataOwner,
    /// Get results.
    Receiver,
}

/// Whether a protocol's dealer is there in sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dealer {
    /// It has a seat in each, and deals when it is asked to.
    #[default]
    Live,
    /// It has dealt ahead of time; each server has files of keys.
    Offline,
}

/// What a party grants its clients and peers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions at a time.
    pub sessions: usize,
    /// Samples in one inference.
    pub batch: usize,
    /// Memory of one session, MiB, as planned.
    pub memory_mib: u64,
    /// A model's share, MiB.
    pub model_mib: u64,
    /// Silence of a peer in a round, seconds.
    pub deadline_s: u64,
    /// Silence of a client between inferences, seconds.
    pub idle_s: u64,
    /// A whole session, seconds.
    pub session_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 8,
            batch: 1024,
            memory_mib: 4096,
            model_mib: 1024,
            deadline_s: 30,
            idle_s: 600,
            session_s: 86_400,
        }
    }
}

impl Limits {
    /// Silence of a peer in a round.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_s)
    }

    /// Silence of a client between inferences.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }

    /// A model's share, bytes.
    pub fn model_bytes(&self) -> u64 {
        self.model_mib << 20
    }

    /// A model's description, bytes: reading it takes many times its size.
    pub fn card_bytes(&self) -> u64 {
        self.model_bytes().min((self.memory_mib << 20) / 64)
    }
}

/// A year.
const MAX_SECONDS: u64 = 366 * 86_400;
/// 16 TiB.
const MAX_MIB: u64 = 1 << 24;

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "rep3")]
    backend: String,
    #[serde(default)]
    dealer: Dealer,
    party: Vec<PartyTable>,
    #[serde(default)]
    client: Vec<ClientTable>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyTable {
    name: String,
    address: String,
    fingerprint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientTable {
    name: String,
    fingerprint: String,
    roles: BTreeSet<Role>,
}

fn rep3() -> String {
    ProtocolKind::Rep3.name().to_owned()
}

impl ClusterConfig {
    /// Reads a configuration file.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Misuse`] as for [`ClusterConfig::parse`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let size = std::fs::metadata(path).map_err(|e| Error::io("read", path, &e))?.len();
        if size > MAX_BYTES {
            return Err(Error::misuse(format!("{} has {size} bytes", path.display()), "give a subrosa.toml"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        Self::parse(&text).map_err(|e| e.in_file(path))
    }

    /// A configuration from its text.
    ///
    /// **Errors:** [`Error::Misuse`] naming the line and the key at fault: unknown keys, and
    /// names, addresses or keys given twice.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|e| misread(text, &e))?;
        let protocol = ProtocolKind::ALL.iter().copied().find(|p| p.name() == file.backend).ok_or_else(|| {
            let names: Vec<_> = ProtocolKind::ALL.iter().map(|p| p.name()).collect();
            Error::misuse(
                format!("backend '{}' is no protocol of parties", file.backend),
                &format!("choose {}", names.join(", ")),
            )
        })?;
        let parties = file.party.into_iter().map(PartyEntry::try_from).collect::<Result<Vec<_>>>()?;
        let clients = file.client.into_iter().map(ClientEntry::try_from).collect::<Result<Vec<_>>>()?;
        let config = Self { protocol, dealer: file.dealer, parties, clients, limits: file.limits };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let (have, need) = (self.parties.len(), self.protocol.parties());
        if have != need {
            let message = format!("{} has {need} compute parties, but {have} are listed", self.protocol.name());
            let hint = match self.protocol.dealer() {
                Some(_) => "give one [[party]] table each; the last of them is the dealer",
                None => "give one [[party]] table each",
            };
            return Err(Error::misuse(message, hint));
        }
        if self.dealer == Dealer::Offline && self.protocol.dealer().is_none() {
            let message = format!("an offline dealer is asked for, but {} has no dealer", self.protocol.name());
            return Err(Error::misuse(message, "leave 'dealer' out, or choose a backend that has one (fss, beaver)"));
        }
        let names = self.parties.iter().map(|p| p.name.clone()).chain(self.clients.iter().map(|c| c.name.clone()));
        let prints = self.prints().map(|(print, _)| print.to_string());
        let addresses = self.parties.iter().map(|p| p.address.clone());
        for (what, twice) in
            [("name", repeated(names)), ("fingerprint", repeated(prints)), ("address", repeated(addresses))]
        {
            if let Some(twice) = twice {
                let hint = "give every party and client its own: one machine in two roles would know too much";
                return Err(Error::misuse(format!("the {what} '{twice}' is given twice"), hint));
            }
        }
        let Limits { sessions, batch, memory_mib, model_mib, deadline_s, idle_s, session_s } = self.limits;
        let longest = [deadline_s, idle_s, session_s].into_iter().max().unwrap_or(0);
        if longest > MAX_SECONDS || memory_mib.max(model_mib) > MAX_MIB {
            return Err(Error::misuse("a limit is beyond all measure", "give at most a year, and 16 TiB"));
        }
        if sessions == 0 || batch == 0 || batch > crate::plan::MAX_BATCH || deadline_s == 0 {
            let hint = format!("give at least 1 session, 1 to {} samples a batch, 1 second", crate::plan::MAX_BATCH);
            return Err(Error::misuse("these limits let nothing run", &hint));
        }
        Ok(())
    }

    /// How many parties, the first, have a seat in sessions: all, but for an offline dealer.
    pub fn seats(&self) -> usize {
        match self.dealer {
            Dealer::Live => self.parties.len(),
            Dealer::Offline => self.protocol.online(),
        }
    }

    fn prints(&self) -> impl Iterator<Item = (Fingerprint, &str)> {
        let parties = self.parties.iter().map(|p| (p.fingerprint, p.name.as_str()));
        parties.chain(self.clients.iter().map(|c| (c.fingerprint, c.name.as_str())))
    }

    /// Everybody's key and name.
    pub fn known(&self) -> BTreeMap<Fingerprint, String> {
        self.prints().map(|(print, name)| (print, name.to_owned())).collect()
    }

    /// The number of the party with this key.
    pub fn party_number(&self, fingerprint: Fingerprint) -> Option<usize> {
        self.parties.iter().position(|p| p.fingerprint == fingerprint)
    }

    /// The client with this key.
    pub fn client(&self, fingerprint: Fingerprint) -> Option<&ClientEntry> {
        self.clients.iter().find(|c| c.fingerprint == fingerprint)
    }

    /// BLAKE3 of what all must see alike: the protocol, an offline dealer and everybody's name, key and role,
    /// but not the addresses, which differ behind NAT, nor the limits, which are each
    /// party's own.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new_derive_key("subrosa 2026-11 cluster configuration v1");
        let mut part = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.protocol.name().as_bytes());
        if self.dealer == Dealer::Offline {
            part(b"offline dealer");
        }
        for party in &self.parties {
            part(party.name.as_bytes());
            part(&party.fingerprint.0);
        }
        for client in &self.clients {
            part(client.name.as_bytes());
            part(&client.fingerprint.0);
            part(format!("{:?}", client.roles).as_bytes());
        }
        *hash.finalize().as_bytes()
    }
}

impl TryFrom<PartyTable> for PartyEntry {
    type Error = Error;
    fn try_from(table: PartyTable) -> Result<Self> {
        let PartyTable { name, address, fingerprint } = table;
        check_name(&name)?;
        if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
            return Err(Error::misuse(format!("party '{name}': '{address}' is no address"), "give host:port"));
        }
        let fingerprint = fingerprint_of(&name, &fingerprint)?;
        Ok(Self { name, address, fingerprint })
    }
}

impl TryFrom<ClientTable> for ClientEntry {
    type Error = Error;
    fn try_from(table: ClientTable) -> Result<Self> {
        let ClientTable { name, fingerprint, roles } = table;
        check_name(&name)?;
        let fingerprint = fingerprint_of(&name, &fingerprint)?;
        Ok(Self { name, fingerprint, roles })
    }
}

/// Names appear in messages, files and metrics.
pub(super) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        let name: String = name.chars().take(64).filter(|c| !c.is_control()).collect();
        return Err(Error::misuse(format!("'{name}' is no name"), "use 1 to 64 letters, digits, '-', '_' and '.'"));
    }
    Ok(())
}

fn fingerprint_of(name: &str, text: &str) -> Result<Fingerprint> {
    text.parse().map_err(|e| {
        Error::misuse(format!("'{name}': {e}"), "`subrosa party init` prints it; its owner can print it again")
    })
}

fn repeated(items: impl Iterator<Item = String>) -> Option<String> {
    let mut seen = BTreeSet::new();
    items.into_iter().find(|item| !seen.insert(item.clone()))
}

/// toml's message with the line, and the nearest known key for an unknown one.
fn misread(text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(1, |s| text.get(..s.start).unwrap_or("").matches('\n').count() + 1);
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let hint = match (message.starts_with("unknown"), quoted.next()) {
        (true, Some(unknown)) => nearest(unknown, quoted).map(|key| format!("did you mean '{key}'?")),
        _ => None,
    };
    Error::misuse(format!("line {line}: {message}"), &hint.unwrap_or_default())
}

fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.map(|k| (strsim::damerau_levenshtein(unknown, k), k)).filter(|(d, _)| *d <= 3).min().map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: &str) -> String {
        let party = |i: usize| {
            let print = Fingerprint([i as u8; 32]);
            format!("[[party]]\nname = \"p{i}\"\naddress = \"127.0.0.1:{}\"\nfingerprint = \"{print}\"\n", 7100 + i)
        };
        let client = format!(
            "[[client]]\nname = \"clinic\"\nroles = [\"data-owner\", \"receiver\"]\nfingerprint = \"{}\"\n",
            Fingerprint([9; 32])
        );
        format!("{fields}\n{}{}{}{client}", party(0), party(1), party(2))
    }

    fn refused(text: &str) -> String {
        ClusterConfig::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_complete_file_is_read() {
        let config = ClusterConfig::parse(&text("backend = \"rep3\"")).unwrap();
        assert_eq!(config.party_number(Fingerprint([2; 32])), Some(2));
        assert!(config.client(Fingerprint([9; 32])).unwrap().roles.contains(&Role::Receiver));
        assert_eq!(config.known().len(), 4);
        assert_eq!(config.limits.batch, 1024);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_the_nearest_key() {
        let unknown = refused(&text("").replacen("address", "adress", 1));
        assert!(unknown.contains("line 4") && unknown.ends_with("did you mean 'address'?"), "{unknown}");
        assert!(refused(&text("backend = \"rep33\"")).contains("'rep33'"));
        assert!(refused(&text("").replace("p1", "p0")).contains("name 'p0' is given twice"));
        assert!(refused(&text("").replace("7101", "7100")).contains("address"));
        assert!(refused(&text("").replace("0202", "0101")).contains("fingerprint"));
        assert!(refused(&text("").replace("data-owner", "data-owners")).contains("data-owner"));
        assert!(refused(&text("").replace(":7102", "")).contains("no address"));
        assert!(refused(&text("").replace("clinic", "a b")).contains("no name"));
        assert!(refused(&(text("") + "[limits]\nsessions = 0\n")).contains("limits"));
        assert!(refused("").contains("party"));
    }

    #[test]
    fn an_offline_dealer_has_no_seat_and_needs_a_protocol_that_deals() {
        let config = |fields: &str| ClusterConfig::parse(&text(fields));
        let (live, offline) = (config("backend = \"fss\""), config("backend = \"fss\"\ndealer = \"offline\""));
        let (live, offline) = (live.unwrap(), offline.unwrap());
        assert_eq!((live.seats(), offline.seats()), (3, 2));
        assert_ne!(live.digest(), offline.digest());
        assert!(refused(&text("dealer = \"offline\"")).contains("rep3 has no dealer"));
        assert!(refused(&text("dealer = \"of-line\"")).contains("line 1"));
    }

    #[test]
    fn the_digest_covers_names_keys_and_roles() {
        let digest = |t: &str| ClusterConfig::parse(t).unwrap().digest();
        let base = digest(&text(""));
        assert_eq!(base, digest(&text("").replace("7101", "8101")));
        for other in [text("").replace("clinic", "praxis"), text("").replace(", \"receiver\"", "")] {
            assert_ne!(base, digest(&other));
        }
    }
}
