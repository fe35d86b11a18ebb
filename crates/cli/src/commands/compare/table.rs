//! The rows as a person reads them in a terminal.

use crate::print::{self, Left, Right};
use comfy_table::CellAlignment;
use subrosa::{Report, Row, Via, text};

const COLUMNS: [(&str, CellAlignment); 11] = [
    ("model", Left),
    ("backend", Left),
    ("batch", Right),
    ("images", Right),
    ("accuracy", Right),
    ("as plain", Right),
    ("latency", Right),
    ("images/s", Right),
    ("slowdown", Right),
    ("sent/image", Right),
    ("rounds", Right),
];

pub(super) fn show(report: &Report, data: &str) -> String {
    let m = &report.machine;
    let mut out = format!("{data}; {}, {} cores, {} MiB\n", m.cpu, m.cores, text::thousands(m.memory_mb));
    out += &print::table(&COLUMNS, rows(&report.rows));
    out += "  as plain: share of images with the same answer as in the clear\n";
    out += "  latency: median of one batch, preprocessing included; slowdown: against plain at the same batch\n";
    out += "  sent/image: bytes between all parties; all parties run on this machine\n";
    let insecure = |flag: &str| report.rows.iter().any(|r| r.insecure.iter().any(|f| f == flag));
    if insecure("public-weights") {
        out += "  --public-weights: each server also knows the weights, whatever stands below\n";
    }
    if insecure("self-dealer") {
        out += "  --insecure-self-dealer: party 0 deals for itself and knows everything, whatever stands below\n";
    }
    for absent in &report.absent {
        out += &format!("  {}: not available here: {}\n", absent.backend, text::wrap(&absent.why, 100, 2));
    }
    out.push('\n');
    out + &claims(report)
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
    let plain = r.backend == Via::Plain.name();
    let protected = |text: String| if plain { "-".to_owned() } else { text };
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
        protected(text::bytes((r.bytes_offline + r.bytes_online) as f64 / r.batch as f64)),
        protected(text::thousands(r.rounds)),
    ]
}

/// Who learns what under each backend of the report.
fn claims(report: &Report) -> String {
    let used = Via::ALL.into_iter().filter(|via| report.rows.iter().any(|r| r.backend == via.name()));
    let claim = |via: Via| {
        let rows = report.rows.iter().filter(|r| r.backend == via.name());
        // A row's own claim says what its options left of the backend's.
        let simulated = rows.clone().find(|r| r.simulated());
        let summary = simulated.map_or(via.claim().summary, |row| row.claim.as_str());
        if simulated.is_some() {
            return format!("{:<8} {summary}\n", via.name());
        }
        let learns: String =
            via.claim().learns.iter().map(|s| format!("         {}\n", text::wrap(s, 100, 9))).collect();
        format!("{:<8} {}\n{learns}", via.name(), summary)
    };
    used.map(claim).collect()
}
