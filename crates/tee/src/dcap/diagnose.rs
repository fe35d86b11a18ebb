//! Why `dcap-qvl` refused a quote: its errors are sentences, ours are codes.
//!
//! Dates and kind are looked at before; after a refusal each signature is tried alone.

use crate::claims::TcbStatus;
use crate::date::seconds;
use crate::names::Piece;
use crate::reason::Reason;
use crate::x509::{self, Anchors, public_key};
use dcap_qvl::intel::parse_pck_extension;
use dcap_qvl::quote::{AuthDataV3, Quote};
use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;

/// Intel's two signed lists, read but not verified.
pub(super) struct Lists {
    tcb_info: TcbInfo,
    qe_identity: QeIdentity,
}

impl Lists {
    /// **Errors:** [`Reason::Malformed`].
    pub(super) fn read(collateral: &QuoteCollateralV3) -> Result<Self, Reason> {
        let malformed = |piece| Reason::Malformed { piece, detail: "it is not the JSON that Intel signs" };
        let tcb_info = serde_json::from_str(&collateral.tcb_info).map_err(|_| malformed(Piece::TcbInfo))?;
        let qe_identity = serde_json::from_str(&collateral.qe_identity).map_err(|_| malformed(Piece::QeIdentity))?;
        Ok(Self { tcb_info, qe_identity })
    }

    /// **Errors:** [`Reason::WrongCollateral`].
    pub(super) fn match_platform(&self, sgx: bool) -> Result<(), Reason> {
        let expected = if sgx { ("SGX", "QE") } else { ("TDX", "TD_QE") };
        match (self.tcb_info.id.as_str(), self.qe_identity.id.as_str()) == expected {
            true => Ok(()),
            false => Err(Reason::WrongCollateral),
        }
    }

    /// **Errors:** [`Reason::Expired`], [`Reason::NotYetValid`], [`Reason::Malformed`].
    pub(super) fn check_dates(&self, now: u64) -> Result<(), Reason> {
        let tcb = (&self.tcb_info.issue_date, &self.tcb_info.next_update);
        let qe = (&self.qe_identity.issue_date, &self.qe_identity.next_update);
        for (piece, (from, to)) in [(Piece::TcbInfo, tcb), (Piece::QeIdentity, qe)] {
            let date = |text| seconds(text).ok_or(Reason::Malformed { piece, detail: "its dates are no dates" });
            let (from, at) = (date(from)?, date(to)?);
            match () {
                () if now < from => return Err(Reason::NotYetValid { piece, from }),
                () if now > at => return Err(Reason::Expired { piece, at }),
                () => {}
            }
        }
        Ok(())
    }
}

/// What a refusal is about.
pub(super) struct Refused<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) quote: &'a Quote,
    pub(super) collateral: &'a QuoteCollateralV3,
    pub(super) lists: &'a Lists,
    pub(super) root: &'a [u8],
    pub(super) now: u64,
}

impl Refused<'_> {
    /// Names the reason; `chain` is webpki's, if it was that which refused, and `detail` the
    /// library's words.
    pub(super) fn reason(&self, chain: Option<&webpki::Error>, detail: String) -> Reason {
        if let Some(error) = chain {
            return self.chain_reason(error);
        }
        let auth = self.quote.auth_data.clone().into_v3();
        let c = self.collateral;
        let pck = self.pck_chain(&auth).into_iter().next();
        let signing = certificates(c.tcb_info_issuer_chain.as_bytes()).into_iter().next();
        let qe_signing = certificates(c.qe_identity_issuer_chain.as_bytes()).into_iter().next();
        let signed = self.bytes.get(..self.quote.signed_length()).unwrap_or_default();
        let own_key = [&[4][..], &auth.ecdsa_attestation_key].concat();
        let tries = [
            (Piece::TcbInfo, key(signing.as_deref()), c.tcb_info.as_bytes(), c.tcb_info_signature.as_slice()),
            (Piece::QeIdentity, key(qe_signing.as_deref()), c.qe_identity.as_bytes(), &c.qe_identity_signature),
            (Piece::QuotingEnclave, key(pck.as_deref()), &auth.qe_report, &auth.qe_report_signature),
            (Piece::Quote, Some(own_key), signed, &auth.ecdsa_signature),
        ];
        let wrong =
            tries.into_iter().find(|(_, key, message, signature)| !verifies(key.as_deref(), message, signature));
        if let Some((piece, ..)) = wrong {
            return Reason::Signature { piece };
        }
        if !vouches_for_key(&auth) {
            return Reason::Signature { piece: Piece::QuotingEnclave };
        }
        match pck.as_deref().map(parse_pck_extension) {
            Some(Ok(pck)) if !same_family(&pck.fmspc, &self.lists.tcb_info.fmspc) => Reason::WrongCollateral,
            Some(Ok(pck)) => match self.status(&pck.cpu_svn, pck.pce_svn) {
                None => Reason::TcbUnknown,
                // Refused by the library whatever the policy says.
                Some(status @ TcbStatus::Revoked) => Reason::TcbStatus { status },
                Some(_) => Reason::Platform { detail },
            },
            Some(Err(_)) | None => Reason::Platform { detail },
        }
    }

    /// The first chain that does not lead to the root; else what `error` says of the last.
    fn chain_reason(&self, error: &webpki::Error) -> Reason {
        let c = self.collateral;
        let pck = self.pck_chain(&self.quote.auth_data.clone().into_v3());
        let chains = [
            (Piece::SigningChain, certificates(c.tcb_info_issuer_chain.as_bytes())),
            (Piece::SigningChain, certificates(c.qe_identity_issuer_chain.as_bytes())),
            (Piece::PckChain, pck),
        ];
        let refused = chains.iter().find_map(|(piece, chain)| {
            let (leaf, between) = chain.split_first()?;
            let between: Vec<&[u8]> = between.iter().map(Vec::as_slice).take(MAX_CHAIN).collect();
            let anchors = Anchors {
                piece: *piece,
                algorithms: &[webpki::rustcrypto::ECDSA_P256_SHA256],
                roots: &[self.root],
                revocation_list: None,
                now: self.now,
            };
            anchors.check(leaf, &between).err()
        });
        refused.unwrap_or_else(|| x509::reason(Piece::PckChain, error))
    }

    fn pck_chain(&self, auth: &AuthDataV3) -> Vec<Vec<u8>> {
        match &self.collateral.pck_certificate_chain {
            Some(pem) => certificates(pem.as_bytes()),
            None => certificates(&auth.certification_data.body.data),
        }
    }

    /// Of the first level that the platform reaches; Intel lists the highest first.
    fn status(&self, cpu_svn: &[u8; 16], pce_svn: u16) -> Option<TcbStatus> {
        let report = self.quote.report.as_td10();
        let tee_tcb_svn = report.map(|r| &r.tee_tcb_svn);
        let reached = |level: &&dcap_qvl::TcbLevel| {
            level.shortfalls(cpu_svn, pce_svn, tee_tcb_svn).is_ok_and(|shortfalls| shortfalls.is_empty())
        };
        self.lists.tcb_info.tcb_levels.iter().find(reached).map(|level| level.tcb_status)
    }
}

fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    Pem::iter_from_buffer(pem).map_while(Result::ok).map(|pem| pem.contents).collect()
}

fn key(certificate: Option<&[u8]>) -> Option<Vec<u8>> {
    certificate.and_then(x509::parse).map(|certificate| public_key(&certificate).to_vec())
}

fn verifies(key: Option<&[u8]>, message: &[u8], signature: &[u8]) -> bool {
    let key = key.and_then(|key| VerifyingKey::from_sec1_bytes(key).ok());
    let signature = Signature::from_slice(signature).ok();
    key.zip(signature).is_some_and(|(key, signature)| key.verify(message, &signature).is_ok())
}

/// Whether the quoting enclave's report names the key that signed the quote.
fn vouches_for_key(auth: &AuthDataV3) -> bool {
    let report_data = auth.qe_report.get(320..).unwrap_or_default();
    let hash = Sha256::new().chain_update(auth.ecdsa_attestation_key).chain_update(&auth.qe_auth_data.data).finalize();
    report_data.starts_with(&hash)
}

fn same_family(fmspc: &[u8; 6], text: &str) -> bool {
    let hex: String = fmspc.iter().map(|b| format!("{b:02X}")).collect();
    hex.eq_ignore_ascii_case(text)
}

/// More certificates than this between leaf and root belong to no chain of Intel's.
const MAX_CHAIN: usize = 4;
