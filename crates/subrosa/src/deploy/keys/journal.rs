//! Which keys were used: durably, and never forgotten.
//!
//! `STATE/keys/DEALING.used` holds, for one dealing, the number above the highest one used, and
//! which of the 64 below it were: an anti-replay window as in RFC 4303, section 3.4.3, so that
//! sessions at work at the same time may use numbers in any order. What lies below the window
//! counts as used. A file is replaced whole, and has reached the disk, with its folder, before
//! [`Journal::use_up`] returns: whoever reads keys after that cannot meet them again, whenever
//! the machine stops. A journal that is damaged refuses its dealing.

use super::name::Dealing;
use crate::deploy::store::private_folder;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SROUSED1";
const RECORD: usize = 8 + 16 + 8 + 8 + 32;

/// Numbers below the highest that may still be used.
const WINDOW: u64 = 64;

/// What was used of one dealing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Used {
    /// One more than the highest number used.
    next: u64,
    /// Bit `i`: number `next - 1 - i` was used.
    window: u64,
}

impl Used {
    /// Whether number `index` must not be used.
    pub(super) fn has(self, index: u64) -> bool {
        match self.next.checked_sub(index) {
            None | Some(0) => index == u64::MAX,
            Some(below) => below > WINDOW || self.window >> (below - 1) & 1 == 1,
        }
    }

    /// The same with `index` used.
    fn with(self, index: u64) -> Self {
        match self.next.checked_sub(index) {
            None | Some(0) => {
                let moved = u32::try_from(index - self.next + 1).unwrap_or(u32::MAX);
                Self { next: index + 1, window: self.window.checked_shl(moved).unwrap_or(0) | 1 }
            }
            Some(below) if below > WINDOW => self,
            Some(below) => Self { window: self.window | 1 << (below - 1), ..self },
        }
    }

    /// What either says was used.
    fn or(self, other: Self) -> Self {
        let (ahead, behind) = if self.next >= other.next { (self, other) } else { (other, self) };
        let by = u32::try_from(ahead.next - behind.next).unwrap_or(u32::MAX);
        Self { window: ahead.window | behind.window.checked_shl(by).unwrap_or(0), ..ahead }
    }

    fn encode(self, dealing: Dealing) -> Vec<u8> {
        let body = [MAGIC, &dealing.0[..], &self.next.to_le_bytes(), &self.window.to_le_bytes()].concat();
        [body.as_slice(), blake3::hash(&body).as_bytes()].concat()
    }

    fn decode(bytes: &[u8], dealing: Dealing) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<32>().filter(|_| bytes.len() == RECORD)?;
        let numbers = body.strip_prefix(MAGIC)?.strip_prefix(&dealing.0)?;
        let (next, window) = numbers.split_first_chunk()?;
        let used = Self { next: u64::from_le_bytes(*next), window: u64::from_le_bytes(window.try_into().ok()?) };
        (blake3::hash(body).as_bytes() == hash).then_some(used)
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
        let read = match std::fs::read(&path) {
            Ok(bytes) => Used::decode(&bytes, dealing).ok_or_else(|| damaged(dealing))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Used::default(),
            Err(e) => return Err(Error::io("read", &path, &e)),
        };
        let used = self.seen.entry(dealing).or_default();
        *used = used.or(read);
        Ok(*used)
    }

    /// Marks number `index` as used, on the disk. From then on nobody may have it.
    ///
    /// **Errors:** [`Error::Input`] if it was used before; [`Error::Io`], and then it may be
    /// marked or not, and is not to be read.
    pub(super) fn use_up(&mut self, dealing: Dealing, index: u64) -> Result<()> {
        let used = self.used(dealing)?;
        if used.has(index) {
            let message = format!("the keys {} were used before", dealing.file(index));
            return Err(Error::input(message, "keys are used once; have the dealer deal more"));
        }
        let used = used.with(index);
        let path = self.path(dealing);
        // Even if the disk fails now: here they are not given out again.
        self.seen.insert(dealing, used);
        self.write(&path, &used.encode(dealing)).map_err(|e| Error::io("note used keys in", &path, &e))
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

fn damaged(dealing: Dealing) -> Error {
    let message = format!("the journal of the keys {dealing} is damaged, so none of them can be used");
    Error::input(message, "delete these keys, and have the dealer deal more")
}

/// Has a folder's entries reach the disk.
pub(in crate::deploy) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
