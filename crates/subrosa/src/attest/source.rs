//! Where a program inside trusted hardware gets evidence from: files of Gramine or of Linux, or
//! Nitro's security module.
//!
//! **Verified on hardware by: nobody yet.** The tests imitate both file systems.

use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use subrosa_tee::evidence::{MAX_COLLATERAL, MAX_EVIDENCE};
use subrosa_tee::{Bound, Collateral, Evidence, SnpCollateral};

/// Where evidence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An SGX enclave under Gramine: `/dev/attestation`.
    ///
    /// **Source:** <https://gramine.readthedocs.io/en/stable/attestation.html>
    Gramine(PathBuf),
    /// A TDX or SEV-SNP virtual machine under Linux 6.7 or later.
    ///
    /// **Source:** `Documentation/ABI/testing/configfs-tsm-report` of Linux.
    ConfigfsTsm(PathBuf),
    /// An AWS Nitro enclave, by its security module. Asking it takes the feature `nitro`.
    ///
    /// **Source:** <https://github.com/aws/aws-nitro-enclaves-nsm-api>.
    Nitro,
}

/// Evidence, and as much of its collateral as the machine itself can give: for SGX and TDX
/// there is none, it comes from Intel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The evidence.
    pub evidence: Evidence,
    /// Its collateral, if the host gave it.
    pub collateral: Option<Collateral>,
}

impl Source {
    /// What this machine has, if anything.
    ///
    /// Under `gramine-direct` there is no attestation, so there is none here: what runs there
    /// is not protected.
    pub fn detect() -> Option<Self> {
        Self::detect_below(Path::new("/"))
    }

    fn detect_below(root: &Path) -> Option<Self> {
        let gramine = root.join("dev/attestation");
        let tsm = root.join("sys/kernel/config/tsm/report");
        match () {
            () if gramine.join("attestation_type").exists() => Some(Self::Gramine(gramine)),
            () if tsm.is_dir() => Some(Self::ConfigfsTsm(tsm)),
            () if root.join("dev/nsm").exists() => Some(Self::Nitro),
            () => None,
        }
    }

    /// Evidence about `bound`.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Misuse`] where attestation is switched off, or what
    /// came is not of the kind that was announced.
    pub fn attest(&self, bound: &Bound) -> Result<Made> {
        match self {
            Self::Gramine(folder) => gramine(folder, &bound.report_data()),
            Self::ConfigfsTsm(folder) => configfs_tsm(folder, &bound.report_data()),
            Self::Nitro => nitro(&bound.report_data()),
        }
    }
}

fn gramine(folder: &Path, report_data: &[u8; 64]) -> Result<Made> {
    let kind = read(&folder.join("attestation_type"))?;
    if kind.trim_ascii() != b"dcap" {
        let message = format!("this enclave attests by '{}', not by dcap", String::from_utf8_lossy(&kind).trim());
        return Err(Error::misuse(message, "set sgx.remote_attestation = \"dcap\" in its manifest"));
    }
    write(&folder.join("user_report_data"), report_data)?;
    recognised(read(&folder.join("quote"))?, None)
}

fn configfs_tsm(folder: &Path, report_data: &[u8; 64]) -> Result<Made> {
    let entry = Entry::make(folder)?;
    report(&entry.0, report_data)
}

/// A report through an entry that nobody has used before.
fn report(entry: &Path, report_data: &[u8; 64]) -> Result<Made> {
    write(&entry.join("inblob"), report_data)?;
    let provider = read(&entry.join("provider"))?;
    let evidence = read(&entry.join("outblob"))?;
    let table = super::read(&entry.join("auxblob"), MAX_COLLATERAL).ok().filter(|table| !table.is_empty());
    // A new entry counts from 0, and each write counts one up. Another number means that
    // somebody else wrote, and the report may be about something else.
    let generation = read(&entry.join("generation"))?;
    if generation.trim_ascii() != b"1" {
        return Err(Error::misuse("another program wrote into this program's report entry", "ask again"));
    }
    let collateral = match provider.trim_ascii() {
        // Where a host gives no table, the certificate is fetched from AMD.
        b"sev_guest" => table.and_then(|table| SnpCollateral::from_table(&table).ok()).map(Collateral::Snp),
        b"tdx_guest" => None,
        other => {
            let message = format!("the report is by '{}'", String::from_utf8_lossy(other));
            return Err(Error::misuse(message, "tdx_guest and sev_guest are known"));
        }
    };
    recognised(evidence, collateral)
}

/// A document whose `user_data` is `report_data`. It carries its certificates.
#[cfg(feature = "nitro")]
fn nitro(report_data: &[u8; 64]) -> Result<Made> {
    use aws_nitro_enclaves_nsm_api::api::{Request, Response};
    use aws_nitro_enclaves_nsm_api::driver::{nsm_exit, nsm_init, nsm_process_request};
    let refused = |why: String| Error::misuse(format!("the Nitro security module refuses: {why}"), "");
    let device = nsm_init();
    if device < 0 {
        return Err(refused("/dev/nsm cannot be opened".to_owned()));
    }
    let user_data = Some(report_data.to_vec().into());
    let answer = nsm_process_request(device, Request::Attestation { user_data, nonce: None, public_key: None });
    nsm_exit(device);
    match answer {
        Response::Attestation { document } => recognised(document, Some(Collateral::Nitro)),
        // The module's answers may grow; what is not a document is none.
        other => Err(refused(format!("{other:?}"))),
    }
}

#[cfg(not(feature = "nitro"))]
fn nitro(_report_data: &[u8; 64]) -> Result<Made> {
    let message = "this build does not speak to the Nitro security module";
    Err(Error::misuse(message, "build it with --features nitro"))
}

fn recognised(bytes: Vec<u8>, collateral: Option<Collateral>) -> Result<Made> {
    let evidence = Evidence::recognise(&bytes)
        .map_err(|reason| Error::misuse(format!("the hardware gave what is no evidence: {reason}"), ""))?;
    Ok(Made { evidence, collateral })
}

/// A report entry of our own, removed when dropped.
struct Entry(PathBuf);

impl Entry {
    fn make(folder: &Path) -> Result<Self> {
        let mut name = [0; 8];
        let seed = subrosa_core::Seed::random().map_err(subrosa_mpc::Error::from)?;
        name.copy_from_slice(&seed.expose()[..8]);
        let path = folder.join(format!("subrosa-{:016x}", u64::from_le_bytes(name)));
        fs::create_dir(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(Self(path))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    super::read(path, MAX_EVIDENCE)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    // These files exist already and take one write.
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|mut f| std::io::Write::write_all(&mut f, bytes)).map_err(|e| Error::io("write", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use subrosa_tee::binding::{Freshness, Role, Suite};

    fn bound() -> Bound {
        Bound {
            role: Role::Serve,
            suite: Suite::X25519ChaCha20,
            channel_key: [1; 32],
            tls_key: None,
            freshness: Freshness::Nonce([2; 32]),
            data_policy: None,
            model_policy: None,
            model: [4; 32],
            configuration: [5; 32],
            exporter: None,
        }
    }

    fn vector(name: &str) -> Vec<u8> {
        fs::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tee/vectors")).join(name)).unwrap()
    }

    #[test]
    fn gramine_is_written_to_and_read_from() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("dev/attestation");
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(Source::detect_below(root.path()), None);
        fs::write(folder.join("attestation_type"), "dcap\n").unwrap();
        fs::write(folder.join("user_report_data"), [0; 64]).unwrap();
        fs::write(folder.join("quote"), vector("dcap/sgx_quote")).unwrap();
        let source = Source::detect_below(root.path()).unwrap();
        assert_eq!(source, Source::Gramine(folder.clone()));
        let made = source.attest(&bound()).unwrap();
        assert_eq!(made.evidence, Evidence::Dcap(vector("dcap/sgx_quote")));
        assert_eq!(fs::read(folder.join("user_report_data")).unwrap(), bound().report_data());
        fs::write(folder.join("attestation_type"), "none").unwrap();
        assert!(source.attest(&bound()).unwrap_err().to_string().contains("not by dcap"));
    }

    #[test]
    fn linux_reports_are_taken_if_nobody_else_wrote() {
        let entry = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(entry.path().join(name), bytes).unwrap();
        put("inblob", &[]);
        put("provider", b"tdx_guest\n");
        put("outblob", &vector("dcap/tdx_quote"));
        put("generation", b"1\n");
        let made = report(entry.path(), &[7; 64]).unwrap();
        assert_eq!(made, Made { evidence: Evidence::Dcap(vector("dcap/tdx_quote")), collateral: None });
        assert_eq!(fs::read(entry.path().join("inblob")).unwrap(), [7; 64]);
        put("generation", b"2\n");
        assert!(report(entry.path(), &[7; 64]).unwrap_err().to_string().contains("another program"));
        put("generation", b"1\n");
        put("provider", b"arm_cca_guest\n");
        assert!(report(entry.path(), &[7; 64]).unwrap_err().to_string().contains("arm_cca_guest"));
        put("provider", b"sev_guest\n");
        put("outblob", b"no report");
        assert!(report(entry.path(), &[7; 64]).unwrap_err().to_string().contains("no evidence"));
    }

    #[test]
    fn machines_without_hardware_have_no_source() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Source::detect_below(root.path()), None);
        fs::create_dir(root.path().join("dev")).unwrap();
        fs::write(root.path().join("dev/nsm"), []).unwrap();
        assert_eq!(Source::detect_below(root.path()), Some(Source::Nitro));
        // A file of that name attests nothing.
        assert!(matches!(Source::Nitro.attest(&bound()), Err(Error::Misuse { .. })));
        let missing = Source::Gramine(root.path().join("nowhere")).attest(&bound());
        assert!(matches!(missing, Err(Error::Io { .. })));
        // An ordinary folder makes no entries by itself, and leaves nothing behind.
        let folder = root.path().join("sys/kernel/config/tsm/report");
        fs::create_dir_all(&folder).unwrap();
        let source = Source::detect_below(root.path()).unwrap();
        assert_eq!(source, Source::ConfigfsTsm(folder.clone()));
        assert!(matches!(source.attest(&bound()), Err(Error::Io { .. })));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
