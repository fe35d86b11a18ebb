//! AMD SEV-SNP: a report, the certificate of the key that signed it, AMD's roots.
//!
//! **Source:** AMD 56860, "SEV Secure Nested Paging Firmware ABI Specification", tables
//! ATTESTATION_REPORT and TCB_VERSION,
//! <https://www.amd.com/content/dam/amd/en/documents/epyc-technical-docs/specifications/56860.pdf>,
//! and AMD 57230 on certificates.
//!
//! The signature is checked over the bytes as they came. Decoding a report and encoding it
//! again first, as the `sev` crate does, drops reserved bytes and so accepts reports that
//! were changed there.

mod report;
mod table;

use crate::claims::{Claims, SnpClaims, SnpProduct, SnpSigner, SnpTcb};
use crate::evidence::SnpCollateral;
use crate::names::Piece;
use crate::reason::Reason;
use crate::x509::{AmdPss, Anchors, public_key};
use report::Report;
use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::certificate::X509Certificate;

pub(crate) use report::REPORT_BYTES;

/// AMD's certificates of one family of chips.
#[derive(Clone, Copy)]
pub(crate) struct SnpRoot<'a> {
    pub(crate) product: SnpProduct,
    /// The root (ARK), DER.
    pub(crate) root: &'a [u8],
    /// What it issues chips' certificates with (ASK), DER.
    pub(crate) intermediate: &'a [u8],
}

/// AMD's own, as its key distribution service hands them out.
pub(crate) const AMD: [SnpRoot<'static>; 3] = [
    SnpRoot {
        product: SnpProduct::Milan,
        root: include_bytes!("../../roots/amd_ark_milan.der"),
        intermediate: include_bytes!("../../roots/amd_ask_milan.der"),
    },
    SnpRoot {
        product: SnpProduct::Genoa,
        root: include_bytes!("../../roots/amd_ark_genoa.der"),
        intermediate: include_bytes!("../../roots/amd_ask_genoa.der"),
    },
    SnpRoot {
        product: SnpProduct::Turin,
        root: include_bytes!("../../roots/amd_ark_turin.der"),
        intermediate: include_bytes!("../../roots/amd_ask_turin.der"),
    },
];

/// What the report says, if AMD's roots vouch for it at `now`.
pub(crate) fn authenticate(
    report: &[u8],
    collateral: &SnpCollateral,
    roots: &[SnpRoot<'_>],
    now: u64,
) -> Result<Claims, Reason> {
    let report = Report::parse(report)?;
    let roots_der: Vec<&[u8]> = roots.iter().map(|r| r.root).collect();
    let between: Vec<&[u8]> = roots.iter().map(|r| r.intermediate).chain(collateral.intermediate.as_deref()).collect();
    let anchors = Anchors {
        piece: Piece::ChipChain,
        algorithms: &ALGORITHMS,
        roots: &roots_der,
        revocation_list: collateral.revocation_list.as_deref(),
        now,
    };
    let chain = anchors.check(&collateral.certificate, &between)?;
    let product = roots.get(chain.root).ok_or(Reason::Issuer { piece: Piece::ChipChain })?.product;
    report.verify(public_key(&chain.leaf))?;
    let tcb = report.tcb(product);
    check_extensions(&chain.leaf, &report, product, tcb)?;
    let claims = SnpClaims {
        revocation_checked: collateral.revocation_list.is_some(),
        valid_until: chain.valid_until,
        ..report.claims(product, tcb)
    };
    Ok(Claims::Snp(claims))
}

/// That the certificate is for the report's chip and firmware.
///
/// A chip's key is derived from its firmware level, so a certificate for another level would
/// not verify the signature either; the comparison makes the reason plain and does not rest
/// on that.
fn check_extensions(
    leaf: &X509Certificate<'_>,
    report: &Report<'_>,
    product: SnpProduct,
    tcb: SnpTcb,
) -> Result<(), Reason> {
    let level = |oid: &[u8]| extension(leaf, oid).and_then(small_integer);
    let fmc = match product {
        SnpProduct::Milan | SnpProduct::Genoa => Some(0),
        SnpProduct::Turin => level(FMC_SPL),
    };
    let certified = SnpTcb {
        fmc: fmc.ok_or(NO_LEVELS)?,
        bootloader: level(BOOTLOADER_SPL).ok_or(NO_LEVELS)?,
        tee: level(TEE_SPL).ok_or(NO_LEVELS)?,
        snp: level(SNP_SPL).ok_or(NO_LEVELS)?,
        microcode: level(MICROCODE_SPL).ok_or(NO_LEVELS)?,
    };
    if certified != tcb {
        return Err(Reason::OtherTcb);
    }
    match report.signer() {
        SnpSigner::Provider => Ok(()),
        SnpSigner::Chip => {
            let hwid = extension(leaf, HWID).ok_or(NO_LEVELS)?;
            // On Turin the identifier is 8 bytes, the rest of the field is zero.
            let (same, rest) = report.chip_id().split_at_checked(hwid.len()).ok_or(NO_LEVELS)?;
            let named = hwid.len() >= 8 && same == hwid && rest.iter().all(|b| *b == 0);
            if named || report.chip_masked() { Ok(()) } else { Err(Reason::OtherChip) }
        }
    }
}

const NO_LEVELS: Reason =
    Reason::Malformed { piece: Piece::ChipChain, detail: "its last certificate does not name a chip and its levels" };

fn extension<'a>(leaf: &X509Certificate<'a>, oid: &[u8]) -> Option<&'a [u8]> {
    leaf.extensions().iter().find(|e| e.oid.as_bytes() == oid).map(|e| e.value)
}

/// A DER INTEGER from 0 to 255.
fn small_integer(der: &[u8]) -> Option<u8> {
    match *der {
        [2, 1, v] if v < 0x80 => Some(v),
        [2, 2, 0, v] if v >= 0x80 => Some(v),
        _ => None,
    }
}

static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 2] = [&AmdPss::TrailerWritten, &AmdPss::TrailerLeftOut];

// Arcs below 1.3.6.1.4.1.3704.1, of AMD 57230 §3.
const BOOTLOADER_SPL: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 1];
const TEE_SPL: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 2];
const SNP_SPL: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 3];
const MICROCODE_SPL: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 8];
const FMC_SPL: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 9];
const HWID: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 4];

#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
