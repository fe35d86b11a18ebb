//! Shares of models at rest, encrypted.
//!
//! `models/NAME/VERSION.share` is a magic number, then one AES-256-GCM box of the sharing's
//! id, the card and the share. Name, version and the party's number are authenticated with
//! it, so a file put in another's place is refused. The key is 32 random bytes in
//! `store.key`, readable by its owner only; a service manager may supply it from elsewhere.
//! It guards a stolen disk or backup, not a machine whose administrator is the thief: that
//! machine's share is in its memory anyway, and is one share.

use super::config::check_name;
use crate::{Error, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use std::io::Write;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"SROSHAR1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// One party's models.
pub(super) struct Store {
    folder: PathBuf,
    key: RandomizedNonceKey,
    party: usize,
}

/// A model's share as kept. No `Debug`: it holds a share.
pub(super) struct Kept {
    pub(super) version: u32,
    pub(super) sharing: [u8; 32],
    pub(super) card: Vec<u8>,
    pub(super) share: Zeroizing<Vec<u8>>,
}

impl Store {
    /// The store in `folder`, made if it is not there, with the key in `key_file` or in the
    /// folder itself.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Misuse`] for a file that is no key.
    pub(super) fn open(folder: &Path, key_file: Option<&Path>, party: usize) -> Result<Self> {
        std::fs::create_dir_all(folder.join("models")).map_err(|e| Error::io("create", folder, &e))?;
        let own = folder.join("store.key");
        let key = match key_file {
            Some(path) => read_key(path)?,
            None if own.exists() => read_key(&own)?,
            None => make_key(&own)?,
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key)
            .map_err(|_| Error::misuse("the store's key cannot be used", "give 32 bytes"))?;
        let store = Self { folder: folder.to_owned(), key, party };
        store.sweep();
        Ok(store)
    }

    /// Keeps a share under the next version of `name`, which is returned. All or nothing:
    /// a full disk leaves what was there before.
    ///
    /// **Errors:** [`Error::Io`].
    pub(super) fn keep(&self, name: &str, sharing: [u8; 32], card: &[u8], share: &[u8]) -> Result<u32> {
        check_name(name)?;
        let folder = self.folder.join("models").join(name);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, &e))?;
        let version = self.versions(name).last().copied().unwrap_or(0) + 1;
        let path = self.path(name, version);
        let sealed = self.seal(name, version, sharing, card, share)?;
        let temporary = path.with_extension("part");
        let written = write_whole(&temporary, &sealed).and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&temporary);
            return Err(Error::io("keep the share in", &path, &error));
        }
        Ok(version)
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
            let message =
                format!("{} was changed, or is not this party's, or the store's key is another", path.display());
            Error::misuse(message, "restore it from a backup, or provision the model again")
        })
    }

    /// Forgets one version of `name`, or all; returns how many files went.
    ///
    /// **Errors:** [`Error::Io`].
    pub(super) fn remove(&self, name: &str, version: Option<u32>) -> Result<u32> {
        check_name(name)?;
        let mut removed = 0;
        for v in self.versions(name).into_iter().filter(|v| version.is_none_or(|w| w == *v)) {
            let path = self.path(name, v);
            std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Every model's name and versions, oldest first.
    pub(super) fn list(&self) -> Vec<(String, Vec<u32>)> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("models")) else { return Vec::new() };
        let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        let mut models: Vec<_> = names.map(|n| (n.clone(), self.versions(&n))).filter(|m| !m.1.is_empty()).collect();
        models.sort();
        models
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

    fn seal(&self, name: &str, version: u32, sharing: [u8; 32], card: &[u8], share: &[u8]) -> Result<Vec<u8>> {
        let mut body = Vec::with_capacity(64 + card.len() + share.len());
        body.extend(sharing);
        body.extend((card.len() as u64).to_le_bytes());
        body.extend(card);
        body.extend(share);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(self.place(name, version)), &mut body)
            .map_err(|_| Error::misuse("the share could not be encrypted", ""))?;
        Ok([MAGIC.as_slice(), nonce.as_ref(), &body].concat())
    }

    fn unseal(&self, name: &str, version: u32, sealed: Vec<u8>) -> Option<Kept> {
        let (nonce, body) = sealed.strip_prefix(MAGIC)?.split_first_chunk::<NONCE_BYTES>()?;
        let mut body = Zeroizing::new(body.to_vec());
        let place = Aad::from(self.place(name, version));
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), place, &mut body).ok()?;
        let (sharing, rest) = opened.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (card, share) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some(Kept { version, sharing: *sharing, card: card.to_vec(), share: Zeroizing::new(share.to_vec()) })
    }
}

fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
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

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_versioned_encrypted_and_bound_to_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), None, 1).unwrap();
        assert_eq!(store.keep("lenet", [1; 32], b"card one", b"a share that must not be seen").unwrap(), 1);
        assert_eq!(store.keep("lenet", [2; 32], b"card two", b"another").unwrap(), 2);
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
        assert_eq!(store.remove("lenet", Some(2)).unwrap(), 1);
        assert_eq!(store.list(), [("lenet".to_owned(), vec![1])]);
    }

    #[test]
    fn an_interrupted_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), None, 0).unwrap();
        store.keep("m", [0; 32], b"", b"x").unwrap();
        let part = folder.path().join("models/m/2.part");
        std::fs::write(&part, "half").unwrap();
        let store = Store::open(folder.path(), None, 0).unwrap();
        assert!(!part.exists() && store.load("m", None).unwrap().version == 1);
    }
}
