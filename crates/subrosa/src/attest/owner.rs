//! What a model's owner does before anybody serves it: seals it under a key for the broker.

use super::{Trust, read};
use crate::data::save::write_whole;
use crate::{Error, Model, Result};
use std::path::Path;
use subrosa_tee::seal;

/// Encrypts an ONNX file for programs that the owner's policy accepts. The key goes into a file
/// of its own, for the broker alone.
///
/// **Errors:** [`Error::Io`]; [`Error::Model`] for a file that could not be served anyway;
/// [`Error::Misuse`] if the key's file exists.
pub fn seal_model(model: &Path, version: u64, owner: &Trust, output: &Path, key: &Path) -> Result<()> {
    Model::open(model)?;
    let bytes = std::fs::read(model).map_err(|e| Error::io("read", model, &e))?;
    let (secret, sealed) = seal::seal(&bytes, version, owner.policy().id())?;
    write_secret(key, secret.expose())?;
    write_whole(output, &sealed)
}

/// Whether a file starts as a sealed model does.
///
/// **Errors:** [`Error::Io`].
pub fn is_sealed(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut start = Vec::new();
    let file = std::fs::File::open(path).and_then(|f| f.take(SEALED_START).read_to_end(&mut start));
    file.map_err(|e| Error::io("read", path, &e))?;
    Ok(seal::header(&start).is_ok())
}

/// All of a sealed model.
pub(super) fn read_sealed(path: &Path) -> Result<Vec<u8>> {
    read(path, MAX_SEALED)
}

/// A new file that only its owner may read.
fn write_secret(path: &Path, secret: &[u8]) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).and_then(|mut file| {
        std::io::Write::write_all(&mut file, secret)?;
        file.sync_all()
    });
    file.map_err(|e| {
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            let message = format!("{} exists already", path.display());
            return Error::misuse(message, "name a new file: a key is never replaced");
        }
        Error::io("write", path, &e)
    })
}

/// The header's length.
const SEALED_START: u64 = 88;

/// ONNX files end at 2 GiB; the seal adds 16 bytes to each 64 KiB.
const MAX_SEALED: usize = (2 << 30) + (1 << 20);
