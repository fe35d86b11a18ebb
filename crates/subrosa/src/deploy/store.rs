//! Shares of models at rest, encrypted.
//!
//! `models/NAME/VERSION.share` is a magic number, then one AES-256-GCM box of the sharing's
//! id, the card and the share. Name, version and the party's number are authenticated with
//! it, so a file put in another's place is refused. The key is 32 random bytes: given from
//! elsewhere, as by a service manager, it guards a stolen disk or backup; made here as
//! `store.key`, beside the shares, it guards only what is copied without it. Neither guards
//! a machine whose administrator is the thief: its share is in memory, and is one share.

use super::config::check_name;
use crate::{Error, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use subrosa_net::tcp::{Fingerprint, is_private};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"SROSHAR1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// Versions that are kept, of all owners and of one. What a party tells of them to whoever asks has to fit a
/// message of 1 MiB, and takes at most 102 bytes for each.
const MOST_VERSIONS: usize = 8192;
const MOST_OF_ONE: usize = 1024;

/// One party's models.
pub(super) struct Store {
    folder: PathBuf,
    key: RandomizedNonceKey,
    party: usize,
    index: Mutex<Index>,
}

/// What there is, by name and version.
type Index = BTreeMap<(String, u32), Entry>;

/// Of one version: which dealing it is of, and whose.
#[derive(Clone, Copy)]
struct Entry {
    sharing: [u8; 32],
    owner: Fingerprint,
}

/// A model's share as kept. No `Debug`: it holds a share.
pub(super) struct Kept {
    pub(super) version: u32,
    pub(super) sharing: [u8; 32],
    pub(super) owner: Fingerprint,
    pub(super) card: Vec<u8>,
    pub(super) share: Zeroizing<Vec<u8>>,
}

impl Store {
    /// The store in `folder`, made if it is not there, with the key in `key_file` or in the
    /// folder itself.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Misuse`] for a file that is no key.
    pub(super) fn open(folder: &Path, key_file: Option<&Path>, party: usize) -> Result<Self> {
        private_folder(folder)?;
        private_folder(&folder.join("models"))?;
        let own = folder.join("store.key");
        let key = match key_file {
            Some(path) => read_key(path)?,
            None if own.exists() => read_key(&own)?,
            None => make_key(&own)?,
        };
        let store = Self::with_key(folder, &key, party)?;
        store.sweep();
        let index = store.read_index();
        *store.lock() = index;
        Ok(store)
    }

    /// The store in `folder` for [`Store::load`] alone, which a party may be using now.
    ///
    /// **Errors:** as [`Store::open`], and [`Error::Io`] if there is none.
    pub(super) fn look(folder: &Path, key_file: Option<&Path>, party: usize) -> Result<Self> {
        let own = folder.join("store.key");
        Self::with_key(folder, &read_key(key_file.unwrap_or(&own))?, party)
    }

    fn with_key(folder: &Path, key: &[u8], party: usize) -> Result<Self> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key)
            .map_err(|_| Error::misuse("the store's key cannot be used", "give 32 bytes"))?;
        Ok(Self { folder: folder.to_owned(), key, party, index: Mutex::default() })
    }

    /// Keeps a share under the next version of `name`, which is returned and was never used
    /// before. All or nothing: a full disk leaves what was there.
    ///
    /// **Errors:** [`Error::Misuse`] if `name` is another owner's, or but for case another model's, and where too
    /// many are kept; [`Error::Io`].
    pub(super) fn keep(
        &self,
        name: &str,
        owner: Fingerprint,
        sharing: [u8; 32],
        card: &[u8],
        share: &[u8],
    ) -> Result<u32> {
        check_name(name)?;
        let mut index = self.lock();
        check_owner(&index, name, owner)?;
        check_room(&index, owner)?;
        let folder = self.folder.join("models").join(name);
        private_folder(&folder)?;
        let version = self.last_version(name).saturating_add(1);
        let path = self.path(name, version);
        let sealed = self.seal(name, version, Entry { sharing, owner }, card, share)?;
        let counted = write_whole(&folder.join("last.part"), &[version.to_string().as_bytes()]);
        let counted = counted.and_then(|()| std::fs::rename(folder.join("last.part"), folder.join("last")));
        counted.map_err(|e| Error::io("keep the share in", &path, &e))?;
        let temporary = path.with_extension("part");
        let written =
            write_whole(&temporary, &[MAGIC, &sealed.0, &sealed.1]).and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&temporary);
            return Err(Error::io("keep the share in", &path, &error));
        }
        index.insert((name.to_owned(), version), Entry { sharing, owner });
        Ok(version)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The newest version that `name` ever had here.
    fn last_version(&self, name: &str) -> u32 {
        let noted = std::fs::read_to_string(self.folder.join("models").join(name).join("last"));
        let noted = noted.ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        noted.max(self.versions(name).last().copied().unwrap_or(0))
    }

    /// The share of `name`, of the newest version unless one is given.
    ///
    /// **Errors:** [`Error::Input`] for an unknown model; [`Error::Io`]; [`Error::Misuse`]
    /// for a file that was changed, or is another party's.
    pub(super) fn load(&self, name: &str, version: Option<u32>) -> Result<Kept> {
        check_name(name)?;
        let versions = self.versions(name);
        let found = version.or(versions.last().copied()).filter(|v| versions.contains(v));
        let version = found.ok_or_else(|| {
            let which = version.map(|v| format!(" version {v}")).unwrap_or_default();
            Error::input(format!("no model '{name}'{which} is kept here"), "`subrosa party check` lists them")
        })?;
        let path = self.path(name, version);
        let sealed = std::fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
        self.unseal(name, version, sealed).ok_or_else(|| {
            // Clients hear it: no path of this machine.
            let what = "was changed, or is not this party's, or the store's key is another";
            let message = format!("the share of '{name}' version {version} that is kept here {what}");
            Error::misuse(message, "restore it from a backup, or provision the model again")
        })
    }

    /// Forgets one version of `name`, or all; returns how many files went.
    ///
    /// **Errors:** [`Error::Misuse`] if `name` is another owner's, or but for case another model's; [`Error::Io`].
    pub(super) fn remove(&self, name: &str, version: Option<u32>, owner: Fingerprint) -> Result<u32> {
        check_name(name)?;
        let mut index = self.lock();
        check_owner(&index, name, owner)?;
        let mut removed = 0;
        for v in self.versions(name).into_iter().filter(|v| version.is_none_or(|w| w == *v)) {
            let path = self.path(name, v);
            std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
            index.remove(&(name.to_owned(), v));
            removed += 1;
        }
        Ok(removed)
    }

    /// Every model's name, version and dealing, oldest first.
    pub(super) fn list(&self) -> Vec<(String, u32, [u8; 32])> {
        self.lock().iter().map(|((name, version), entry)| (name.clone(), *version, entry.sharing)).collect()
    }

    /// Reads what is kept, once; files that are not this party's are left out.
    fn read_index(&self) -> Index {
        let Ok(entries) = std::fs::read_dir(self.folder.join("models")) else { return Index::new() };
        let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        let names = names.filter(|name| check_name(name).is_ok());
        let all = names.flat_map(|name| self.versions(&name).into_iter().map(move |v| (name.clone(), v)));
        let entry = |(name, v): (String, u32)| {
            let kept = self.load(&name, Some(v)).ok()?;
            Some(((name, v), Entry { sharing: kept.sharing, owner: kept.owner }))
        };
        all.filter_map(entry).collect()
    }

    fn versions(&self, name: &str) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("models").join(name)) else { return Vec::new() };
        let files = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        let mut versions: Vec<u32> = files.filter_map(|f| f.strip_suffix(".share")?.parse().ok()).collect();
        versions.sort_unstable();
        versions
    }

    fn path(&self, name: &str, version: u32) -> PathBuf {
        self.folder.join("models").join(name).join(format!("{version}.share"))
    }

    /// Removes what an interrupted [`Store::keep`] left.
    fn sweep(&self) {
        let Ok(models) = std::fs::read_dir(self.folder.join("models")) else { return };
        let files = models.flatten().filter_map(|m| std::fs::read_dir(m.path()).ok()).flat_map(|d| d.flatten());
        for file in files.filter(|f| f.path().extension().is_some_and(|e| e == "part")) {
            let _ = std::fs::remove_file(file.path());
        }
    }

    fn place(&self, name: &str, version: u32) -> Vec<u8> {
        [MAGIC, name.as_bytes(), &[0], &version.to_le_bytes(), &(self.party as u64).to_le_bytes()].concat()
    }

    /// The nonce, and the box.
    fn seal(
        &self,
        name: &str,
        version: u32,
        entry: Entry,
        card: &[u8],
        share: &[u8],
    ) -> Result<([u8; NONCE_BYTES], Vec<u8>)> {
        let mut body = Vec::with_capacity(96 + card.len() + share.len());
        body.extend(entry.sharing);
        body.extend(entry.owner.0);
        body.extend((card.len() as u64).to_le_bytes());
        body.extend(card);
        body.extend(share);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(self.place(name, version)), &mut body)
            .map_err(|_| Error::misuse("the share could not be encrypted", ""))?;
        Ok((*nonce.as_ref(), body))
    }

    /// In place: the share is not copied.
    fn unseal(&self, name: &str, version: u32, sealed: Vec<u8>) -> Option<Kept> {
        const SEALED: usize = MAGIC.len() + NONCE_BYTES;
        let mut all = Zeroizing::new(sealed);
        let (head, body) = all.split_at_mut_checked(SEALED)?;
        let nonce = *head.strip_prefix(MAGIC)?.first_chunk::<NONCE_BYTES>()?;
        let place = Aad::from(self.place(name, version));
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), place, body).ok()?;
        let length = opened.len();
        let (sharing, rest) = opened.split_first_chunk::<32>()?;
        let (owner, rest) = rest.split_first_chunk::<32>()?;
        let (card, rest) = rest.split_first_chunk::<8>()?;
        let (card, share) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*card)).ok()?)?;
        let (sharing, owner, card, share) = (*sharing, Fingerprint(*owner), card.to_vec(), share.len());
        // What is left behind is wiped with the rest when it is dropped.
        all.truncate(SEALED + length);
        all.drain(..SEALED + length - share);
        Some(Kept { version, sharing, owner, card, share: all })
    }
}

/// **Errors:** [`Error::Misuse`] if `name` is kept for another owner, or one that a file system may take for it.
fn check_owner(index: &Index, name: &str, owner: Fingerprint) -> Result<()> {
    let other = || index.keys().map(|(n, _)| n).find(|n| n.eq_ignore_ascii_case(name));
    let mut same = index.iter().filter(|((n, _), _)| n == name).peekable();
    match (same.peek().is_some(), same.all(|(_, entry)| entry.owner == owner)) {
        (true, true) => Ok(()),
        (true, false) => Err(Error::misuse(format!("'{name}' is another model owner's"), "choose another name")),
        (false, _) => match other() {
            Some(other) => {
                let message = format!("'{name}' differs from '{other}', which is kept here, by case alone");
                Err(Error::misuse(message, "choose another name"))
            }
            None => Ok(()),
        },
    }
}

/// **Errors:** [`Error::Misuse`] if one more version is too many.
fn check_room(index: &Index, owner: Fingerprint) -> Result<()> {
    let own = index.values().filter(|entry| entry.owner == owner).count();
    match index.len() < MOST_VERSIONS && own < MOST_OF_ONE {
        true => Ok(()),
        false => {
            let message = format!("{own} versions of models of this owner are kept here, of all {}", index.len());
            let hint = format!("remove some: at most {MOST_OF_ONE} are kept of an owner, {MOST_VERSIONS} of all");
            Err(Error::misuse(message, &hint))
        }
    }
}

/// A folder that only this user reads.
pub(super) fn private_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Error::io("create", path, &e))
}

fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::metadata(path).map_err(|e| Error::io("read", path, &e))?;
    if !is_private(&file) {
        let message = format!("{} can be read by others than its owner", path.display());
        return Err(Error::misuse(message, "chmod 600 it, and think whether it has been read"));
    }
    let key = Zeroizing::new(std::fs::read(path).map_err(|e| Error::io("read", path, &e))?);
    if key.len() != KEY_BYTES {
        let message = format!("{} is no key: it has {} bytes", path.display(), key.len());
        return Err(Error::misuse(message, "a key is 32 random bytes: head -c 32 /dev/urandom"));
    }
    Ok(key)
}

fn make_key(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    use std::os::unix::fs::OpenOptionsExt;
    let seed = subrosa_core::Seed::random().map_err(subrosa_mpc::Error::from)?;
    let key = Zeroizing::new(seed.expose().to_vec());
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut f| f.write_all(&key).and_then(|()| f.sync_all())).map_err(|e| Error::io("write", path, &e))?;
    Ok(key)
}

fn write_whole(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Fingerprint = Fingerprint([7; 32]);

    #[test]
    fn shares_are_versioned_encrypted_and_bound_to_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), None, 1).unwrap();
        assert_eq!(store.keep("lenet", OWNER, [1; 32], b"card one", b"a share that must not be seen").unwrap(), 1);
        assert_eq!(store.keep("lenet", OWNER, [2; 32], b"card two", b"another").unwrap(), 2);
        let kept = store.load("lenet", None).unwrap();
        assert_eq!((kept.version, kept.sharing, kept.card.as_slice()), (2, [2; 32], b"card two".as_slice()));
        assert_eq!(store.load("lenet", Some(1)).unwrap().share.as_slice(), b"a share that must not be seen");
        assert!(store.load("lenet", Some(3)).is_err() && store.load("../lenet", None).is_err());

        let (one, two) = (store.path("lenet", 1), store.path("lenet", 2));
        let bytes = std::fs::read(&one).unwrap();
        assert!(!bytes.windows(7).any(|w| w == b"a share" || w == b"card on"));
        // A second store with the same key reads it; another party, place or key does not.
        assert!(Store::open(folder.path(), None, 1).unwrap().load("lenet", Some(1)).is_ok());
        assert!(Store::open(folder.path(), None, 2).unwrap().load("lenet", Some(1)).is_err());
        std::fs::copy(&one, &two).unwrap();
        assert!(store.load("lenet", Some(2)).is_err());
        for at in [0, 8, 20, 30, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&two, damaged).unwrap();
            assert!(store.load("lenet", Some(2)).is_err(), "byte {at}");
        }
        std::fs::write(folder.path().join("store.key"), [0; KEY_BYTES]).unwrap();
        assert!(Store::open(folder.path(), None, 1).unwrap().load("lenet", Some(1)).is_err());
        std::fs::write(folder.path().join("store.key"), "short").unwrap();
        assert!(Store::open(folder.path(), None, 1).is_err());
        let other = Fingerprint([9; 32]);
        assert!(store.keep("lenet", other, [3; 32], b"", b"").is_err() && store.remove("lenet", None, other).is_err());
        assert_eq!(store.remove("lenet", Some(2), OWNER).unwrap(), 1);
        assert_eq!(store.list(), [("lenet".to_owned(), 1, [1; 32])]);
        // A number that was used once never stands for another dealing.
        assert_eq!(store.keep("lenet", OWNER, [4; 32], b"", b"").unwrap(), 3);
    }

    #[test]
    fn an_interrupted_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), None, 0).unwrap();
        store.keep("m", OWNER, [0; 32], b"", b"x").unwrap();
        let part = folder.path().join("models/m/2.part");
        std::fs::write(&part, "half").unwrap();
        let store = Store::open(folder.path(), None, 0).unwrap();
        assert!(!part.exists() && store.load("m", None).unwrap().version == 1);
    }

    #[test]
    fn names_that_differ_by_case_alone_are_not_kept_together() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), None, 0).unwrap();
        let other = Fingerprint([9; 32]);
        store.keep("LeNet", OWNER, [0; 32], b"", b"x").unwrap();
        for owner in [OWNER, other] {
            let error = store.keep("lenet", owner, [1; 32], b"", b"y").unwrap_err().to_string();
            assert!(error.contains("'lenet' differs from 'LeNet'") && error.contains("another name"), "{error}");
            assert!(store.remove("lenet", None, owner).is_err(), "where they are one folder, it is the other's");
        }
        assert_eq!(store.keep("LeNet", OWNER, [1; 32], b"", b"y").unwrap(), 2);
    }

    #[test]
    fn so_many_versions_are_kept_as_fit_what_is_told_of_them() {
        let (longest, mut index) = ("n".repeat(64), Index::new());
        let fill = |index: &mut Index, n: u32, owner| {
            let from = index.len() as u32;
            index.extend((from..from + n).map(|v| ((longest.clone(), v << 16), Entry { sharing: [255; 32], owner })));
        };
        fill(&mut index, MOST_OF_ONE as u32 - 1, OWNER);
        check_room(&index, OWNER).unwrap();
        fill(&mut index, 1, OWNER);
        let error = check_room(&index, OWNER).unwrap_err().to_string();
        assert!(error.contains("1024 versions") && error.contains("remove some"), "{error}");
        check_room(&index, Fingerprint([9; 32])).unwrap();
        fill(&mut index, (MOST_VERSIONS - MOST_OF_ONE) as u32, Fingerprint([8; 32]));
        assert!(check_room(&index, Fingerprint([9; 32])).is_err());
        let told = |((name, version), entry): (&(String, u32), &Entry)| crate::deploy::Held {
            name: name.clone(),
            version: *version,
            sharing: entry.sharing,
        };
        let told: Vec<_> = index.iter().map(told).collect();
        assert!(postcard::to_stdvec(&told).unwrap().len() < (1 << 20) - 1024);
    }

    #[test]
    fn what_clients_hear_of_a_damaged_share_names_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), None, 0).unwrap();
        store.keep("m", OWNER, [0; 32], b"", b"x").unwrap();
        std::fs::write(store.path("m", 1), "short").unwrap();
        let error = store.load("m", None).err().unwrap().to_string();
        assert!(error.contains("'m' version 1") && !error.contains(folder.path().to_str().unwrap()), "{error}");
    }
}
