//! The files of [`roles`](super::roles) on disk.

use crate::{Error, Result};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use subrosa_he::public::MAX_BYTES;
use subrosa_he::{PublicPlan, files};
use tempfile::NamedTempFile;

/// How long a file can be (bytes).
#[derive(Clone, Copy)]
pub(super) struct Most(u64);

impl Most {
    /// A plan, or a secret key and its plan: far more than any.
    pub(super) const PLAN: Self = Self(64 << 20);
    /// Evaluation keys and their plan.
    pub(super) const KEYS: Self = Self(MAX_BYTES + (64 << 20));

    pub(super) fn request(plan: &PublicPlan) -> Self {
        Self(super::request_bytes(plan) as u64)
    }

    pub(super) fn answer(plan: &PublicPlan) -> Self {
        Self(super::answer_bytes(plan) as u64)
    }
}

/// Of a longer file one byte more is read than any can have, and its decoder says what is wrong.
///
/// **Errors:** [`Error::Io`].
pub(super) fn read(path: &Path, most: Most) -> Result<Vec<u8>> {
    let failed = |e: &std::io::Error| Error::io("read", path, e);
    let file = fs::File::open(path).map_err(|e| failed(&e))?;
    let length = file.metadata().map_err(|e| failed(&e))?.len();
    // At once: what a growing vector leaves behind is not wiped. A pipe says nothing of its length.
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(most.0 + 1)).unwrap_or(0));
    file.take(most.0 + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(bytes)
}

/// The file appears whole or not at all, and never in place of a secret key.
///
/// **Errors:** [`Error::Io`], [`Error::Misuse`].
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if files::is_secret_key(&head(path)) {
        return Err(kept(path));
    }
    part(path, bytes, false)?.persist(path).map(drop).map_err(|e| Error::io("write", path, &e.error))
}

/// As [`write`], for its owner alone, and only where there is no file yet.
///
/// **Errors:** [`Error::Io`], [`Error::Misuse`] where there is one.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    part(path, bytes, true)?.persist_noclobber(path).map(drop).map_err(|e| {
        match e.error.kind() == ErrorKind::AlreadyExists {
            true => kept(path),
            false => Error::io("write", path, &e.error),
        }
    })
}

/// A new file beside `path`: nobody else has it open or chose its mode.
fn part(path: &Path, bytes: &[u8], private: bool) -> Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As for any other new file; what is private is its owner's from the beginning.
    #[cfg(unix)]
    if !private {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    #[cfg(not(unix))]
    let _ = private;
    let part = builder.suffix(".part").tempfile_in(folder).map_err(|e| Error::io("write", path, &e))?;
    let mut file = part.as_file();
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| Error::io("write", path, &e))?;
    Ok(part)
}

/// The first bytes of a file; none of one that is not there.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let _ = fs::File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    head
}

fn kept(path: &Path) -> Error {
    let message = format!("{} exists, and a secret key is never overwritten", path.display());
    Error::misuse(message, "name another file, or remove it yourself")
}
