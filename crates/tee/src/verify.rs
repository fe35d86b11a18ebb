//! From evidence to a verdict.

use crate::claims::Claims;
use crate::evidence::{Collateral, Evidence, MAX_COLLATERAL, MAX_EVIDENCE, bounded};
use crate::reason::{Piece, Reason};
use crate::snp::SnpRoot;
use crate::{dcap, nitro, snp};

/// What `evidence` says, if the platform vendor's root vouches for it at `now` (seconds since
/// 1970).
///
/// This is half of a verification: whether what it says is good enough is a policy's to
/// decide, and whether it says it about the machine at the other end of a connection is the
/// binding's.
///
/// **Errors:** a [`Reason`]; never a panic where the target unwinds.
pub fn authenticate(evidence: &Evidence, collateral: &Collateral, now: u64) -> Result<Claims, Reason> {
    authenticate_under(&Roots::VENDORS, evidence, collateral, now)
}

/// The certificates that everything rests on. Only tests have others than the vendors'.
pub(crate) struct Roots<'a> {
    pub(crate) intel: &'a [u8],
    pub(crate) amd: &'a [SnpRoot<'a>],
    pub(crate) aws: &'a [u8],
}

impl Roots<'static> {
    pub(crate) const VENDORS: Self = Self { intel: dcap::INTEL, amd: &snp::AMD, aws: nitro::AWS };
}

pub(crate) fn authenticate_under(
    roots: &Roots<'_>,
    evidence: &Evidence,
    collateral: &Collateral,
    now: u64,
) -> Result<Claims, Reason> {
    // The libraries below are not ours: a panic of theirs must not take a server down.
    let guarded = std::panic::AssertUnwindSafe(|| match (evidence, collateral) {
        (Evidence::Dcap(quote), Collateral::Dcap(json)) => {
            bounded(Piece::Quote, quote, MAX_EVIDENCE)?;
            bounded(Piece::Collateral, json, MAX_COLLATERAL)?;
            dcap::authenticate(quote, json, roots.intel, now)
        }
        (Evidence::Snp(report), Collateral::Snp(collateral)) => {
            let parts = [&collateral.certificate].into_iter();
            for part in parts.chain(&collateral.intermediate).chain(&collateral.revocation_list) {
                bounded(Piece::Collateral, part, MAX_COLLATERAL)?;
            }
            snp::authenticate(report, collateral, roots.amd, now)
        }
        (Evidence::Nitro(document), Collateral::Nitro) => {
            bounded(Piece::Document, document, MAX_EVIDENCE)?;
            nitro::authenticate(document, roots.aws, now)
        }
        (Evidence::Dcap(_), Collateral::Snp(_) | Collateral::Nitro)
        | (Evidence::Snp(_), Collateral::Dcap(_) | Collateral::Nitro)
        | (Evidence::Nitro(_), Collateral::Dcap(_) | Collateral::Snp(_)) => Err(Reason::WrongCollateral),
    });
    std::panic::catch_unwind(guarded).unwrap_or(Err(Reason::Crashed))
}
