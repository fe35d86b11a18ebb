//! The claims of the 2022 survey, held against the rows of a comparison, and our own: that we
//! are faster than every library at the same trust.
//!
//! Kuzniewski, Matusiewicz, Sapiecha, IJET 68(4) 2022, 741-747,
//! <https://doi.org/10.24425/ijet.2022.143880>: the claims are its abstract's. Its tables were
//! not at hand, so its very networks, batch sizes and machine are not repeated.

use crate::backends::Via;
use crate::compare::beside::ONNX_RUNTIME;
use crate::text;
use std::collections::BTreeSet;
use subrosa_core::{Finding, Row, Standing, Trust, Verdict};

/// The widest gap in accuracy that the survey saw.
const GAP: f64 = 0.012;
/// Fewer images than this say little of accuracy: one image is then a percent or more.
const ENOUGH_IMAGES: usize = 100;
/// The slowdown that the survey names.
const THOUSAND: f64 = 1000.0;
/// How a row of ours says that its parties share a process.
const IN_PROCESS: &str = "in-process";
/// What a polynomial twin's name ends in.
const TWIN: &str = "_square";

/// A peer's row beside our fastest one at the same trust.
pub struct Pair<'a> {
    /// The peer's.
    pub peer: &'a Row,
    /// Ours; none where we have nothing at this trust.
    pub ours: Option<&'a Row>,
}

impl Pair<'_> {
    /// How many times faster ours is; below 1, how much slower.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.peer.latency_ms_p50 / self.ours?.latency_ms_p50)
    }
}

/// The checklist.
pub fn findings(rows: &[Row]) -> Vec<Finding> {
    vec![accuracy(rows), order(rows), slowdown(rows), ahead(rows)]
}

/// Every protected row of another library with ours beside it: same network, same batch, no
/// more trust asked, no fewer bits of security.
pub fn pairs(rows: &[Row]) -> Vec<Pair<'_>> {
    let peers = rows.iter().filter(|r| is_protected(r) && !is_ours(r));
    peers.map(|peer| Pair { peer, ours: ours_beside(peer, rows) }).collect()
}

/// The same, as the report holds it.
pub fn standings(rows: &[Row]) -> Vec<Standing> {
    let standing = |pair: Pair<'_>| Standing {
        model: pair.peer.model.clone(),
        batch: pair.peer.batch,
        peer: pair.peer.backend.clone(),
        peer_ms: pair.peer.latency_ms_p50,
        ours: pair.ours.map(Row::label),
        ours_ms: pair.ours.map(|r| r.latency_ms_p50),
        ratio: pair.ratio(),
    };
    pairs(rows).into_iter().map(standing).collect()
}

fn ours_beside<'a>(peer: &Row, rows: &'a [Row]) -> Option<&'a Row> {
    let fits = |r: &&Row| {
        is_ours(r)
            && is_protected(r)
            && network(r) == network(peer)
            && r.batch == peer.batch
            && r.security_bits >= peer.security_bits
            && r.terms.trust.asks_no_more_than(peer.terms.trust)
    };
    rows.iter().filter(fits).min_by(|a, b| a.latency_ms_p50.total_cmp(&b.latency_ms_p50))
}

fn is_ours(row: &Row) -> bool {
    row.backend.parse::<Via>().is_ok()
}

fn is_protected(row: &Row) -> bool {
    row.terms.trust != Trust::Machine
}

/// The network, whether as it is or as its polynomial twin.
pub(crate) fn network(row: &Row) -> &str {
    row.model.strip_suffix(TWIN).unwrap_or(&row.model)
}

fn accuracy(rows: &[Row]) -> Finding {
    let told = rows.iter().filter(|r| is_protected(r) && r.images >= ENOUGH_IMAGES).filter_map(with_gap);
    let worst = told.max_by(|a, b| a.1.total_cmp(&b.1));
    let claim = "Accuracy under protection is within 1.2 % of plain";
    match worst {
        None => open(claim, "No protected row has 100 labelled images."),
        Some((row, gap)) => finding(
            claim,
            gap <= GAP,
            format!(
                "The widest gap over at least {ENOUGH_IMAGES} images is {} ({} via {}, {} images).",
                text::percent(gap.max(0.0)),
                row.model,
                row.backend,
                text::thousands(row.images as u64)
            ),
        ),
    }
}

/// A row and how far its accuracy is below plain's.
fn with_gap(row: &Row) -> Option<(&Row, f64)> {
    Some((row, row.plain_accuracy? - row.accuracy?))
}

/// The survey's families.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Tee,
    Mpc,
    He,
}

fn family(row: &Row) -> Option<Family> {
    match row.terms.trust {
        Trust::Machine => None,
        Trust::Hardware => Some(Family::Tee),
        Trust::OneDealingParty | Trust::Majority | Trust::MajorityCheating | Trust::Dealer | Trust::OneParty => {
            Some(Family::Mpc)
        }
        Trust::Key => Some(Family::He),
    }
}

/// Slowdowns are compared, not times: a twin is another model.
fn order(rows: &[Row]) -> Finding {
    let claim = "Speed: trusted hardware before multi-party computation before homomorphic encryption";
    let keys: BTreeSet<_> = rows.iter().map(|r| (network(r), r.batch)).collect();
    let mut told = Vec::new();
    let mut kept = true;
    let mut hardware = false;
    for (net, batch) in keys {
        let here =
            |f: Family| rows.iter().filter(move |r| family(r) == Some(f) && network(r) == net && r.batch == batch);
        let best = |f| here(f).map(|r| r.slowdown_vs_plain).reduce(f64::min);
        let times: Vec<_> = [Family::Tee, Family::Mpc, Family::He].into_iter().filter_map(best).collect();
        hardware |= best(Family::Tee).is_some();
        if times.len() < 2 {
            continue;
        }
        kept &= times.is_sorted();
        let words: Vec<_> = times.iter().map(|t| format!("{} x", text::significant(*t))).collect();
        told.push(format!("{net}, batch {batch}: {}", words.join(" / ")));
    }
    if told.is_empty() {
        return open(claim, "No network was run by two families.");
    }
    let families = if hardware { "trusted hardware / MPC / HE" } else { "MPC / HE; trusted hardware was not measured" };
    finding(claim, kept, format!("Least slowdown of each family ({families}): {}.", told.join("; ")))
}

fn slowdown(rows: &[Row]) -> Finding {
    let claim = "Most protected runs are at least 1000 times slower than plain";
    let count = |ours: bool| {
        let slowdowns: Vec<_> =
            rows.iter().filter(|r| is_protected(r) && is_ours(r) == ours).map(against_fastest).collect();
        (slowdowns.iter().filter(|s| **s >= THOUSAND).count(), slowdowns.len())
    };
    let ((ours, of_ours), (theirs, of_theirs)) = (count(true), count(false));
    let (slow, all) = (ours + theirs, of_ours + of_theirs);
    if all == 0 {
        return open(claim, "Nothing ran under protection.");
    }
    let fastest = rows.iter().any(|r| r.backend == ONNX_RUNTIME);
    let reference = if fastest { "the faster plain engine of the two" } else { "our plain engine" };
    finding(
        claim,
        2 * slow > all,
        format!(
            "{theirs} of {of_theirs} rows of other libraries and {ours} of {of_ours} of Subrosa's are, against {reference}."
        ),
    )
}

/// Against whichever plain engine was faster.
fn against_fastest(row: &Row) -> f64 {
    row.terms.slowdown_vs_onnxruntime.map_or(row.slowdown_vs_plain, |s| s.max(row.slowdown_vs_plain))
}

fn ahead(rows: &[Row]) -> Finding {
    let claim = "Subrosa is faster than every other library at the same trust and at least the same security";
    let pairs = pairs(rows);
    let named = |p: &Pair<'_>| format!("{} via {}, batch {}", p.peer.model, p.peer.backend, p.peer.batch);
    let behind: Vec<_> = pairs.iter().filter(|p| p.ratio().is_some_and(|r| r < 1.0)).collect();
    let alone: BTreeSet<_> = pairs.iter().filter(|p| p.ours.is_none()).map(|p| p.peer.backend.as_str()).collect();
    let ratios: Vec<_> = pairs.iter().filter_map(Pair::ratio).collect();
    let (Some(least), Some(most)) = (ratios.iter().copied().reduce(f64::min), ratios.iter().copied().reduce(f64::max))
    else {
        return open(claim, "No other library ran at a trust that Subrosa offers.");
    };
    let mut found =
        format!("Subrosa's times are {} to {} times shorter", text::significant(least), text::significant(most));
    if !behind.is_empty() {
        let worst: Vec<_> = behind
            .iter()
            .map(|p| format!("{} ({} x)", named(p), text::significant(1.0 / p.ratio().unwrap_or(1.0))))
            .collect();
        found = format!("Slower than: {}. Elsewhere up to {} times faster", worst.join("; "), text::significant(most));
    }
    if !alone.is_empty() {
        found +=
            &format!("; nothing of Subrosa's has the trust of {}", alone.into_iter().collect::<Vec<_>>().join(", "));
    }
    let within =
        pairs.iter().any(|p| p.ours.is_some_and(|r| r.network == IN_PROCESS) && p.peer.network.contains("processes"));
    if within {
        found += ". Subrosa's parties are threads of one process here, other libraries' are processes on loopback";
    }
    finding(claim, behind.is_empty(), found + ".")
}

fn finding(claim: &str, holds: bool, found: String) -> Finding {
    let verdict = if holds { Verdict::Holds } else { Verdict::Fails };
    Finding { claim: claim.to_owned(), verdict, found }
}

fn open(claim: &str, found: &str) -> Finding {
    Finding { claim: claim.to_owned(), verdict: Verdict::Open, found: found.to_owned() }
}

#[cfg(test)]
mod tests;
