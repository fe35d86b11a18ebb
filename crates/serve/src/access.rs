//! Who may ask, and how often.

use crate::error::{Error, Result};
use crate::tokens::Tokens;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The clients that a server answers.
pub struct Clients {
    keys: Option<ApiKeys>,
    tokens: Option<Tokens>,
}

/// Clients with a key, each by a name and the SHA-256 of its key.
pub struct ApiKeys {
    clients: Vec<Keyed>,
}

struct Keyed {
    known: Arc<Known>,
    sha256: [u8; 32],
}

/// A client that is known.
pub(crate) struct Known {
    pub(crate) name: String,
    allowance: Option<Mutex<Allowance>>,
}

/// Requests that may come at once: they grow with time, up to those of a second.
struct Allowance {
    rate: f64,
    left: f64,
    since: Instant,
}

/// Why somebody is not answered.
#[derive(Debug, PartialEq)]
pub(crate) enum Denied {
    /// No key was given.
    Nameless,
    /// A key was given that nobody has.
    Unknown,
    /// A token was given that does not hold.
    Invalid,
    /// Too many requests of one client; the next one may come after this.
    TooOften(Duration),
}

/// A key, fresh from the system's randomness: shown once, kept nowhere.
pub struct NewKey {
    /// What the client sends.
    pub key: String,
    /// What the server's file says of it.
    pub line: String,
}

impl Clients {
    /// Those with one of these keys, and those with one of these tokens.
    pub fn new(keys: Option<ApiKeys>, tokens: Option<Tokens>) -> Self {
        Self { keys, tokens }
    }

    /// The client that an `Authorization` header is of, if it may ask now.
    pub(crate) fn admit(&self, header: Option<&[u8]>) -> std::result::Result<Arc<Known>, Denied> {
        let header = header.ok_or(Denied::Nameless)?;
        let (scheme, given) = header.split_at_checked(BEARER.len()).ok_or(Denied::Nameless)?;
        if !scheme.eq_ignore_ascii_case(BEARER) {
            return Err(Denied::Nameless);
        }
        let given = given.trim_ascii();
        match (&self.keys, &self.tokens) {
            // No key has a dot, and every token has two.
            (_, Some(tokens)) if given.contains(&b'.') => tokens.admit(given),
            (Some(keys), _) => keys.admit(given),
            (None, Some(_)) => Err(Denied::Invalid),
            (None, None) => Err(Denied::Unknown),
        }
    }
}

impl From<ApiKeys> for Clients {
    fn from(keys: ApiKeys) -> Self {
        Self::new(Some(keys), None)
    }
}

impl ApiKeys {
    /// Reads a file of lines `NAME SHA256`, the digest in hexadecimal; empty lines and those that
    /// begin with `#` say nothing. Each client may send `rate` requests a second, or any number.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::ApiKeys`] naming the line, or that there is no key at all.
    pub fn read(path: &Path, rate: Option<f64>) -> Result<Self> {
        let keys = Self::reread(path, rate)?;
        match keys.clients.is_empty() {
            true => {
                let reason = "it has no key, so that nobody could ask";
                Err(Error::ApiKeys { path: path.to_owned(), line: 1, reason })
            }
            false => Ok(keys),
        }
    }

    /// The same for a server that runs, from whose file the last key may have been taken: then
    /// nobody may ask.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::ApiKeys`] naming the line.
    pub fn reread(path: &Path, rate: Option<f64>) -> Result<Self> {
        let io = |source| Error::Io { what: format!("cannot read {}", path.display()), source };
        let mut text = String::new();
        std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text)).map_err(io)?;
        Self::parse(&text, rate).map_err(|(line, reason)| Error::ApiKeys { path: path.to_owned(), line, reason })
    }

    fn parse(text: &str, rate: Option<f64>) -> std::result::Result<Self, (usize, &'static str)> {
        let mut clients: Vec<Keyed> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let client = Keyed::parse(line, rate).map_err(|reason| (number + 1, reason))?;
            if clients.iter().any(|keyed| keyed.known.name == client.known.name) {
                return Err((number + 1, "the name is taken by a line above"));
            }
            clients.push(client);
        }
        Ok(Self { clients })
    }

    fn admit(&self, key: &[u8]) -> std::result::Result<Arc<Known>, Denied> {
        let client = self.find(key).ok_or(Denied::Unknown)?;
        client.take(Instant::now()).map_err(Denied::TooOften)?;
        Ok(Arc::clone(client))
    }

    /// Compares with all, in a time that tells nothing of how much is right.
    fn find(&self, key: &[u8]) -> Option<&Arc<Known>> {
        let found = digest(&SHA256, key);
        let mut client = None;
        for Keyed { known, sha256 } in &self.clients {
            if verify_slices_are_equal(found.as_ref(), sha256).is_ok() {
                client = Some(known);
            }
        }
        client
    }
}

impl Keyed {
    fn parse(line: &str, rate: Option<f64>) -> std::result::Result<Self, &'static str> {
        let (name, digits) = line.split_once(char::is_whitespace).ok_or("it is not of the form NAME SHA256")?;
        if !is_name(name) {
            return Err("a name has 1 to 64 letters, digits, dots, dashes and underscores");
        }
        let sha256 = unhex(digits.trim()).ok_or("a SHA-256 has 64 hexadecimal digits")?;
        Ok(Self { known: Arc::new(Known::new(name.to_owned(), rate)), sha256 })
    }
}

impl Known {
    /// May send `rate` requests a second, or any number.
    pub(crate) fn new(name: String, rate: Option<f64>) -> Self {
        let allowance = rate.map(|rate| Mutex::new(Allowance { rate, left: rate.max(1.0), since: Instant::now() }));
        Self { name, allowance }
    }

    /// Takes one of the requests that may come now; else tells when.
    pub(crate) fn take(&self, now: Instant) -> std::result::Result<(), Duration> {
        let Some(allowance) = &self.allowance else { return Ok(()) };
        allowance.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> std::result::Result<(), Duration> {
        let grown = now.saturating_duration_since(self.since).as_secs_f64() * self.rate;
        self.left = (self.left + grown).min(self.rate.max(1.0));
        self.since = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::try_from_secs_f64((1.0 - self.left) / self.rate).unwrap_or(Duration::MAX))
    }
}

impl NewKey {
    /// A key for the client of this name.
    ///
    /// **Errors:** [`Error::Misuse`] for what cannot be a name, [`Error::Io`] without randomness.
    pub fn make(name: &str) -> Result<Self> {
        if !is_name(name) {
            let message = format!("'{name}' cannot be a name; use 1 to 64 letters, digits, dots, dashes, underscores");
            return Err(Error::Misuse(message));
        }
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Io {
            what: "cannot make a key".to_owned(),
            source: std::io::Error::other("the system gave no randomness"),
        })?;
        let key = format!("subrosa_{}", hex(&bytes));
        let line = format!("{name} {}", hex(digest(&SHA256, key.as_bytes()).as_ref()));
        Ok(Self { key, line })
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let digit = |c: u8| char::from(c).to_digit(16).map(|v| v as u8);
    let mut out = [0; 32];
    for (byte, [high, low]) in out.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// RFC 6750, section 2.1; schemes have no case (RFC 9110, section 11.1).
const BEARER: &[u8] = b"Bearer ";

/// The longest file of keys.
const MOST_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_the_one_that_its_line_admits() {
        let (alice, bob) = (NewKey::make("alice").unwrap(), NewKey::make("bob").unwrap());
        let keys = ApiKeys::parse(&format!("# who\n\n{}\n  {}\n", alice.line, bob.line), None).unwrap();
        let keys = Clients::from(keys);
        let admit = |header: &str| keys.admit(Some(header.as_bytes())).map(|known| known.name.clone());
        assert_eq!(admit(&format!("Bearer {}", bob.key)).unwrap(), "bob");
        assert_eq!(admit(&format!("bearer  {} ", alice.key)).unwrap(), "alice");
        assert!(!alice.line.contains(&alice.key) && alice.key != bob.key);
        for (header, denied) in [
            ("", Denied::Nameless),
            ("Basic abc", Denied::Nameless),
            ("Bearer ", Denied::Unknown),
            ("Bearer x", Denied::Unknown),
            (&format!("Bearer {}", &alice.key[1..]), Denied::Unknown),
            (&format!("Bearer {}0", alice.key), Denied::Unknown),
            // The digest is no key.
            (&format!("Bearer {}", &alice.line[6..]), Denied::Unknown),
        ] {
            assert_eq!(admit(header).unwrap_err(), denied, "{header}");
        }
        assert!(matches!(keys.admit(None), Err(Denied::Nameless)));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# nobody\n").unwrap();
        assert!(ApiKeys::read(file.path(), None).err().unwrap().to_string().contains("line 1: it has no key"));
        let nobody = ApiKeys::reread(file.path(), None).unwrap();
        assert!(matches!(nobody.admit(b"x"), Err(Denied::Unknown)));
        let digest = "ab".repeat(32);
        for (text, line) in [
            ("alice\n", 1),
            (&format!("alice {digest}\nbob {}\n", &digest[1..]), 2),
            (&format!("alice {digest}\nalice {digest}\n"), 2),
            (&format!("\nal:ice {digest}\n"), 2),
            (&format!("{} {digest}\n", "a".repeat(65)), 1),
            (&format!("alice {}\n", digest.replace('a', "g")), 1),
        ] {
            assert_eq!(ApiKeys::parse(text, None).err().unwrap().0, line, "{text}");
        }
        assert!(NewKey::make("a b").is_err() && NewKey::make("").is_err());
    }

    #[test]
    fn an_allowance_grows_with_time_up_to_a_second() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut allowance = Allowance { rate: 2.0, left: 2.0, since: start };
        assert!(allowance.take(at(0.0)).is_ok() && allowance.take(at(0.0)).is_ok());
        assert_eq!(allowance.take(at(0.0)), Err(Duration::from_millis(500)));
        assert!(allowance.take(at(0.5)).is_ok() && allowance.take(at(0.5)).is_err());
        // An hour later it has those of one second.
        assert!(allowance.take(at(3600.0)).is_ok() && allowance.take(at(3600.0)).is_ok());
        assert!(allowance.take(at(3600.0)).is_err());
        let mut seldom = Allowance { rate: 0.1, left: 1.0, since: start };
        assert!(seldom.take(at(0.0)).is_ok());
        assert_eq!(seldom.take(at(0.0)), Err(Duration::from_secs(10)));
    }
}
