//! Certificates are accepted by fingerprint and date, and by nothing else.

use super::identity::{Fingerprint, inspect};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use std::sync::Arc;
use std::time::SystemTime;

/// Why a peer's certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFault {
    /// A key that nobody is known by.
    #[error("of a key that is not in the configuration, {0}; if it is right, add it there")]
    Unknown(Fingerprint),
    /// Somebody else's key.
    #[error("of another key than was pinned: {got} instead of {expected}; do not go on before you know why")]
    Other {
        /// The fingerprint in the configuration.
        expected: Fingerprint,
        /// What came.
        got: Fingerprint,
    },
    /// Too late.
    #[error("that has expired; its owner renews it with `subrosa party init --renew` and keeps the fingerprint")]
    Expired,
    /// Too early.
    #[error("that is not valid yet; compare the clocks of both machines")]
    NotYetValid,
    /// No certificate at all.
    #[error("that cannot be read")]
    Unreadable,
}

/// Whom a handshake may be with.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// One key.
    One(Fingerprint),
    /// Any of these.
    Any(Arc<[Fingerprint]>),
}

/// The verifier of both directions.
#[derive(Debug)]
pub(super) struct Pins {
    pub(super) expected: Expected,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Pins {
    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateFault> {
        let (got, validity) = inspect(certificate).map_err(|_| CertificateFault::Unreadable)?;
        match &self.expected {
            Expected::One(expected) if *expected != got => {
                return Err(CertificateFault::Other { expected: *expected, got });
            }
            Expected::Any(known) if !known.contains(&got) => return Err(CertificateFault::Unknown(got)),
            Expected::One(_) | Expected::Any(_) => {}
        }
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
        if now < validity.from {
            return Err(CertificateFault::NotYetValid);
        }
        if now > validity.until { Err(CertificateFault::Expired) } else { Ok(()) }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// As rustls wants it; [`fault_in`] gets it back out.
fn refuse(fault: CertificateFault) -> rustls::Error {
    rustls::Error::InvalidCertificate(match fault {
        // Standard alerts, which tell the other end what is wrong with its certificate.
        CertificateFault::Expired => CertificateError::Expired,
        CertificateFault::NotYetValid => CertificateError::NotValidYet,
        CertificateFault::Unknown(_) | CertificateFault::Other { .. } | CertificateFault::Unreadable => {
            CertificateError::Other(OtherError(Arc::new(fault)))
        }
    })
}

/// The fault that made a handshake fail here, if it was the peer's certificate.
pub(super) fn fault_in(error: &rustls::Error) -> Option<CertificateFault> {
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    if *error == CertificateError::Expired {
        return Some(CertificateFault::Expired);
    }
    if *error == CertificateError::NotValidYet {
        return Some(CertificateFault::NotYetValid);
    }
    let CertificateError::Other(other) = error else { return Some(CertificateFault::Unreadable) };
    other.0.downcast_ref().cloned()
}

// TLS 1.2 is not offered: the provider's configuration has version 1.3 alone.
fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".into())
}

impl ServerCertVerifier for Pins {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, now).map(|()| ServerCertVerified::assertion()).map_err(refuse)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pins {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, now).map(|()| ClientCertVerified::assertion()).map_err(refuse)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
