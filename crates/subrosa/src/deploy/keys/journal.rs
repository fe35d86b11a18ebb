//! Which keys were used: durably, and never forgotten.
//!
//! `STATE/keys/DEALING.used` holds, for one dealing, the numbers that were used, as runs. A file is
//! replaced whole, and has reached the disk, with its folder, before [`Journal::use_up`] returns:
//! whoever reads keys after that cannot meet them again, whenever the machine stops. A journal that
//! is damaged refuses its dealing.

use super::name::{Dealing, MOST};
use crate::deploy::store::private_folder;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SROUSED2";

/// The most runs that numbers below [`MOST`] can be in.
const MOST_RUNS: usize = MOST as usize / 2 + 1;

/// What was used of one dealing: the first number of each run, and the first one after it.
///
/// Invariant: runs are not empty, do not touch, and lie below [`MOST`].
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Used(BTreeMap<u64, u64>);

impl Used {
    /// Whether number `index` must not be used.
    pub(super) fn has(&self, index: u64) -> bool {
        index >= MOST || self.0.range(..=index).next_back().is_some_and(|(_, &end)| index < end)
    }

    /// The same with `index`, which is below [`MOST`], used.
    pub(super) fn add(&mut self, index: u64) {
        if self.has(index) {
            return;
        }
        let end = self.0.remove(&(index + 1)).unwrap_or(index + 1);
        match self.0.range_mut(..index).next_back() {
            Some((_, before)) if *before == index => *before = end,
            _ => drop(self.0.insert(index, end)),
        }
    }

    /// Adds what `other` says was used, but for `kept`. Whether that was anything new.
    pub(super) fn merge(&mut self, other: &Self, kept: &BTreeSet<u64>) -> bool {
        let mut learnt = false;
        for (&from, &end) in &other.0 {
            let known = self.0.range(..=from).next_back().is_some_and(|(_, &until)| end <= until);
            let new = |used: &Self, number: &u64| !used.has(*number) && !kept.contains(number);
            let numbers: Vec<u64> = (from..end).filter(|n| !known && new(self, n)).collect();
            learnt |= !numbers.is_empty();
            numbers.into_iter().for_each(|number| self.add(number));
        }
        learnt
    }

    /// Runs of two numbers each, at most `most` of them: the first ones.
    pub(super) fn encode(&self, most: usize) -> Vec<u8> {
        self.0.iter().take(most).flat_map(|(from, end)| [from.to_le_bytes(), end.to_le_bytes()].concat()).collect()
    }

    /// What [`Used::encode`] wrote; none for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let (runs, []) = numbers.as_chunks::<2>() else { return None };
        let (mut used, mut last) = (Self::default(), None);
        for [from, end] in runs {
            let (from, end) = (u64::from_le_bytes(*from), u64::from_le_bytes(*end));
            if from >= end || end > MOST || last.is_some_and(|last| from <= last) {
                return None;
            }
            used.0.insert(from, end);
            last = Some(end);
        }
        Some(used)
    }

    fn to_file(&self, dealing: Dealing) -> Vec<u8> {
        let body = [MAGIC, &dealing.0[..], &self.encode(MOST_RUNS)].concat();
        [body.as_slice(), blake3::hash(&body).as_bytes()].concat()
    }

    fn from_file(bytes: &[u8], dealing: Dealing) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        let runs = body.strip_prefix(MAGIC)?.strip_prefix(&dealing.0)?;
        (blake3::hash(body).as_bytes() == hash).then(|| Self::decode(runs))?
    }
}

/// One party's journal. One program at a time has it open.
pub(super) struct Journal {
    folder: PathBuf,
    /// Locked as long as this is open.
    _lock: File,
    /// As last seen: what is on the disk never takes a use back.
    seen: BTreeMap<Dealing, Used>,
    #[cfg(test)]
    pub(super) watch: super::crash::Watch,
}

/// What is about to be done; tests stop there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Write,
    Sync,
    Rename,
    SyncFolder,
    Unlink,
    SyncKeys,
    Read,
}

impl Journal {
    /// The journal in `state`, made if it is not there.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Misuse`] while another program has it open.
    pub(super) fn open(state: &Path) -> Result<Self> {
        let folder = state.join("keys");
        private_folder(&folder)?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(|e| Error::io("write", &path, &e))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                Error::misuse(format!("another program uses up the keys of {}", state.display()), "stop it first")
            }
            std::fs::TryLockError::Error(e) => Error::io("lock", &path, &e),
        })?;
        sync_folder(state).map_err(|e| Error::io("sync", state, &e))?;
        Ok(Self {
            folder,
            _lock: lock,
            seen: BTreeMap::new(),
            #[cfg(test)]
            watch: Box::new(|_| Ok(())),
        })
    }

    /// What was used of `dealing`.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Input`] for a damaged journal, whose dealing is lost.
    pub(super) fn used(&mut self, dealing: Dealing) -> Result<Used> {
        let path = self.path(dealing);
        let read = match read(&path) {
            Ok(bytes) => Used::from_file(&bytes, dealing).ok_or_else(|| damaged(dealing))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Used::default(),
            Err(e) => return Err(Error::io("read", &path, &e)),
        };
        let used = self.seen.entry(dealing).or_default();
        used.merge(&read, &BTreeSet::new());
        Ok(used.clone())
    }

    /// Marks number `index` as used, and what others say was used but for `kept`, on the disk.
    /// From then on nobody may have them. Whether others knew of anything new.
    ///
    /// **Errors:** [`Error::Input`] if it was used before; [`Error::Io`], and then it may be
    /// marked or not, and is not to be read.
    pub(super) fn use_up(&mut self, dealing: Dealing, index: u64, others: &Used, kept: &BTreeSet<u64>) -> Result<bool> {
        let mut used = self.used(dealing)?;
        let learnt = used.merge(others, kept);
        if used.has(index) {
            let message = format!("the keys {} were used before", dealing.file(index));
            return Err(Error::input(message, "keys are used once; have the dealer deal more"));
        }
        used.add(index);
        let (path, bytes) = (self.path(dealing), used.to_file(dealing));
        // Even if the disk fails now: here they are not given out again.
        self.seen.insert(dealing, used);
        self.write(&path, &bytes).map_err(|e| Error::io("note used keys in", &path, &e))?;
        Ok(learnt)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part = path.with_extension("part");
        self.step(Step::Write)?;
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        self.step(Step::Sync)?;
        file.sync_all()?;
        self.step(Step::Rename)?;
        std::fs::rename(&part, path)?;
        self.step(Step::SyncFolder)?;
        sync_folder(&self.folder)
    }

    /// A place where a test may stop.
    pub(super) fn step(&self, step: Step) -> io::Result<()> {
        #[cfg(test)]
        (self.watch)(step)?;
        let _ = step;
        Ok(())
    }

    fn path(&self, dealing: Dealing) -> PathBuf {
        self.folder.join(format!("{dealing}.used"))
    }
}

/// All of a journal that can be one.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take((MOST_RUNS * 16 + 64) as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn damaged(dealing: Dealing) -> Error {
    let message = format!("the journal of the keys {dealing} is damaged, so none of them can be used");
    Error::input(message, "delete these keys, and have the dealer deal more")
}

/// Has a folder's entries reach the disk.
pub(in crate::deploy) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
