//! From evidence to a verdict.

use crate::binding::Bound;
use crate::claims::Claims;
use crate::evidence::{Collateral, Evidence, MAX_COLLATERAL, MAX_EVIDENCE, bounded};
use crate::names::Piece;
use crate::policy::{Policy, PolicyId};
use crate::reason::Reason;
use crate::snp::SnpRoot;
use crate::{dcap, nitro, snp};

/// What becomes of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The vendor's root vouches for it, the policy accepts it, and it is about what was expected.
    Attested(Box<Attested>),
    /// It is not trusted.
    Untrusted(Reason),
}

/// A program that was verified: what it is, and the key that only it has.
///
/// Made by [`verify`] and by nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    claims: Claims,
    bound: Bound,
    policy: PolicyId,
    valid_until: u64,
}

impl Attested {
    /// What the evidence says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What it is about.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The policy that accepted it.
    pub fn policy(&self) -> PolicyId {
        self.policy
    }

    /// Until when (seconds since 1970) the verdict may be used again for the same key and
    /// policy: an hour, or as long as the collateral lasts.
    pub fn valid_until(&self) -> u64 {
        self.valid_until
    }
}

/// Decides whether `evidence` is to be trusted at `now` (seconds since 1970): the vendor's root
/// has to vouch for it, `policy` has to accept what it says, and it has to be about `expected`,
/// in which the policy has to be named.
///
/// Never a panic where the target unwinds.
pub fn verify(evidence: &Evidence, collateral: &Collateral, policy: &Policy, expected: &Bound, now: u64) -> Verdict {
    verify_under(&Roots::VENDORS, evidence, collateral, policy, expected, now)
}

pub(crate) fn verify_under(
    roots: &Roots<'_>,
    evidence: &Evidence,
    collateral: &Collateral,
    policy: &Policy,
    expected: &Bound,
    now: u64,
) -> Verdict {
    let attested = || {
        let claims = authenticate_under(roots, evidence, collateral, now)?;
        policy.judge(&claims, now)?;
        check_binding(claims.report_data(), policy, expected)?;
        let valid_until = claims.valid_until().min(now.saturating_add(VERDICT_LASTS));
        Ok(Attested { claims, bound: expected.clone(), policy: policy.id(), valid_until })
    };
    attested().map_or_else(Verdict::Untrusted, |attested| Verdict::Attested(Box::new(attested)))
}

/// **Errors:** [`Reason::PolicyNotNamed`], [`Reason::Binding`].
pub(crate) fn check_binding(found: Option<[u8; 64]>, policy: &Policy, expected: &Bound) -> Result<(), Reason> {
    let policies = [expected.data_policy, expected.model_policy];
    match () {
        () if !policies.contains(&Some(policy.id())) => Err(Reason::PolicyNotNamed),
        () if found != Some(expected.report_data()) => Err(Reason::Binding),
        () => Ok(()),
    }
}

/// The longest use of one verdict, seconds.
const VERDICT_LASTS: u64 = 3600;

/// What `evidence` says, if the platform vendor's root vouches for it at `now` (seconds since
/// 1970).
///
/// This is a part of [`verify`]: whether what it says is good enough is a policy's to decide,
/// and whether it says it about the machine at the other end of a connection is the binding's.
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
        (Evidence::Simulated(_), _) => Err(Reason::Simulated),
        (Evidence::Dcap(_), Collateral::Snp(_) | Collateral::Nitro | Collateral::Simulated)
        | (Evidence::Snp(_), Collateral::Dcap(_) | Collateral::Nitro | Collateral::Simulated)
        | (Evidence::Nitro(_), Collateral::Dcap(_) | Collateral::Snp(_) | Collateral::Simulated) => {
            Err(Reason::WrongCollateral)
        }
    });
    std::panic::catch_unwind(guarded).unwrap_or(Err(Reason::Crashed))
}

#[cfg(test)]
pub(crate) mod tests;
