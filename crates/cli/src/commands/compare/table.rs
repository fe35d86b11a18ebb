//! The rows as a person reads them in a terminal.

use crate::print::{self, Left, Right};
use comfy_table::CellAlignment;
use subrosa::{Absent, Finding, Report, Row, Verdict, Via, text};

const COLUMNS: [(&str, CellAlignment); 12] = [
    ("model", Left),
    ("backend", Left),
    ("batch", Right),
    ("images", Right),
    ("accuracy", Right),
    ("as plain", Right),
    ("latency", Right),
    ("images/s", Right),
    ("slowdown", Right),
    ("vs ORT", Right),
    ("sent/image", Right),
    ("rounds", Right),
];

/// The column of ONNX Runtime.
const VS_ORT: usize = 9;

pub(super) fn show(report: &Report, data: &str) -> String {
    let m = &report.machine;
    let mut out = format!("{data}; {}, {} cores, {} MiB\n", m.cpu, m.cores, text::thousands(m.memory_mb));
    let fastest = report.rows.iter().any(|r| r.terms.slowdown_vs_onnxruntime.is_some());
    let (columns, rows) = without_unused(rows(&report.rows), fastest);
    out += &print::table(&columns, rows);
    out += "  as plain: share of images with the same answer as in the clear\n";
    out += "  latency: median of one batch, preprocessing included; slowdown: against plain at the same batch\n";
    if fastest {
        out += "  vs ORT: times the latency of ONNX Runtime on one thread, the fastest plain engine\n";
    }
    out += "  sent/image: bytes between all parties; all parties run on this machine\n";
    let insecure = |flag: &str| report.rows.iter().any(|r| r.insecure.iter().any(|f| f == flag));
    if insecure("public-weights") {
        out += "  --public-weights: each server also knows the weights, whatever stands below\n";
    }
    if insecure("self-dealer") {
        out += "  --insecure-self-dealer: party 0 deals for itself and knows everything\n";
    }
    out += &report.absent.iter().map(absent).collect::<String>();
    out.push('\n');
    out += &claims(report);
    out + &report.findings.iter().map(finding).collect::<String>()
}

/// Without the column of ONNX Runtime where that did not run.
fn without_unused(mut rows: Vec<Vec<String>>, fastest: bool) -> (Vec<(&'static str, CellAlignment)>, Vec<Vec<String>>) {
    let mut columns = COLUMNS.to_vec();
    if !fastest {
        columns.remove(VS_ORT);
        rows.iter_mut().for_each(|row| drop(row.remove(VS_ORT)));
    }
    (columns, rows)
}

fn absent(Absent { model, backend, why }: &Absent) -> String {
    let model = model.as_deref().map(|m| format!("{m} ")).unwrap_or_default();
    format!("  {}\n", text::wrap(&format!("no row for {model}via {backend}: {why}"), 110, 4))
}

fn finding(Finding { claim, verdict, found }: &Finding) -> String {
    let mark = match verdict {
        Verdict::Holds => "[x] holds",
        Verdict::Fails => "[ ] does not hold",
        Verdict::Open => "[?] not measured",
    };
    format!("{claim}\n  {mark}. {}\n", text::wrap(found, 110, 2))
}

/// A model's and backend's name stands once, at the first of its rows.
fn rows(rows: &[Row]) -> Vec<Vec<String>> {
    let mut previous = "";
    let mut out = Vec::new();
    for row in rows {
        let mut cells = cells(row);
        if row.model == previous {
            cells[0].clear();
        }
        previous = &row.model;
        out.push(cells);
    }
    out
}

fn cells(r: &Row) -> Vec<String> {
    let plain = r.in_the_clear();
    let protected = |text: String| if plain { "-".to_owned() } else { text };
    let told = |field: &str, text: String| if r.tells(field) { protected(text) } else { "-".to_owned() };
    vec![
        r.model.clone(),
        r.label(),
        r.batch.to_string(),
        text::thousands(r.images as u64),
        r.accuracy.map_or_else(|| "-".to_owned(), text::percent),
        protected(text::percent(r.agreement)),
        text::millis(r.latency_ms_p50),
        text::significant(r.throughput_per_s),
        protected(format!("{} x", text::significant(r.slowdown_vs_plain))),
        r.terms.slowdown_vs_onnxruntime.map_or_else(|| "-".to_owned(), |x| format!("{} x", text::significant(x))),
        told("bytes_online", text::bytes((r.bytes_offline + r.bytes_online) as f64 / r.batch as f64)),
        told("rounds", text::thousands(r.rounds)),
    ]
}

/// Who learns what under each backend of the report.
fn claims(report: &Report) -> String {
    let used = Via::ALL.into_iter().filter(|via| report.rows.iter().any(|r| r.backend == via.name()));
    let claim = |via: Via| {
        // What its options left of it.
        let claim = via.claim_in(&report.rows);
        let learns: String = claim.learns.iter().map(|s| format!("         {}\n", text::wrap(s, 100, 9))).collect();
        format!("{:<8} {}\n{learns}", via.name(), claim.summary)
    };
    let mut others: Vec<&Row> = Vec::new();
    for row in report.rows.iter().filter(|r| r.backend.parse::<Via>().is_err()) {
        if others.iter().all(|o| o.backend != row.backend) {
            others.push(row);
        }
    }
    used.map(claim).chain(others.into_iter().map(library)).collect()
}

/// What another library says of itself.
fn library(r: &Row) -> String {
    let line = |text: &str| format!("         {}\n", text::wrap(text, 100, 9));
    let insecure =
        if r.insecure.is_empty() { String::new() } else { line(&format!("insecure: {}", r.insecure.join(", "))) };
    let terms = format!("{}; {}; adversary: {}", r.terms.version, r.terms.parameters, r.terms.adversary);
    format!(
        "{:<12} {}\n{}{}{insecure}",
        r.backend,
        r.claim,
        line(&format!("trusted: {}", r.terms.trusted)),
        line(&terms)
    )
}
