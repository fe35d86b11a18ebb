//! `subrosa serve-key NAME`: a key for a client of `serve --api-keys`.

use super::library;
use crate::failure::Result;
use crate::print;
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use subrosa::Error;
use subrosa_serve::NewKey;

/// Whose key.
#[derive(Args)]
pub(crate) struct ServeKey {
    /// The client's name, as metrics tell it
    name: String,
    /// Add the client's line to this file, and print the key alone
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ServeKey {
    pub(crate) fn run(self) -> Result<()> {
        let NewKey { key, line } = NewKey::make(&self.name).map_err(library)?;
        if let Some(path) = &self.append {
            append(path, &line)?;
        }
        print::log("note: the key is shown this once; the file of --api-keys holds its SHA-256 alone");
        match (self.json, &self.append) {
            (true, _) => print::json(&json!({ "name": self.name, "key": key, "line": line })),
            (false, Some(_)) => print::out(&format!("{key}\n")),
            (false, None) => print::out(&format!("{key}\n{line}\n")),
        }
    }
}

fn append(path: &Path, line: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.map_err(|e| Error::Io { message: format!("cannot write {}: {e}", path.display()), hint: None }.into())
}
