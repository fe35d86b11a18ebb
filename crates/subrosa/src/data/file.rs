//! Whole files into memory, bounded, and gzip.

use crate::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest file, and the largest content of a packed file (bytes).
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// Reads a regular file of at most [`MAX_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::io("read", path, &e))?;
    let meta = file.metadata().map_err(|e| Error::io("read", path, &e))?;
    if meta.is_dir() {
        return Err(Error::misuse(format!("{} is a directory", path.display()), "name a file in it"));
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, &e))?;
    if read as u64 > MAX_BYTES {
        return Err(Error::input(format!("{} is larger than 1 GiB", path.display()), "split it"));
    }
    Ok(bytes)
}

/// The content of a gzipped file and its name without `.gz`; nothing to do for others.
pub(crate) fn unpack<'a>(name: &'a str, bytes: &[u8]) -> Result<(&'a str, Option<Vec<u8>>)> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        let hint = "unpack it, or download it again";
        return match name.ends_with(".gz") {
            true => Err(Error::input("it is named .gz but is not gzipped", hint)),
            false => Ok((name, None)),
        };
    }
    let mut content = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes).take(MAX_BYTES + 1).read_to_end(&mut content);
    match read {
        Err(_) => Err(Error::input("the gzipped content is damaged or cut short", "download it again")),
        Ok(n) if n as u64 > MAX_BYTES => Err(Error::input("it unpacks to more than 1 GiB", "split it")),
        Ok(_) => Ok((name.strip_suffix(".gz").unwrap_or(name), Some(content))),
    }
}
