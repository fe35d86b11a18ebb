//! Evidence files, judged without a network, and policies to judge them by.
//!
//! A file can be authentic, and can be about a program that a policy accepts. That it is about
//! the program at the other end of a connection is known only if the 64 bytes that the program
//! chose are the expected ones, so [`Examination`] keeps the three apart.

mod attester;
#[cfg(unix)]
mod broker;
pub mod enclave;
mod link;
mod local;
pub mod measure;
mod owner;
pub mod source;
mod trust;

pub(crate) use attester::not_given;
pub use attester::{Attester, Hardware};
#[cfg(unix)]
pub use broker::{BrokerAt, BrokerConfig, BrokerServer};
pub use enclave::{Enclave, Hosted};
pub use link::{Expected, Inquiry, Link};
pub(crate) use local::Engine;
pub use local::Local;
pub use owner::{is_sealed, seal_model};
pub use subrosa_tee::PolicyId;
pub use subrosa_tee::channel::Owed;
pub use trust::{Peer, Trust};

use crate::model::hex;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use subrosa_tee::evidence::{MAX_COLLATERAL, MAX_EVIDENCE};
pub use subrosa_tee::gramine::Manifest;
use subrosa_tee::policy::{Draft, OwnerKey};
use subrosa_tee::{Claims, Policy, Reason, Stapled, authenticate, date};
use zeroize::Zeroizing;

/// What is to be examined, and by what.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// The evidence: a quote, a report, a document, bare or stapled, binary or hexadecimal.
    pub evidence: PathBuf,
    /// Its collateral, unless it is stapled or needs none.
    pub collateral: Option<PathBuf>,
    /// AMD's revocation list, DER.
    pub revocation_list: Option<PathBuf>,
    /// A signed policy.
    pub policy: Option<PathBuf>,
    /// A policy with a lower serial is not used.
    pub least_serial: u64,
    /// Public keys (hexadecimal) that may sign it.
    pub signers: Vec<String>,
    /// The 64 bytes (hexadecimal) that the program should have chosen.
    pub report_data: Option<String>,
    /// The time of the examination, seconds since 1970.
    pub at: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// How far it got.
    pub verdict: Verdict,
    /// The stable code of the refusal.
    pub code: Option<&'static str>,
    /// The refusal in a sentence.
    pub reason: Option<String>,
    /// The time of the examination.
    pub at: String,
    /// The kind of hardware.
    pub platform: Option<String>,
    /// The policy's name and serial number.
    pub policy: Option<String>,
    /// Whether the expected bytes were found; absent if none were given.
    pub report_data_matches: Option<bool>,
    /// What the evidence says, if it is authentic.
    pub claims: Vec<(String, String)>,
}

/// How far evidence got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Refused.
    Untrusted,
    /// The vendor vouches for it. Nobody has said whether this program is to be trusted.
    Authentic,
    /// The policy accepts it too.
    Accepted,
}

impl Examination {
    /// Whether nothing was refused.
    pub fn passed(&self) -> bool {
        self.verdict != Verdict::Untrusted
    }
}

/// Examines an evidence file.
///
/// **Errors:** [`Error::Io`]; [`Error::Input`] for a policy that is not to be used;
/// [`Error::Misuse`] for keys and bytes that are none. Evidence that is not trusted is no
/// error.
pub fn examine(case: &Case) -> Result<Examination> {
    let expected = case.report_data.as_deref().map(|text| unhex::<64>("--report-data", text)).transpose()?;
    let policy = case.policy.as_deref().map(|path| open_policy(path, &case.signers, case.least_serial)).transpose()?;
    let mut examination = Examination {
        verdict: Verdict::Untrusted,
        code: None,
        reason: None,
        at: date::text(case.at),
        platform: None,
        policy: policy.as_ref().map(|p| format!("{} {}", p.name(), p.serial())),
        report_data_matches: None,
        claims: Vec::new(),
    };
    let evidence = read(&case.evidence, 2 * MAX_EVIDENCE + MAX_COLLATERAL)?;
    let collateral = case.collateral.as_deref().map(|path| read(path, MAX_COLLATERAL)).transpose()?;
    let list = case.revocation_list.as_deref().map(|path| read(path, MAX_COLLATERAL)).transpose()?;
    let judged = Stapled::import(&evidence, collateral.as_deref(), list.as_deref())
        .and_then(|stapled| authenticate(&stapled.evidence, &stapled.collateral, case.at))
        .and_then(|claims| examination.judge(&claims, policy.as_ref(), expected, case.at));
    if let Err(reason) = judged {
        examination.verdict = Verdict::Untrusted;
        examination.code = Some(reason.code());
        examination.reason = Some(reason.to_string());
    }
    Ok(examination)
}

impl Examination {
    fn judge(
        &mut self,
        claims: &Claims,
        policy: Option<&Policy>,
        expected: Option<[u8; 64]>,
        at: u64,
    ) -> std::result::Result<(), Reason> {
        self.platform = Some(claims.platform().to_string());
        self.claims = claims.facts();
        self.verdict = Verdict::Authentic;
        if let Some(policy) = policy {
            policy.judge(claims, at)?;
            self.verdict = Verdict::Accepted;
        }
        self.report_data_matches = expected.map(|expected| claims.report_data() == Some(expected));
        if self.report_data_matches == Some(false) { Err(Reason::Binding) } else { Ok(()) }
    }
}

impl fmt::Display for Examination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(platform) = &self.platform {
            writeln!(f, "{platform} evidence, authentic at {}", self.at)?;
        }
        for (name, value) in &self.claims {
            writeln!(f, "  {name:<24}{value}")?;
        }
        if let (Some(code), Some(reason)) = (self.code, &self.reason) {
            return writeln!(f, "UNTRUSTED ({code}): {reason}");
        }
        match (self.verdict, &self.policy) {
            (Verdict::Accepted, Some(policy)) => writeln!(f, "ACCEPTED by the policy {policy}")?,
            (Verdict::Untrusted | Verdict::Authentic | Verdict::Accepted, _) => {
                writeln!(f, "AUTHENTIC; without a policy, nothing says that this program is to be trusted")?;
            }
        }
        match self.report_data_matches {
            Some(_) => writeln!(f, "It is about what was expected."),
            None => writeln!(f, "It was not compared with any connection: it may be old, or another machine's."),
        }
    }
}

/// Puts evidence and collateral into one file. What is in them is not judged.
///
/// **Errors:** [`Error::Io`]; [`Error::Input`] for what is no evidence.
pub fn staple(evidence: &Path, collateral: Option<&Path>, revocation_list: Option<&Path>, output: &Path) -> Result<()> {
    let bytes = read(evidence, 2 * MAX_EVIDENCE + MAX_COLLATERAL)?;
    let collateral = collateral.map(|path| read(path, MAX_COLLATERAL)).transpose()?;
    let list = revocation_list.map(|path| read(path, MAX_COLLATERAL)).transpose()?;
    let stapled = Stapled::import(&bytes, collateral.as_deref(), list.as_deref());
    let stapled = stapled.map_err(|reason| Error::input(reason.to_string(), "").in_file(evidence))?;
    std::fs::write(output, stapled.to_bytes()).map_err(|e| Error::io("write", output, &e))
}

/// Signs a policy with the 32 bytes in `key`; returns the signer's public key, hexadecimal.
///
/// **Errors:** [`Error::Io`]; [`Error::Input`] for a policy that cannot be used;
/// [`Error::Misuse`] for a file that is no key.
pub fn sign_policy(draft: &Path, key: &Path, output: &Path) -> Result<String> {
    let body = read_text(draft)?;
    let draft = Draft::read(&body).map_err(|e| Error::input(e.to_string(), "").in_file(draft))?;
    let key = OwnerKey::from_bytes(&*secret_key(key)?);
    std::fs::write(output, draft.sign(&key)).map_err(|e| Error::io("write", output, &e))?;
    Ok(hex(&key.public()))
}

/// The public key of the simulator whose secret key is in `key`, hexadecimal: what a policy lists
/// under `simulators`.
///
/// **Errors:** [`Error::Io`]; [`Error::Misuse`] for a file that is no key.
#[cfg(feature = "simulation")]
pub fn simulator_public_key(key: &Path) -> Result<String> {
    let simulator = subrosa_tee::simulation::Simulator::from_bytes(&*secret_key(key)?);
    Ok(hex(&simulator.public_key()))
}

/// The text of a manifest for Gramine.
///
/// **Errors:** [`Error::Misuse`] for names that leave the folder, or sizes that are none.
pub fn manifest(manifest: &Manifest) -> Result<String> {
    manifest.render().map_err(|why| Error::misuse(why, ""))
}

/// The 32 secret bytes of a file.
///
/// **Errors:** [`Error::Io`]; [`Error::Misuse`] for a file that is no key.
fn secret_key(path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    let secret = Zeroizing::new(read(path, 64)?);
    secret.as_slice().try_into().map(Zeroizing::new).map_err(|_| {
        let message = format!("{} is no key: it has {} bytes", path.display(), secret.len());
        Error::misuse(message, "a key is 32 random bytes: head -c 32 /dev/urandom")
    })
}

/// Seconds since 1970 by this machine's clock, on which every decision about dates rests.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn open_policy(path: &Path, signers: &[String], least_serial: u64) -> Result<Policy> {
    let signers = signers.iter().map(|text| unhex("--signer", text)).collect::<Result<Vec<[u8; 32]>>>()?;
    let text = read_text(path)?;
    let policy = Policy::open(&text, &signers).map_err(|e| Error::input(e.to_string(), "").in_file(path))?;
    if policy.serial() < least_serial {
        let message = format!("its serial is {}, older than the {least_serial} asked for", policy.serial());
        return Err(Error::input(message, "get the owner's newest policy").in_file(path));
    }
    Ok(policy)
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = read(path, MAX_COLLATERAL)?;
    String::from_utf8(bytes).map_err(|_| Error::input("it is no text", "a policy is TOML").in_file(path))
}

/// All of a file that is not longer than any genuine one.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).and_then(|f| f.take(limit as u64 + 1).read_to_end(&mut bytes));
    file.map_err(|e| Error::io("read", path, &e))?;
    match bytes.len() > limit {
        true => Err(Error::input(format!("it has more than {limit} bytes"), "no genuine one has").in_file(path)),
        false => Ok(bytes),
    }
}

fn unhex<const N: usize>(flag: &str, text: &str) -> Result<[u8; N]> {
    unhex_bytes(text).ok_or_else(|| Error::misuse(format!("{flag} has not {} hexadecimal digits", 2 * N), ""))
}

fn unhex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: &[u8] = (text.len() == 2 * N).then_some(text.as_bytes())?;
    let nibble = |c: u8| char::from(c).to_digit(16).map(|v| v as u8);
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some(out)
}

/// Seconds since 1970 of a date such as `2025-06-20T12:00:00Z`, or of such seconds in digits.
pub fn time(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| date::seconds(text))
}
