//! Results to files: `.npy`, `.json`, `.csv`.

use super::npy;
use crate::output::Output;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A format that outputs can be saved in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NumPy, the first output.
    Npy,
    /// JSON, every output.
    Json,
    /// CSV: one line a sample with its label and values, the first output.
    Csv,
}

impl Format {
    /// The format for a path's extension. Ask before the work, not after it.
    ///
    /// **Errors:** [`Error::Misuse`] naming the formats there are.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            Some(_) | None => Err(Error::misuse(
                format!("cannot tell in what format to write {}", path.display()),
                "end its name in .npy, .json or .csv",
            )),
        }
    }
}

/// Saves `output`; the file appears whole or not at all.
///
/// **Errors:** [`Error::Misuse`] for an unknown extension, [`Error::Io`].
pub fn output(path: impl AsRef<Path>, output: &Output) -> Result<()> {
    let path = path.as_ref();
    let content = match Format::of(path)? {
        Format::Npy => npy_of(output),
        Format::Json => json_of(output)?,
        Format::Csv => csv_of(output).into_bytes(),
    };
    write_whole(path, &content)
}

/// Whether a file can be put at `path`: ask before the work, not after it.
///
/// **Errors:** [`Error::Io`] if its folder is not there, or `path` is itself a folder.
pub fn check_folder(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() && !path.is_dir() && path.file_name().is_some() {
        return Ok(());
    }
    let what =
        if path.is_dir() { "it is a folder".to_owned() } else { format!("there is no folder {}", folder.display()) };
    Err(Error::Io { message: format!("cannot write {}: {what}", path.display()), hint: Some("check the path".into()) })
}

/// Writes `content` beside `path` and renames it there: readers see the old file or the
/// new one, never a part.
///
/// **Errors:** [`Error::Io`]; nothing is left behind then.
pub fn write_whole(path: impl AsRef<Path>, content: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let temporary = beside(path);
    let written = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|e| {
        // The file may never have been made; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path, &e)
    })
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn npy_of(output: &Output) -> Vec<u8> {
    let dims = output.dims(0);
    npy::write(&dims, output.values.first().map_or(&[], Vec::as_slice))
}

fn json_of(output: &Output) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(output).map_err(|e| Error::Io { message: format!("cannot write JSON: {e}"), hint: None })
}

fn csv_of(output: &Output) -> String {
    let width = output.sample_len(0);
    let labels = output.labels();
    let columns: Vec<_> = (0..width).map(|i| format!("output_{i}")).collect();
    let mut text = format!("sample,label,{}\n", columns.join(","));
    for sample in 0..output.samples {
        let label = labels.get(sample).map(i64::to_string).unwrap_or_default();
        let values: Vec<_> = output.sample(0, sample).iter().map(f32::to_string).collect();
        text += &format!("{sample},{label},{}\n", values.join(","));
    }
    text
}
