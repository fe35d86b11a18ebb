//! Intel SGX and TDX: DCAP quotes, through `dcap-qvl`.
//!
//! **Source:** Intel, "SGX ECDSA Quote Library Reference" and "TDX DCAP Quoting Library API",
//! <https://download.01.org/intel-sgx/latest/dcap-latest/linux/docs/>.
//!
//! The library verifies; [`diagnose`] only says why it refused. Nothing that it finds can
//! turn a refusal into trust.

mod diagnose;

use crate::claims::{Claims, IntelPlatform, SgxClaims, TdxClaims};
use crate::names::Piece;
use crate::reason::Reason;
use dcap_qvl::configs::RustCryptoConfig;
use dcap_qvl::quote::{EnclaveReport, Quote, Report, TDReport10, TDReport15};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{PckCertFlag, QuoteClaims, QuoteCollateralV3, QuotePolicy};
use diagnose::{Lists, Refused};
use std::collections::BTreeSet;

/// Intel's root for SGX and TDX.
///
/// **Source:** <https://certificates.trustedservices.intel.com/IntelSGXRootCA.der>
pub(crate) const INTEL: &[u8] = include_bytes!("../../roots/intel_sgx_root.der");

/// What the quote says, if Intel's root vouches for it at `now`.
pub(crate) fn authenticate(quote: &[u8], collateral: &[u8], root: &[u8], now: u64) -> Result<Claims, Reason> {
    let parsed = Quote::parse(quote).map_err(|_| malformed(Piece::Quote, "it is no SGX or TDX quote"))?;
    let collateral: QuoteCollateralV3 = serde_json::from_slice(collateral)
        .map_err(|_| malformed(Piece::Collateral, "it is not the JSON of a quote's collateral"))?;
    let lists = Lists::read(&collateral)?;
    lists.match_platform(parsed.header.is_sgx())?;
    lists.check_dates(now)?;
    // Debug and service machines are for our policy to refuse, so that it can say so.
    let verifier =
        QuoteVerifier::<RustCryptoConfig>::new_with_config(root.to_vec()).allow_debug(true).allow_service_td(true);
    // Accepts everything that is authentic: the decision is taken from the claims.
    let undecided = QuotePolicy::claims_only(now);
    let verified = verifier.verify_with_policy(quote, &collateral, now, &undecided).map_err(|error| {
        let refused = Refused { bytes: quote, quote: &parsed, collateral: &collateral, lists: &lists, root, now };
        refused.reason(error.downcast_ref(), error.to_string())
    })?;
    if verified.latest_issue_date > now {
        return Err(Reason::NotYetValid { piece: Piece::Collateral, from: verified.latest_issue_date });
    }
    if verified.earliest_expiration_date < now {
        return Err(Reason::Expired { piece: Piece::Collateral, at: verified.earliest_expiration_date });
    }
    Ok(claims(&verified))
}

fn claims(quote: &QuoteClaims) -> Claims {
    let intel = IntelPlatform {
        status: quote.tcb.status,
        advisories: advisories(quote),
        tcb_evaluation: quote.tcb.eval_data_number,
        fmspc: quote.platform.pck.fmspc,
        dynamic_platform: flag(quote.platform.pck.dynamic_platform),
        cached_keys: flag(quote.platform.pck.cached_keys),
        smt: flag(quote.platform.pck.smt_enabled),
        valid_until: quote.earliest_expiration_date,
    };
    match &quote.report {
        Report::SgxEnclave(report) => Claims::Sgx(sgx(report, intel)),
        Report::TD10(report) => Claims::Tdx(Box::new(tdx(report, [0; 48], intel))),
        Report::TD15(report) => Claims::Tdx(Box::new(tdx15(report, intel))),
        Report::TD15Ex(report) => Claims::Tdx(Box::new(tdx15(&report.base, intel))),
    }
}

/// Every advisory at the levels of launch, of now and of the quoting enclave.
fn advisories(quote: &QuoteClaims) -> Vec<String> {
    let now = quote.platform.current_tcb_level.iter().flat_map(|level| &level.advisory_ids);
    let all: BTreeSet<&String> = quote.tcb.advisory_ids.iter().chain(now).collect();
    all.into_iter().cloned().collect()
}

fn sgx(report: &EnclaveReport, intel: IntelPlatform) -> SgxClaims {
    // The library's reserved bytes hold what key separation and sharing (KSS) defines: CONFIGID
    // ends the third run of them, CONFIGSVN begins the fourth.
    let (_, config_id) = report.reserved3.split_last_chunk().unwrap_or((&[], &[0; 64]));
    let config_svn = report.reserved4.first_chunk().map_or(0, |b| u16::from_le_bytes(*b));
    SgxClaims {
        mrenclave: report.mr_enclave,
        mrsigner: report.mr_signer,
        isv_prod_id: report.isv_prod_id,
        isv_svn: report.isv_svn,
        debug: first(&report.attributes) & SGX_DEBUG != 0,
        attributes: report.attributes,
        misc_select: report.misc_select,
        config_id: *config_id,
        config_svn,
        report_data: report.report_data,
        intel,
    }
}

fn tdx15(report: &TDReport15, intel: IntelPlatform) -> TdxClaims {
    tdx(&report.base, report.mr_service_td, intel)
}

fn tdx(report: &TDReport10, mrservicetd: [u8; 48], intel: IntelPlatform) -> TdxClaims {
    let attributes = u64::from_le_bytes(report.td_attributes);
    TdxClaims {
        mrtd: report.mr_td,
        rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3],
        mrconfigid: report.mr_config_id,
        mrowner: report.mr_owner,
        mrownerconfig: report.mr_owner_config,
        mrseam: report.mr_seam,
        debug: attributes & TDX_UNTRUSTED != 0,
        attributes: report.td_attributes,
        xfam: report.xfam,
        tee_tcb_svn: report.tee_tcb_svn,
        mrservicetd,
        service_td: mrservicetd != [0; 48] || attributes & TDX_SERVTD_EXT != 0,
        report_data: report.report_data,
        intel,
    }
}

fn flag(flag: PckCertFlag) -> Option<bool> {
    match flag {
        PckCertFlag::True => Some(true),
        PckCertFlag::False => Some(false),
        PckCertFlag::Undefined => None,
    }
}

fn first(bytes: &[u8; 16]) -> u8 {
    let [first, ..] = *bytes;
    first
}

fn malformed(piece: Piece, detail: &'static str) -> Reason {
    Reason::Malformed { piece, detail }
}

/// ATTRIBUTES.DEBUG.
const SGX_DEBUG: u8 = 2;

/// TDATTRIBUTES, group TUD: any bit leaves the machine untrusted (debug, profiling).
const TDX_UNTRUSTED: u64 = 0xff;

/// TDATTRIBUTES.SERVTD_EXT.
const TDX_SERVTD_EXT: u64 = 1 << 17;

#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
