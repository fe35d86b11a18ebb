//! The rows as a table.

use super::is_plain;
use super::svg::escape;
use crate::text;
use subrosa_core::{Absent, Report, Row};

/// Header and cell of each column.
type Column = (&'static str, fn(&Row) -> String);

const COLUMNS: [Column; 20] = [
    ("Model", |r| r.model.clone()),
    ("Backend", |r| r.backend.clone()),
    ("Who must be trusted", |r| r.terms.trusted.clone()),
    ("Batch", |r| r.batch.to_string()),
    ("Images", |r| text::thousands(r.images as u64)),
    ("Accuracy", |r| r.accuracy.map_or_else(dash, text::percent)),
    ("As plain", |r| protected(r, text::percent(r.agreement))),
    ("Largest error", |r| protected(r, r.max_abs_err.map_or_else(dash, |e| format!("{e:.1e}")))),
    ("Latency p50", |r| text::millis(r.latency_ms_p50)),
    ("Latency p95", |r| text::millis(r.latency_ms_p95)),
    ("of it offline", |r| protected(r, text::millis(r.offline_ms))),
    ("Images/s", |r| text::significant(r.throughput_per_s)),
    ("Slowdown", |r| protected(r, format!("{} x", text::significant(r.slowdown_vs_plain)))),
    ("vs ONNX Runtime", |r| {
        r.terms.slowdown_vs_onnxruntime.map_or_else(dash, |x| format!("{} x", text::significant(x)))
    }),
    ("Offline bytes", |r| told(r, "bytes_offline", text::bytes(r.bytes_offline as f64))),
    ("Online bytes", |r| told(r, "bytes_online", text::bytes(r.bytes_online as f64))),
    ("Rounds", |r| told(r, "rounds", text::thousands(r.rounds))),
    ("Security, bits", |r| protected(r, r.security_bits.to_string())),
    ("Insecure", |r| if r.insecure.is_empty() { dash() } else { r.insecure.join(", ") }),
    ("Parameters", |r| r.terms.parameters.clone()),
];

pub(super) fn rows(report: &Report) -> String {
    let Report { rows, absent, .. } = report;
    let header: String = COLUMNS.iter().map(|(name, _)| format!("<th scope=\"col\">{name}</th>")).collect();
    let line = |row: &Row| {
        let cells: String = COLUMNS.iter().map(|(_, cell)| format!("<td>{}</td>", escape(&cell(row)))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let missing = |Absent { model, backend, why }: &Absent| {
        let (model, backend) = (escape(model.as_deref().unwrap_or_default()), escape(backend));
        let rest = COLUMNS.len() - 2;
        format!(
            "<tr class=\"absent\"><td>{model}</td><td>{backend}</td><td colspan=\"{rest}\">{}</td></tr>\n",
            escape(why)
        )
    };
    let body: String = rows.iter().map(line).chain(absent.iter().map(missing)).collect();
    format!(
        "<section id=\"rows\">\n<h2>All figures</h2>\n<p class=\"unit\">latency, bytes and rounds of one batch; largest error and answers as plain: against the clear run</p>\n\
         <div class=\"scroll\">\n<table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n\
         </section>\n"
    )
}

/// What means nothing in the clear is a dash there.
fn protected(row: &Row, text: String) -> String {
    if is_plain(row) { dash() } else { text }
}

/// Nor is there anything to show that a library does not tell.
fn told(row: &Row, field: &str, text: String) -> String {
    if row.tells(field) { protected(row, text) } else { dash() }
}

fn dash() -> String {
    "–".to_owned()
}
