//! Certificate chains up to a pinned root, through `webpki`.

use crate::names::Piece;
use crate::reason::Reason;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use std::time::Duration;
use webpki::{CertRevocationList, EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// A chain that leads to a pinned root.
pub(crate) struct Chain<'a> {
    /// The certificate that signs evidence.
    pub(crate) leaf: X509Certificate<'a>,
    /// The place of its root among the pinned ones.
    pub(crate) root: usize,
    /// The last second at which every certificate and list is valid.
    pub(crate) valid_until: u64,
}

/// What a chain is checked against.
pub(crate) struct Anchors<'a> {
    pub(crate) piece: Piece,
    pub(crate) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// Pinned roots, DER.
    pub(crate) roots: &'a [&'a [u8]],
    pub(crate) revocation_list: Option<&'a [u8]>,
    pub(crate) now: u64,
}

impl Anchors<'_> {
    /// Checks that `leaf` leads through some of `between` to one of the roots, and that each
    /// certificate and the list are valid now.
    ///
    /// **Errors:** [`Reason::Malformed`], [`Reason::Expired`], [`Reason::NotYetValid`],
    /// [`Reason::Signature`], [`Reason::Issuer`], [`Reason::Revoked`].
    pub(crate) fn check<'a>(&self, leaf: &'a [u8], between: &[&[u8]]) -> Result<Chain<'a>, Reason> {
        let malformed = |detail| Reason::Malformed { piece: self.piece, detail };
        let parsed = parse(leaf).ok_or(malformed("its last certificate is no certificate"))?;
        let leaf_der = CertificateDer::from(leaf);
        let end = EndEntityCert::try_from(&leaf_der).map_err(|e| reason(self.piece, &e))?;
        let between: Vec<CertificateDer<'_>> = between.iter().map(|der| CertificateDer::from(*der)).collect();
        let roots: Vec<CertificateDer<'_>> = self.roots.iter().map(|der| CertificateDer::from(*der)).collect();
        let anchors = roots.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<Vec<TrustAnchor<'_>>, _>>();
        let anchors = anchors.map_err(|e| reason(self.piece, &e))?;
        let list = self.revocation_list.map(webpki::OwnedCertRevocationList::from_der).transpose();
        let list = list.map_err(|e| reason(Piece::RevocationList, &e))?.map(CertRevocationList::from);
        let lists: Vec<&CertRevocationList<'_>> = list.iter().collect();
        // Only roots issue lists here, so certificates of others are of unknown standing. That the
        // list is the root's is checked below: one that is not would go unused without a word.
        let revocation = webpki::RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            let options = options.with_depth(webpki::RevocationCheckDepth::Chain);
            let options = options.with_status_policy(webpki::UnknownStatusPolicy::Allow);
            options.with_expiration_policy(webpki::ExpirationPolicy::Enforce).build()
        });
        let time = UnixTime::since_unix_epoch(Duration::from_secs(self.now));
        let path = end
            .verify_for_usage(self.algorithms, &anchors, &between, time, KeyUsage::client_auth(), revocation, None)
            .map_err(|e| reason(self.piece, &e))?;
        let root = anchors.iter().position(|a| a == path.anchor()).ok_or(Reason::Issuer { piece: self.piece })?;
        // An anchor is a name and a key to webpki; its dates are looked at here.
        let ders = path.intermediate_certificates().map(|c| c.der().to_vec());
        let ders: Vec<Vec<u8>> = ders.chain(self.roots.get(root).map(|der| der.to_vec())).collect();
        let mut valid_until = not_after(&parsed);
        for der in &ders {
            let certificate = parse(der).ok_or(malformed("one of its certificates is no certificate"))?;
            self.dated(&certificate)?;
            valid_until = valid_until.min(not_after(&certificate));
        }
        if let Some(der) = self.revocation_list {
            self.list_of(path.anchor(), der)?;
            valid_until = valid_until.min(self.list_until(der)?);
        }
        Ok(Chain { leaf: parsed, root, valid_until })
    }

    fn dated(&self, certificate: &X509Certificate<'_>) -> Result<(), Reason> {
        let (from, to) = (seconds(certificate.validity().not_before.timestamp()), not_after(certificate));
        match () {
            () if self.now < from => Err(Reason::NotYetValid { piece: self.piece, from }),
            () if self.now > to => Err(Reason::Expired { piece: self.piece, at: to }),
            () => Ok(()),
        }
    }

    /// That the list is the root's, about all certificates that the root issues.
    fn list_of(&self, root: &TrustAnchor<'_>, der: &[u8]) -> Result<(), Reason> {
        let piece = Piece::RevocationList;
        let key = root.subject_public_key_info.as_ref();
        let list = webpki::OwnedCertRevocationList::from_der(der).map_err(|e| reason(piece, &e))?;
        let list = CertRevocationList::from(list);
        // A distribution point narrows what a list is about, down to nothing.
        if list.issuer() != root.subject.as_ref() || list.issuing_distribution_point().is_some() {
            return Err(Reason::Issuer { piece });
        }
        let verified = webpki::OwnedCertRevocationList::from_der_verified(der, key, self.algorithms);
        verified.map(drop).map_err(|e| reason(piece, &e))
    }

    /// The last second before the list's next one is due.
    fn list_until(&self, der: &[u8]) -> Result<u64, Reason> {
        let piece = Piece::RevocationList;
        let (_, list) = x509_parser::revocation_list::CertificateRevocationList::from_der(der)
            .map_err(|_| Reason::Malformed { piece, detail: "it is no revocation list" })?;
        let from = seconds(list.last_update().timestamp());
        if self.now < from {
            return Err(Reason::NotYetValid { piece, from });
        }
        let until = list.next_update().ok_or(Reason::Malformed { piece, detail: "it names no end" })?;
        match seconds(until.timestamp()) {
            at if self.now >= at => Err(Reason::Expired { piece, at }),
            at => Ok(at),
        }
    }
}

/// Parses all of `der` as one certificate.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

/// The public key of a certificate, as its algorithm writes it.
pub(crate) fn public_key<'a>(certificate: &X509Certificate<'a>) -> &'a [u8] {
    match &certificate.tbs_certificate.subject_pki.subject_public_key.data {
        std::borrow::Cow::Borrowed(bytes) => bytes,
        std::borrow::Cow::Owned(_) => &[],
    }
}

fn not_after(certificate: &X509Certificate<'_>) -> u64 {
    seconds(certificate.validity().not_after.timestamp())
}

fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}

/// What webpki's error means here.
#[expect(clippy::wildcard_enum_match_arm, reason = "webpki's errors are an open set, and each one is a refusal")]
pub(crate) fn reason(piece: Piece, error: &webpki::Error) -> Reason {
    use webpki::Error as E;
    match error {
        E::CertExpired { not_after, .. } => Reason::Expired { piece, at: not_after.as_secs() },
        E::CertNotValidYet { not_before, .. } => Reason::NotYetValid { piece, from: not_before.as_secs() },
        E::CrlExpired { next_update, .. } => {
            Reason::Expired { piece: Piece::RevocationList, at: next_update.as_secs() }
        }
        E::CertRevoked => Reason::Revoked { piece },
        E::InvalidSignatureForPublicKey => Reason::Signature { piece },
        E::InvalidCrlSignatureForPublicKey => Reason::Signature { piece: Piece::RevocationList },
        E::UnknownIssuer | E::CaUsedAsEndEntity | E::EndEntityUsedAsCa | E::PathLenConstraintViolated => {
            Reason::Issuer { piece }
        }
        E::UnknownRevocationStatus | E::IssuerNotCrlSigner => Reason::Issuer { piece: Piece::RevocationList },
        E::BadDer | E::BadDerTime | E::MalformedExtensions | E::TrailingData(_) | E::ExtensionValueInvalid => {
            Reason::Malformed { piece, detail: "it is not DER as certificates and lists are" }
        }
        _ => Reason::Unsupported { piece, detail: "its certificates or lists use what such chains do not use" },
    }
}

/// RSA-PSS with SHA-384, MGF1 with SHA-384, 48 bytes of salt, of 4,096 bits: how AMD signs
/// certificates.
///
/// **Source:** AMD 57230, "VCEK Certificate and KDS Interface Specification", §3.1,
/// <https://www.amd.com/content/dam/amd/en/documents/epyc-technical-docs/specifications/57230.pdf>.
/// Some of AMD's certificates write the trailer field although it is the default, against
/// DER, so there are two identifiers for one algorithm.
#[derive(Debug)]
pub(crate) enum AmdPss {
    TrailerWritten,
    TrailerLeftOut,
}

impl SignatureVerificationAlgorithm for AmdPss {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        use rsa::pkcs1::DecodeRsaPublicKey;
        use rsa::sha2::Sha384;
        use rsa::signature::Verifier;
        use rsa::traits::PublicKeyParts;
        let key = rsa::RsaPublicKey::from_pkcs1_der(key).map_err(|_| InvalidSignature)?;
        if key.size() != 512 {
            return Err(InvalidSignature);
        }
        let signature = rsa::pss::Signature::try_from(signature).map_err(|_| InvalidSignature)?;
        let key = rsa::pss::VerifyingKey::<Sha384>::new_with_salt_len(key, 48);
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        rustls_pki_types::alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self {
            Self::TrailerWritten => AlgorithmIdentifier::from_slice(PSS_WITH_TRAILER),
            Self::TrailerLeftOut => rustls_pki_types::alg_id::RSA_PSS_SHA384,
        }
    }
}

/// id-RSASSA-PSS { sha384, mgf1 { sha384 }, saltLength 48, trailerField 1 }.
const PSS_WITH_TRAILER: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09,
    0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86,
    0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
    0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
];
