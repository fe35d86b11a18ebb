//! A server's stock of keys that an offline dealer has dealt: one file a batch, used once.
//!
//! Files lie in one folder, put there by whoever brings them from the dealer; what was used
//! is noted in the party's state ([`journal`]), which outlives the files. To take a file
//! ([`Stock::claim`]) is to note it as used, on the disk; only what was taken can be opened
//! ([`Claim::open`]), and is removed before its first byte is read. So whenever the machine
//! stops, a file is either as it was or gone for good.
//!
//! A file's head, lengths and hashes are signed by the dealer's identity, the one that
//! `subrosa.toml` names; it is read piece by piece and never held in memory.

mod agree;
#[cfg(test)]
mod crash;
mod journal;
pub(super) mod name;
mod supply;
#[cfg(test)]
mod tests;

use super::config::{ClusterConfig, Dealer};
use crate::{Error, Result};
pub(super) use journal::sync_folder;
use journal::{Journal, Step};
use name::{Dealing, Head};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use subrosa_net::tcp::SIGNATURE_BYTES;
use subrosa_net::{Recording, recorded_bytes};
pub(super) use supply::Supply;

/// What the dealer's signature of a file is for.
pub(super) const SIGNED: &str = "keys dealt ahead of time";

/// Length of a file of keys in which the dealer says `payload` bytes.
pub fn key_file_bytes(payload: u64) -> u64 {
    recorded_bytes(Head::BYTES, payload, SIGNATURE_BYTES)
}

/// What keys are wanted for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// [`Purpose::digest`](subrosa_mpc::ahead::Purpose::digest).
    pub(super) purpose: [u8; 32],
    /// Samples in the batch.
    pub(super) batch: u32,
    /// Bytes that the dealer says to this party.
    pub(super) payload: u64,
}

/// One party's keys.
pub(super) struct Stock {
    folder: PathBuf,
    config: ClusterConfig,
    me: usize,
    journal: Mutex<Journal>,
    /// Of each dealing, the head of one of its files; its signature is checked when it is opened.
    heads: Mutex<BTreeMap<Dealing, Head>>,
}

impl Stock {
    /// The stock of party `me`: a server whose dealer is offline has one, and nobody else.
    ///
    /// **Errors:** as for [`Stock::open`]; [`Error::Misuse`] if a folder is lacking, or given where
    /// there is no stock.
    pub(super) fn of(folder: Option<&Path>, state: &Path, config: &ClusterConfig, me: usize) -> Result<Option<Self>> {
        match (config.dealer == Dealer::Offline && me < config.seats(), folder) {
            (true, Some(folder)) => Ok(Some(Self::open(folder, state, config, me)?)),
            (true, None) => {
                let hint = "give the folder of what it has dealt for this party (--keys FOLDER)";
                Err(Error::misuse("the dealer is offline by the configuration, and this party has no keys", hint))
            }
            (false, Some(_)) => {
                let hint = "leave --keys out, or write dealer = \"offline\" into everybody's subrosa.toml";
                Err(Error::misuse("this party uses no keys that were dealt ahead of time", hint))
            }
            (false, None) => Ok(None),
        }
    }

    /// The keys in `folder`, with the journal in `state`. Removes files that were used, which
    /// only an interrupted run leaves.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Misuse`] while another program uses them.
    pub(super) fn open(folder: &Path, state: &Path, config: &ClusterConfig, me: usize) -> Result<Self> {
        let journal = Mutex::new(Journal::open(state)?);
        let (folder, config) = (folder.to_owned(), config.clone());
        let stock = Self { folder, config, me, journal, heads: Mutex::default() };
        stock.sweep()?;
        Ok(stock)
    }

    /// The dealings that have files for what is wanted.
    ///
    /// **Errors:** [`Error::Io`].
    pub(super) fn dealings(&self, wanted: &Wanted) -> Result<Vec<Dealing>> {
        let mut files: BTreeMap<Dealing, BTreeSet<u64>> = BTreeMap::new();
        for (dealing, index) in self.files()? {
            files.entry(dealing).or_default().insert(index);
        }
        let fits = |(dealing, indices): &(Dealing, BTreeSet<u64>)| {
            let head = self.head(*dealing, indices);
            head.is_some_and(|head| (head.purpose, head.batch) == (wanted.purpose, wanted.batch))
        };
        Ok(files.into_iter().filter(fits).map(|(dealing, _)| dealing).collect())
    }

    /// Takes the first file of `dealing` from number `from` on that was not used: from here on
    /// it counts as used, whatever happens. None if there is none left.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Input`] for a damaged journal, or a dealing that was
    /// brought to the wrong server, of which nothing is taken then.
    pub(super) fn claim(&self, dealing: Dealing, from: u64) -> Result<Option<Claim<'_>>> {
        let files: BTreeSet<u64> = self.files()?.into_iter().filter(|f| f.0 == dealing).map(|f| f.1).collect();
        if files.is_empty() {
            return Ok(None);
        }
        if let Some(head) = self.head(dealing, &files) {
            let here = Head { party: self.me as u32, cluster: self.config.digest(), ..head };
            if let Some(difference) = head.differs_from(&here, &self.config) {
                let message = format!("the keys {dealing} cannot be used: {difference}");
                return Err(Error::input(message, "bring each server the files that were dealt for it"));
            }
        }
        let mut journal = self.journal();
        let used = journal.used(dealing)?;
        let Some(&index) = files.range(from..).find(|&&index| !used.has(index)) else { return Ok(None) };
        journal.use_up(dealing, index)?;
        Ok(Some(Claim { stock: self, dealing, index }))
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> Result<Vec<(Dealing, u64)>> {
        let entries = std::fs::read_dir(&self.folder).map_err(|e| Error::io("read", &self.folder, &e))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| Dealing::of_file(&name)).collect())
    }

    /// What a dealing's first file that can be read says of it.
    fn head(&self, dealing: Dealing, indices: &BTreeSet<u64>) -> Option<Head> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = heads.get(&dealing) {
            return Some(*known);
        }
        let read = |index: &u64| {
            let file = File::open(self.folder.join(dealing.file(*index))).ok()?;
            Head::decode(Recording::open(file, "", SIGNATURE_BYTES).ok()?.head())
        };
        let head = indices.iter().find_map(read)?;
        // Others are looked at again: they may be replaced.
        if (head.party, head.cluster) == (self.me as u32, self.config.digest()) {
            heads.insert(dealing, head);
        }
        Some(head)
    }

    /// Removes what was used.
    fn sweep(&self) -> Result<()> {
        let mut journal = self.journal();
        let mut swept = false;
        for (dealing, index) in self.files()? {
            // A damaged journal says nothing; its dealing is refused when it is asked for.
            if journal.used(dealing).is_ok_and(|used| used.has(index)) {
                let path = self.folder.join(dealing.file(index));
                std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
                swept = true;
            }
        }
        match swept {
            true => sync_folder(&self.folder).map_err(|e| Error::io("sync", &self.folder, &e)),
            false => Ok(()),
        }
    }
}

/// A file that was taken, and noted as used.
pub(super) struct Claim<'a> {
    stock: &'a Stock,
    pub(super) dealing: Dealing,
    pub(super) index: u64,
}

impl Claim<'_> {
    /// The file's name.
    pub(super) fn name(&self) -> String {
        self.dealing.file(self.index)
    }

    /// Removes the file, checks it, and gives what the dealer said.
    ///
    /// **Errors:** [`Error::Input`] naming the file and what is wrong with it; [`Error::Io`].
    pub(super) fn open(self, wanted: &Wanted) -> Result<Recording> {
        let Stock { folder, config, me, .. } = self.stock;
        let path = folder.join(self.name());
        let io = |verb: &'static str| {
            let path = path.clone();
            move |e: std::io::Error| Error::io(verb, &path, &e)
        };
        let step = |step| self.stock.journal().step(step);
        let file = File::open(&path).map_err(io("read"))?;
        step(Step::Unlink).and_then(|()| std::fs::remove_file(&path)).map_err(io("remove"))?;
        step(Step::SyncKeys).and_then(|()| sync_folder(folder)).map_err(io("remove"))?;
        step(Step::Read).map_err(io("read"))?;
        let recording =
            Recording::open(file, &self.name(), SIGNATURE_BYTES).map_err(|e| self.refused(&e.to_string()))?;
        let (dealing, index) = (self.dealing, self.index);
        let (party, Wanted { purpose, batch, payload }) = (*me as u32, *wanted);
        let expected = Head { dealing, index, party, batch, cluster: config.digest(), purpose };
        let head = Head::decode(recording.head()).ok_or_else(|| self.refused("its head is of no known form"))?;
        if let Some(difference) = head.differs_from(&expected, config) {
            return Err(self.refused(&difference));
        }
        let dealer = config.parties.get(config.seats()).map(|p| (&p.name, p.fingerprint));
        match dealer {
            Some((_, key)) if key.has_signed(SIGNED, recording.digest(), recording.seal()) => {}
            _ => {
                let name = dealer.map_or("a dealer", |(name, _)| name.as_str());
                return Err(self.refused(&format!("it is not signed by {name}")));
            }
        }
        match recording.left() == payload {
            true => Ok(recording),
            false => Err(self.refused(&format!("it holds {} bytes of keys, not {payload}", recording.left()))),
        }
    }

    fn refused(&self, why: &str) -> Error {
        let message = format!("the keys {} cannot be used: {why}", self.name());
        Error::input(message, "they were given up; the next session takes the next ones")
    }
}
