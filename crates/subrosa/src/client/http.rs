//! Requests over HTTP, and what comes of them.

use crate::oip::{ErrorBody, HEADER_LENGTH};
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use subrosa_core::Secret;
use ureq::http::StatusCode;
use ureq::http::header::{AUTHORIZATION, HeaderValue};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Requests to one server.
pub(super) struct Http {
    agent: ureq::Agent,
    base: String,
    patience: Duration,
    /// Marked as one that is shown nowhere.
    authorisation: Option<HeaderValue>,
}

/// An answer, whatever its status.
pub(super) struct Answer<'a> {
    http: &'a Http,
    pub(super) status: StatusCode,
    /// The value of [`HEADER_LENGTH`].
    pub(super) json: Option<usize>,
    pub(super) body: Vec<u8>,
}

type Answered = std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>;

impl Http {
    /// To the server at `url`: see [`super::Client::new`].
    pub(super) fn new(url: &str, ca: Option<&Path>, patience: Duration) -> Result<Self> {
        let secure = url.starts_with("https://");
        if !secure && !url.starts_with("http://") {
            return Err(Error::misuse(format!("'{url}' is no URL of a server"), "give one such as http://HOST:8080"));
        }
        let roots = match (ca, secure) {
            (Some(path), _) => certificates(path)?,
            (None, false) => Vec::new(),
            (None, true) => {
                return Err(Error::misuse("no certificate authority is built in", "give --ca FILE for an https URL"));
            }
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(patience))
            .build();
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.new_agent(), base, patience, authorisation: None })
    }

    /// From now on sends a key with each request.
    ///
    /// **Errors:** [`Error::Input`] for what cannot be a key.
    pub(super) fn authorise(&mut self, key: &Secret<String>) -> Result<()> {
        let header = Secret::new(format!("Bearer {}", key.expose()));
        let value = HeaderValue::from_str(header.expose());
        let mut value = value.map_err(|_| Error::input("the API key has characters that no key has", ""))?;
        value.set_sensitive(true);
        self.authorisation = Some(value);
        Ok(())
    }

    pub(super) fn get(&self, path: &str, most: u64) -> Result<Answer<'_>> {
        let mut request = self.agent.get(self.base.clone() + path);
        if let Some(key) = &self.authorisation {
            request = request.header(AUTHORIZATION, key);
        }
        self.finish(request.call(), most)
    }

    pub(super) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8], most: u64) -> Result<Answer<'_>> {
        self.send(self.agent.post(self.base.clone() + path), headers, body, most)
    }

    pub(super) fn put(&self, path: &str, headers: &[(&str, &str)], body: &[u8], most: u64) -> Result<Answer<'_>> {
        self.send(self.agent.put(self.base.clone() + path), headers, body, most)
    }

    /// Gives time for a body that is long as a matter of course.
    fn send(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        headers: &[(&str, &str)],
        body: &[u8],
        most: u64,
    ) -> Result<Answer<'_>> {
        let patience = self.patience + Duration::from_secs_f64(body.len() as f64 / SLOWEST);
        let mut request = request.config().timeout_global(Some(patience)).build();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.authorisation {
            request = request.header(AUTHORIZATION, key);
        }
        self.finish(request.send(body), most)
    }

    fn finish(&self, response: Answered, most: u64) -> Result<Answer<'_>> {
        let gone = |e: ureq::Error| Error::Peer { message: format!("no answer from {}: {e}", self.base) };
        let mut response = response.map_err(gone)?;
        let status = response.status();
        let json = response.headers().get(HEADER_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let body = response.body_mut().with_config().limit(most).read_to_vec().map_err(gone)?;
        Ok(Answer { http: self, status, json, body })
    }
}

impl Answer<'_> {
    /// The same, if it is no refusal.
    ///
    /// **Errors:** [`Error::Peer`] with the server's words.
    pub(super) fn accepted(self) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        let said = serde_json::from_slice::<ErrorBody>(&self.body).map(|e| e.error);
        let said = said.unwrap_or_else(|_| "without saying why".to_owned());
        let (base, status) = (&self.http.base, self.status.as_u16());
        Err(Error::Peer { message: format!("{base} refuses ({status}): {}", printable(&said)) })
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
    let found = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => Err(Error::input("it holds no certificate", "give PEM").in_file(path)),
        false => Ok(found),
    }
}

/// What a server says, as it is repeated: no control characters of its own, and not too much.
pub(super) fn printable(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(MOST_SAID).collect()
}

pub(super) const JSON: &str = "application/json";
pub(super) const BYTES: &str = "application/octet-stream";

/// Bytes a second that a long body is given time for.
const SLOWEST: f64 = (1 << 20) as f64;

/// The most of a refusal's words that are repeated.
const MOST_SAID: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_server_are_few_and_steer_no_terminal() {
        assert_eq!(printable(&"\u{1b}x".repeat(2000)), "x".repeat(MOST_SAID));
    }
}
