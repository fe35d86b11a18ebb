//! An endpoint's key and certificate.

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// SHA-256 of a certificate's public key (its SubjectPublicKeyInfo, DER). A renewed
/// certificate of the same key keeps its fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub from: SystemTime,
    /// To.
    pub until: SystemTime,
}

/// A key and a self-signed certificate for it. No `Debug`: it holds a private key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    /// PKCS #8, DER.
    key: Zeroizing<Vec<u8>>,
    fingerprint: Fingerprint,
    validity: Validity,
}

/// What is wrong with the files of an identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path}: {reason}; make a new identity")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A private key that others than its owner can read.
    #[error("{path} can be read by others than its owner; chmod 600 it, and think whether it has been read")]
    Readable {
        /// The file.
        path: PathBuf,
    },
    /// An identity is there already.
    #[error("{path} exists already; to renew its certificate and keep its fingerprint, ask for that")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The key could not be made.
    #[error("no key could be made: {0}")]
    Generate(String),
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

impl Identity {
    /// A new P-256 key with a certificate for `name`.
    ///
    /// **Errors:** [`IdentityError::Generate`].
    pub fn create(name: &str, validity: Validity) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(generate)?;
        Self::certify(&key, name, validity)
    }

    /// The same key, and so the same fingerprint, with a new certificate.
    ///
    /// **Errors:** [`IdentityError::Generate`].
    pub fn renew(&self, name: &str, validity: Validity) -> Result<Self, IdentityError> {
        let der = PrivatePkcs8KeyDer::from(self.key.as_slice());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(generate)?;
        Self::certify(&key, name, validity)
    }

    fn certify(key: &KeyPair, name: &str, validity: Validity) -> Result<Self, IdentityError> {
        let mut params = CertificateParams::new(vec![]).map_err(generate)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = validity.from.into();
        params.not_after = validity.until.into();
        let certificate = params.self_signed(key).map_err(generate)?.der().clone();
        Self::new(certificate, Zeroizing::new(key.serialize_der())).map_err(IdentityError::Generate)
    }

    fn new(certificate: CertificateDer<'static>, key: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        let (fingerprint, validity) = inspect(&certificate)?;
        Ok(Self { certificate, key, fingerprint, validity })
    }

    /// Reads the identity kept in `folder`.
    ///
    /// **Errors:** [`IdentityError::Io`], [`IdentityError::Unreadable`]; [`IdentityError::Readable`] unless the
    /// key's file [is private](is_private).
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(CERTIFICATE);
        let unreadable = |path: &Path, reason: String| IdentityError::Unreadable { path: path.to_owned(), reason };
        let pem = std::fs::read(&path).map_err(|source| IdentityError::Io { path: path.clone(), source })?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|e| unreadable(&path, e.to_string()))?;
        let key_path = folder.join(KEY);
        let io = |source| IdentityError::Io { path: key_path.clone(), source };
        if !is_private(&std::fs::metadata(&key_path).map_err(io)?) {
            return Err(IdentityError::Readable { path: key_path });
        }
        let pem = Zeroizing::new(std::fs::read(&key_path).map_err(io)?);
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|e| unreadable(&key_path, e.to_string()))?;
        let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        let pair =
            KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key.as_slice()), &PKCS_ECDSA_P256_SHA256);
        let pair = pair.map_err(|e| unreadable(&key_path, e.to_string()))?;
        let identity = Self::new(certificate, key).map_err(|reason| unreadable(&path, reason))?;
        let same = identity.fingerprint == Fingerprint::of(&rcgen::PublicKeyData::subject_public_key_info(&pair));
        same.then_some(identity).ok_or_else(|| unreadable(&path, "the certificate is not for the key beside it".into()))
    }

    /// Writes `certificate.pem` and `key.pem` (readable by their owner only) into `folder`.
    /// A folder that holds an identity is left alone unless `renewed`; then only its
    /// certificate is replaced.
    ///
    /// **Errors:** [`IdentityError::Exists`], [`IdentityError::Io`].
    pub fn save(&self, folder: &Path, renewed: bool) -> Result<(), IdentityError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let key = folder.join(KEY);
        if !renewed {
            match write_private(&key, &pem("PRIVATE KEY", &self.key)) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    return Err(IdentityError::Exists { path: key });
                }
                written => written.map_err(io(&key))?,
            }
        }
        let certificate = folder.join(CERTIFICATE);
        std::fs::write(&certificate, pem("CERTIFICATE", &self.certificate).as_bytes()).map_err(io(&certificate))
    }

    /// What others pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec()))
    }
}

/// What a certificate says of its key and its time.
pub(super) fn inspect(certificate: &CertificateDer<'_>) -> Result<(Fingerprint, Validity), String> {
    let (_, x509) = x509_parser::parse_x509_certificate(certificate).map_err(|e| e.to_string())?;
    let time = |t: x509_parser::time::ASN1Time| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(t.timestamp()).unwrap_or(0))
    };
    let validity = Validity { from: time(x509.validity().not_before), until: time(x509.validity().not_after) };
    Ok((Fingerprint::of(x509.public_key().raw), validity))
}

/// Whether a key's file is for its owner alone. Its group may read what root owns: so do secrets come into a
/// container that does not run as root.
#[cfg(unix)]
pub fn is_private(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    private(file.mode(), file.uid())
}

/// Whether a key's file is for its owner alone; not looked at here.
#[cfg(not(unix))]
pub fn is_private(_: &std::fs::Metadata) -> bool {
    true
}

#[cfg(unix)]
fn private(mode: u32, owner: u32) -> bool {
    let others = if owner == 0 { 0o037 } else { 0o077 };
    mode & others == 0
}

#[cfg(unix)]
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(not(unix))]
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32, i: u32| char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]);
    let mut text = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().enumerate().fold(0u32, |bits, (i, &b)| bits | u32::from(b) << (16 - 8 * i));
            let digits = group.len() as u32 + 1;
            (0..4).for_each(|i| text.push(if i < digits { digit(bits, i) } else { '=' }));
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn generate(error: rcgen::Error) -> IdentityError {
    IdentityError::Generate(error.to_string())
}

impl Validity {
    /// The most days that are given: a hundred years. What ends after the year 9999 cannot be written down.
    pub const MOST_DAYS: u32 = 36_500;

    /// From an hour ago, for clocks that differ, for `days`, of which there are at most
    /// [`MOST_DAYS`](Self::MOST_DAYS).
    pub fn days(days: u32) -> Self {
        let (now, days) = (SystemTime::now(), days.min(Self::MOST_DAYS));
        Self { from: now - Duration::from_secs(3600), until: now + Duration::from_secs(u64::from(days) * 86_400) }
    }
}

impl Fingerprint {
    pub(super) fn of(public_key: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, public_key).as_ref());
        Self(bytes)
    }
}

const PREFIX: &str = "sha256:";

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no fingerprint: it is 'sha256:' and 64 hexadecimal digits")]
pub struct ParseFingerprintError(String);

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseFingerprintError(text.chars().take(80).collect());
        let digits = text.trim().strip_prefix(PREFIX).ok_or_else(error)?;
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| error())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_round_trip_and_bad_ones_are_refused() {
        let print = Fingerprint([0xa5; 32]);
        assert_eq!(print.to_string().parse(), Ok(print));
        for bad in ["", "sha256:", "sha256:zz", &"a".repeat(64), &format!("sha256:+{}", "a".repeat(63))] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_validity_beyond_all_measure_is_cut() {
        let longest = Identity::create("hospital", Validity::days(u32::MAX)).unwrap();
        let century = Duration::from_secs(u64::from(Validity::MOST_DAYS) * 86_400);
        assert!(longest.validity().until <= SystemTime::now() + century);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_could_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let (user, root) = (10_001, 0);
        assert!(private(0o100_600, user) && private(0o100_400, root) && private(0o100_640, root));
        for (mode, owner) in [(0o640, user), (0o604, user), (0o644, root), (0o660, root), (0o601, root)] {
            assert!(!private(0o100_000 | mode, owner), "{mode:o} of {owner}");
        }
        let folder = std::env::temp_dir().join(format!("subrosa-private-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Identity::create("hospital", Validity::days(30)).unwrap().save(&folder, false).unwrap();
        let chmod = |mode| std::fs::set_permissions(folder.join(KEY), std::fs::Permissions::from_mode(mode)).unwrap();
        chmod(0o644);
        let error = Identity::load(&folder).err().unwrap().to_string();
        assert!(error.contains("key.pem") && error.contains("chmod 600"), "{error}");
        chmod(0o400);
        assert!(Identity::load(&folder).is_ok());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_identity_survives_its_files_and_a_renewal_keeps_its_fingerprint() {
        let folder = std::env::temp_dir().join(format!("subrosa-identity-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let made = Identity::create("hospital", Validity::days(30)).unwrap();
        made.save(&folder, false).unwrap();
        let read = Identity::load(&folder).unwrap();
        assert_eq!(read.fingerprint(), made.fingerprint());
        assert!(matches!(made.save(&folder, false), Err(IdentityError::Exists { .. })));
        let renewed = read.renew("hospital", Validity::days(300)).unwrap();
        renewed.save(&folder, true).unwrap();
        let read = Identity::load(&folder).unwrap();
        assert_eq!(read.fingerprint(), made.fingerprint());
        assert!(read.validity().until > made.validity().until);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.join(KEY)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // A certificate of another key.
        let other = Identity::create("vendor", Validity::days(30)).unwrap();
        std::fs::write(folder.join(CERTIFICATE), pem("CERTIFICATE", &other.certificate).as_bytes()).unwrap();
        assert!(matches!(Identity::load(&folder), Err(IdentityError::Unreadable { .. })));
        std::fs::write(folder.join(CERTIFICATE), "nonsense").unwrap();
        assert!(matches!(Identity::load(&folder), Err(IdentityError::Unreadable { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
