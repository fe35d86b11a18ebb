//! AWS Nitro Enclaves: a COSE_Sign1 document that carries its certificates.
//!
//! **Source:** AWS, "Attestation process" of the Nitro Secure Module API,
//! <https://github.com/aws/aws-nitro-enclaves-nsm-api/blob/main/docs/attestation_process.md>;
//! RFC 9052 §4.4 for the signature.

mod cbor;
mod document;

use crate::claims::Claims;
use crate::names::Piece;
use crate::reason::Reason;
use crate::x509::{Anchors, public_key};
use document::Document;
use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};

/// AWS's root, whose SHA-256 fingerprint starts 641A0321 A3E244EF.
///
/// **Source:** <https://docs.aws.amazon.com/enclaves/latest/user/verify-root.html>
pub(crate) const AWS: &[u8] = include_bytes!("../../roots/aws_nitro_g1.der");

/// The most certificates between root and leaf that are looked at; genuine documents have 4.
const MAX_CHAIN: usize = 8;

/// What the document says, if AWS's root vouches for it at `now`.
///
/// The leaf lives for hours: a document is verified when it is received.
pub(crate) fn authenticate(document: &[u8], root: &[u8], now: u64) -> Result<Claims, Reason> {
    let document = Document::parse(document)?;
    let piece = Piece::NitroChain;
    if document.chain.len() > MAX_CHAIN {
        return Err(Reason::Malformed { piece, detail: "it is longer than any genuine one" });
    }
    let anchors = Anchors {
        piece,
        algorithms: &[webpki::rustcrypto::ECDSA_P384_SHA384],
        roots: &[root],
        revocation_list: None,
        now,
    };
    let chain = anchors.check(document.certificate, &document.chain)?;
    let key = VerifyingKey::from_sec1_bytes(public_key(&chain.leaf))
        .map_err(|_| Reason::Malformed { piece, detail: "its key is not on P-384" })?;
    let wrong = |_| Reason::Signature { piece: Piece::Document };
    let signature = Signature::from_slice(document.signature).map_err(wrong)?;
    key.verify(&document.signed_bytes(), &signature).map_err(wrong)?;
    let claims = document.claims(chain.valid_until)?;
    if claims.timestamp_ms / 1000 > now {
        return Err(Reason::NotYetValid { piece: Piece::Document, from: claims.timestamp_ms / 1000 });
    }
    Ok(Claims::Nitro(Box::new(claims)))
}

#[cfg(test)]
mod tests;
