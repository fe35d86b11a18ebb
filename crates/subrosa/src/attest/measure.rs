//! What a build is expected to measure as, as far as files tell.
//!
//! - A Nitro image: its registers, computed.
//! - A Gramine manifest: whether it is sound, and the hashes of the files that it has measured.
//!   MRENCLAVE itself also covers Gramine's own pages as `gramine-sgx-sign` lays them out; it is
//!   read from the signature file which that writes, not computed again.
//! - A program: its hash, and whether it is linked statically.
//!
//! The launch measurements of TDX and SEV-SNP machines depend on their firmware and are not
//! computed.

use super::read;
use crate::model::hex;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use subrosa_tee::gramine::lint;
use subrosa_tee::{EifMeasurement, sha256};

/// What was found of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// The file.
    pub file: String,
    /// What it is.
    pub kind: &'static str,
    /// Names and values, those of a policy first.
    pub values: Vec<(String, String)>,
    /// What must be mended before it is trusted.
    pub findings: Vec<String>,
}

impl Measured {
    /// Measures a file of whatever kind it is.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Input`] for an image or signature that is damaged.
    pub fn of(path: &Path) -> Result<Self> {
        let bytes = read(path, MAX_FILE)?;
        let named = |kind| Self {
            file: path.display().to_string(),
            kind,
            values: vec![("SHA-256".to_owned(), hex(&sha256(&bytes)))],
            findings: Vec::new(),
        };
        match bytes.as_slice() {
            [b'.', b'e', b'i', b'f', ..] => named("Nitro enclave image").eif(&bytes).map_err(|e| e.in_file(path)),
            [0x7f, b'E', b'L', b'F', ..] => Ok(named("program").program(&bytes)),
            [0x06, 0, 0, 0, 0xe1, ..] if bytes.len() == SIGSTRUCT => {
                Ok(named("SGX enclave signature").sigstruct(&bytes))
            }
            _ => match str::from_utf8(&bytes) {
                Ok(text) if path.to_string_lossy().ends_with(".manifest") => {
                    named("Gramine manifest").manifest(text, path)
                }
                Ok(_) | Err(_) => Ok(named("file")),
            },
        }
    }

    fn eif(mut self, bytes: &[u8]) -> Result<Self> {
        let measured = EifMeasurement::of(bytes).map_err(|why| Error::input(why, ""))?;
        let registers = measured.registers().map(|(name, value)| (name.to_owned(), value));
        self.values.splice(0..0, registers);
        Ok(self)
    }

    fn program(mut self, bytes: &[u8]) -> Self {
        if interpreted(bytes) {
            self.findings.push(
                "it is linked dynamically: its libraries must be measured too; build it with \
                 -C target-feature=+crt-static"
                    .to_owned(),
            );
        }
        self
    }

    /// Intel SDM volume 3D, "SIGSTRUCT": the fields that a policy names. Its signature is not
    /// verified: the processor does that.
    fn sigstruct(mut self, bytes: &[u8]) -> Self {
        let field = |at: usize, length: usize| bytes.get(at..at + length).unwrap_or_default();
        let number = |at: usize| field(at, 2).iter().rev().fold(0u16, |n, b| n << 8 | u16::from(*b)).to_string();
        let debug = field(928, 1).first().is_some_and(|flags| flags & 2 != 0);
        if debug {
            self.findings.push("it asks for a debug enclave, into which its host can look".to_owned());
        }
        let found = [
            ("MRENCLAVE", hex(field(960, 32))),
            ("MRSIGNER", hex(&sha256(field(128, 384)))),
            ("ISVPRODID", number(1024)),
            ("ISVSVN", number(1026)),
        ];
        self.values.splice(0..0, found.map(|(name, value)| (name.to_owned(), value)));
        self
    }

    fn manifest(mut self, text: &str, path: &Path) -> Result<Self> {
        self.findings.extend(lint(text).iter().map(ToString::to_string));
        let folder = path.parent().unwrap_or(Path::new("."));
        for uri in trusted(text) {
            let Some(name) = uri.strip_prefix("file:") else {
                self.findings.push(format!("{uri} is no file"));
                continue;
            };
            let content = read(&folder.join(name), MAX_FILE)?;
            self.values.push((uri.clone(), hex(&sha256(&content))));
            if content.starts_with(b"\x7fELF") && interpreted(&content) {
                self.findings.push(format!("{uri} is linked dynamically: its libraries must be measured too"));
            }
        }
        Ok(self)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.file, self.kind)?;
        for (name, value) in &self.values {
            writeln!(f, "  {name:<24} {value}")?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "  NOT SOUND: {finding}"))
    }
}

/// The trusted files of a manifest.
fn trusted(text: &str) -> Vec<String> {
    let table: Option<toml::Table> = text.parse().ok();
    let files = table.as_ref().and_then(|t| t.get("sgx")?.get("trusted_files")?.as_array());
    files.into_iter().flatten().filter_map(|f| f.as_str().map(str::to_owned)).collect()
}

/// Whether a 64-bit little-endian ELF file names an interpreter (PT_INTERP), as dynamically
/// linked programs do.
fn interpreted(elf: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)))
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((start, size, count)) = headers() else { return false };
    let kind = |i: u64| number(usize::try_from(start.checked_add(i.checked_mul(size)?)?).ok()?, 4);
    (0..count).any(|i| kind(i) == Some(PT_INTERP))
}

const PT_INTERP: u64 = 3;

/// The length of an SGX signature structure.
const SIGSTRUCT: usize = 1808;

/// The largest file that is measured.
const MAX_FILE: usize = 2 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_linted_and_its_files_are_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = subrosa_tee::gramine::Manifest {
            program: "subrosa".to_owned(),
            arguments: Vec::new(),
            files: vec!["lenet.onnx".to_owned()],
            renewed: false,
            memory_mib: 1024,
            threads: 8,
        };
        let path = folder.path().join("subrosa.manifest");
        std::fs::write(&path, manifest.render().unwrap()).unwrap();
        std::fs::write(folder.path().join("lenet.onnx"), b"abc").unwrap();
        assert!(matches!(Measured::of(&path), Err(Error::Io { .. })), "the program is not there");
        // This test itself is linked dynamically or not; both are known.
        let this = std::env::current_exe().unwrap();
        std::fs::copy(&this, folder.path().join("subrosa")).unwrap();
        let measured = Measured::of(&path).unwrap();
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(measured.values.contains(&("file:lenet.onnx".to_owned(), abc.to_owned())));
        assert_eq!(measured.findings.len(), usize::from(interpreted(&std::fs::read(&this).unwrap())));
        std::fs::write(&path, manifest.render().unwrap().replace("sgx.debug = false", "sgx.debug = true")).unwrap();
        assert!(Measured::of(&path).unwrap().to_string().contains("NOT SOUND"));
    }

    #[test]
    fn a_signature_names_its_enclave() {
        let mut bytes = vec![0; SIGSTRUCT];
        bytes[..5].copy_from_slice(&[6, 0, 0, 0, 0xe1]);
        bytes[960..992].copy_from_slice(&[7; 32]);
        bytes[928] = 2;
        bytes[1026] = 9;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let measured = Measured::of(file.path()).unwrap();
        assert_eq!(measured.values[0], ("MRENCLAVE".to_owned(), "07".repeat(32)));
        assert_eq!(measured.values[3], ("ISVSVN".to_owned(), "9".to_owned()));
        assert_eq!(measured.findings.len(), 1);
    }
}
