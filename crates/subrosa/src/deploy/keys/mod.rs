//! A server's stock of keys that an offline dealer has dealt: one file a batch, used once.
//!
//! Files lie in one folder, put there by whoever brings them from the dealer; what was used
//! is noted in the party's state ([`journal`]), which outlives the files. A file that is all it
//! should be can be offered to the other servers ([`Stock::offer`]), which changes nothing. To take
//! it ([`Offer::take`]) is to note it as used, on the disk; only what was taken can be opened
//! ([`Claim::open`]), and is removed before the first byte of a key is read. So whenever the machine
//! stops, a file is either as it was or gone for good.
//!
//! A file's head, lengths and hashes are signed by the dealer's identity, the one that
//! `subrosa.toml` names; it is read piece by piece and never held in memory. Before it is offered
//! for the first time all of it is read once and hashed, so a file that is not what it should be,
//! as one that is still being copied or lost a bit, is passed over and left alone. When it is used
//! each piece is hashed again; one that was changed in between costs the batch, at all servers.

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
use journal::{Journal, Step, Used};
use name::{Dealing, Head};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use subrosa_net::tcp::SIGNATURE_BYTES;
use subrosa_net::{Opening, Recording, recorded_bytes};
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

/// Where a line of log goes.
pub(super) type Tell<'a> = &'a dyn Fn(&str);

/// One party's keys.
pub(super) struct Stock {
    folder: PathBuf,
    config: ClusterConfig,
    me: usize,
    journal: Mutex<Journal>,
    /// What sessions are agreeing on, so that no two agree on the same.
    held: Mutex<BTreeSet<(Dealing, u64)>>,
    /// Purpose and batch of each dealing of which a file was found to be the dealer's.
    known: Mutex<BTreeMap<Dealing, ([u8; 32], u32)>>,
    /// Files whose payload was found to be what the dealer hashed, as they were then.
    whole: Mutex<BTreeMap<(Dealing, u64), Stamp>>,
    /// What was wrong with files, each told once.
    told: Mutex<BTreeSet<String>>,
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
    /// **Errors:** [`Error::Io`], also for a folder in which nothing can be removed;
    /// [`Error::Misuse`] while another program uses them.
    pub(super) fn open(folder: &Path, state: &Path, config: &ClusterConfig, me: usize) -> Result<Self> {
        tempfile::tempfile_in(folder).map_err(|e| Error::io("write into", folder, &e))?;
        let stock = Self {
            folder: folder.to_owned(),
            config: config.clone(),
            me,
            journal: Mutex::new(Journal::open(state)?),
            held: Mutex::default(),
            known: Mutex::default(),
            whole: Mutex::default(),
            told: Mutex::default(),
        };
        stock.sweep()?;
        Ok(stock)
    }

    /// The dealings that have files.
    ///
    /// **Errors:** [`Error::Io`].
    pub(super) fn dealings(&self) -> Result<BTreeSet<Dealing>> {
        Ok(self.files()?.into_iter().map(|file| file.0).collect())
    }

    /// What was used of `dealing`.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Input`] for a damaged journal.
    fn used(&self, dealing: Dealing) -> Result<Used> {
        self.journal().used(dealing)
    }

    /// The first file of `dealing` from number `from` on that is good for what is wanted, was not
    /// used, and is not offered in another session. None if there is none. `tell` hears of files
    /// that are not what they should be.
    ///
    /// **Cost:** one pass over a file that was not looked at before.
    ///
    /// **Errors:** [`Error::Io`].
    pub(super) fn offer(
        &self,
        dealing: Dealing,
        from: u64,
        wanted: &Wanted,
        tell: Tell<'_>,
    ) -> Result<Option<Offer<'_>>> {
        let known = lock(&self.known).get(&dealing).copied();
        if known.is_some_and(|known| known != (wanted.purpose, wanted.batch)) {
            return Ok(None);
        }
        let numbers: BTreeSet<u64> = self.files()?.into_iter().filter(|f| f.0 == dealing).map(|f| f.1).collect();
        for &index in numbers.range(from..) {
            // Held first: who takes a number lets go of it after it was noted as used.
            let Some(held) = Held::new(self, dealing, index) else { continue };
            match self.used(dealing) {
                Ok(used) if used.has(index) => continue,
                Ok(_) => {}
                Err(damaged @ Error::Input { .. }) => {
                    self.once(damaged.to_string(), tell);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            match self.check(dealing, index, wanted) {
                Ok((file, recording)) => {
                    lock(&self.known).insert(dealing, (wanted.purpose, wanted.batch));
                    return Ok(Some(Offer { held, file, recording }));
                }
                Err(why) => self.once(refusal(dealing, index, &why), tell),
            }
        }
        Ok(None)
    }

    /// A file that is all it should be; or why it is not.
    fn check(&self, dealing: Dealing, index: u64, wanted: &Wanted) -> std::result::Result<(File, Recording), String> {
        let name = dealing.file(index);
        // Whatever else has such a name, opening it neither waits nor leads elsewhere.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(self.folder.join(&name));
        let file = file.map_err(|e| e.to_string())?;
        let metadata = file.metadata().map_err(|e| e.to_string())?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err("it is no plain file with one name".to_owned());
        }
        if metadata.mode() & 0o077 != 0 {
            return Err("others may read it; chmod 600, and think about who did".to_owned());
        }
        let again = file.try_clone().map_err(|e| e.to_string())?;
        let opening = Opening::read(file, &name, SIGNATURE_BYTES).map_err(|e| e.to_string())?;
        let (party, Wanted { purpose, batch, payload }) = (self.me as u32, *wanted);
        let expected = Head { dealing, index, party, batch, cluster: self.config.digest(), purpose };
        let head = Head::decode(opening.head()).ok_or("its head is of no known form")?;
        if let Some(difference) = head.differs_from(&expected, &self.config) {
            return Err(difference);
        }
        if opening.payload() != payload {
            return Err(format!("it holds {} bytes of keys, not {payload}", opening.payload()));
        }
        let recording = opening.complete().map_err(|e| e.to_string())?;
        let dealer = self.config.parties.get(self.config.seats()).map(|p| (&p.name, p.fingerprint));
        if !dealer.is_some_and(|(_, key)| key.has_signed(SIGNED, recording.digest(), recording.seal())) {
            return Err(format!("it is not signed by {}", dealer.map_or("a dealer", |(name, _)| name.as_str())));
        }
        let stamp = Stamp::of(&metadata);
        if lock(&self.whole).get(&(dealing, index)) != Some(&stamp) {
            // Not locked meanwhile: other sessions look at other files.
            recording.verify().map_err(|e| e.to_string())?;
            lock(&self.whole).insert((dealing, index), stamp);
        }
        Ok((again, recording))
    }

    fn once(&self, line: String, tell: Tell<'_>) {
        let mut told = lock(&self.told);
        // Names of files are whoever's who can write there.
        if told.len() < MOST_TOLD && !told.contains(&line) {
            tell(&line);
            told.insert(line);
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    fn files(&self) -> Result<Vec<(Dealing, u64)>> {
        let entries = std::fs::read_dir(&self.folder).map_err(|e| Error::io("read", &self.folder, &e))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| Dealing::of_file(&name)).collect())
    }

    /// Removes what was used.
    fn sweep(&self) -> Result<()> {
        let mut journal = self.journal();
        let mut swept = false;
        for (dealing, index) in self.files()? {
            let path = self.folder.join(dealing.file(index));
            // A damaged journal says nothing; its dealing is passed over when it is asked for.
            if journal.used(dealing).is_ok_and(|used| used.has(index)) && !path.is_dir() {
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

/// What changes with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    node: (u64, u64),
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { node: (metadata.dev(), metadata.ino()), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}

/// Lines about files that are told at all.
const MOST_TOLD: usize = 1000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(dealing: Dealing, index: u64, why: &str) -> String {
    format!("the keys {} cannot be used: {why}", dealing.file(index))
}

/// A number that one session alone offers; others may again when this is dropped.
struct Held<'a> {
    stock: &'a Stock,
    dealing: Dealing,
    index: u64,
}

impl<'a> Held<'a> {
    fn new(stock: &'a Stock, dealing: Dealing, index: u64) -> Option<Self> {
        // Not `then_some`: one that is made and dropped lets go.
        lock(&stock.held).insert((dealing, index)).then(|| Self { stock, dealing, index })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        lock(&self.stock.held).remove(&(self.dealing, self.index));
    }
}

/// A file that could be used. Nothing has happened to it.
pub(super) struct Offer<'a> {
    held: Held<'a>,
    file: File,
    recording: Recording,
}

impl<'a> Offer<'a> {
    /// Whose number it is.
    pub(super) fn dealing(&self) -> Dealing {
        self.held.dealing
    }

    /// Its number.
    pub(super) fn index(&self) -> u64 {
        self.held.index
    }

    /// Takes the file: from here on it counts as used, whatever happens; and so does what other
    /// servers say was used, but for numbers that sessions here are agreeing on.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Input`] for a damaged journal, or if others have used it.
    fn take(self, others: &Used) -> Result<Claim<'a>> {
        let (stock, dealing, index) = (self.held.stock, self.held.dealing, self.held.index);
        let held: BTreeSet<u64> = lock(&stock.held).iter().filter(|h| h.0 == dealing).map(|h| h.1).collect();
        let kept = held.into_iter().filter(|&other| other != index).collect();
        let learnt = stock.journal().use_up(dealing, index, others, &kept)?;
        lock(&stock.whole).remove(&(dealing, index));
        let claim = Claim { offer: Some(self) };
        if learnt {
            // This server was set back, or the other's session came to nothing.
            stock.sweep()?;
        }
        Ok(claim)
    }
}

/// A file that was taken, and noted as used. It goes when this is dropped.
pub(super) struct Claim<'a> {
    /// Until it is opened.
    offer: Option<Offer<'a>>,
}

impl Claim<'_> {
    /// The file's name.
    pub(super) fn name(&self) -> String {
        self.offer.as_ref().map_or_else(String::new, |offer| offer.dealing().file(offer.index()))
    }

    /// Removes the file, and gives what the dealer said.
    ///
    /// **Errors:** [`Error::Input`] if the file is still there by another name; [`Error::Io`].
    pub(super) fn open(mut self) -> Result<Recording> {
        let Some(Offer { held, file, recording }) = self.offer.take() else {
            return Err(Error::misuse("keys are opened once", ""));
        };
        let path = held.stock.folder.join(held.dealing.file(held.index));
        let io = |verb: &'static str| {
            let path = path.clone();
            move |e: std::io::Error| Error::io(verb, &path, &e)
        };
        let step = |step| held.stock.journal().step(step);
        step(Step::Unlink).and_then(|()| gone(&path)).map_err(io("remove"))?;
        step(Step::SyncKeys).and_then(|()| sync_folder(&held.stock.folder)).map_err(io("remove"))?;
        step(Step::Read).map_err(io("read"))?;
        match file.metadata().map_err(io("read"))?.nlink() {
            0 => Ok(recording),
            _ => {
                let why = "it was given another name while it was taken";
                let message = refusal(held.dealing, held.index, why);
                Err(Error::input(message, "remove it there; the next session takes the next keys"))
            }
        }
    }
}

/// Removes a file; one that is not there any more was swept with others.
fn gone(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(Offer { held, .. }) = &self.offer {
            // What is left is removed when the party starts.
            let _ = std::fs::remove_file(held.stock.folder.join(held.dealing.file(held.index)));
        }
    }
}
