//! A comparison as one self-contained HTML page: pictures drawn here as SVG, no script,
//! no request to anywhere, readable in print, in the dark and without colour.

mod plot;
mod svg;
mod table;
mod trust;

use crate::backends::Via;
use crate::compare::beside::ONNX_RUNTIME;
use crate::text;
use plot::{Group, Plot, Point, Scale};
use std::time::{SystemTime, UNIX_EPOCH};
use subrosa_core::{Claim, Finding, Report, Row, Verdict};
use svg::escape;

/// What a page says beside the figures.
#[derive(Clone, Debug)]
pub struct Context {
    /// The command that made it.
    pub command: String,
    /// When, in UTC.
    pub date: String,
    /// The data it ran on.
    pub data: String,
}

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(report: &Report, context: &Context) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    out += &format!("<title>Subrosa comparison</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n");
    out += &head(report, context);
    out += &findings(&report.findings);
    let plots = plots(report);
    let (first, rest) = plots.split_at(plots.len().min(1));
    out += &first.iter().map(Plot::figure).collect::<String>();
    out += &trust::figure(&report.rows);
    out += &rest.iter().map(Plot::figure).collect::<String>();
    out += &table::rows(report);
    out += &claims(report);
    out += &conditions(report, context);
    out + "</main>\n</body>\n</html>\n"
}

/// Now, as `2026-01-31 12:00 UTC`.
pub fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    utc(seconds)
}

/// Seconds since 1970 as a date and time (Howard Hinnant's `civil_from_days`, years after
/// 1970 only).
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest % 3600 / 60)
}

fn head(report: &Report, context: &Context) -> String {
    let mut out = format!("<h1>Private inference, side by side</h1>\n<p class=\"lead\">{}</p>\n", summary(report));
    out += &format!("<p class=\"meta\">{} · <code>{}</code></p>\n", escape(&context.date), escape(&context.command));
    out
}

/// The result in one or two sentences.
fn summary(report: &Report) -> String {
    let protected: Vec<_> = report.rows.iter().filter(|r| !is_plain(r)).collect();
    let models = distinct(report.rows.iter().map(|r| r.model.as_str())).len();
    let Some(worst) = protected.iter().map(|r| r.slowdown_vs_plain).reduce(f64::max) else {
        return format!("{models} models in the clear.");
    };
    let best = protected.iter().map(|r| r.slowdown_vs_plain).fold(worst, f64::min);
    let agreement = protected.iter().map(|r| r.agreement).fold(1.0, f64::min);
    format!(
        "{models} model{}, each in the clear and protected. Protection costs {} to {} times the plain latency at the \
         same batch size; {} of the answers are the same.",
        if models == 1 { "" } else { "s" },
        text::significant(best),
        text::significant(worst),
        if agreement == 1.0 { "all".to_owned() } else { format!("at least {}", text::percent(agreement)) }
    )
}

fn is_plain(row: &Row) -> bool {
    row.in_the_clear()
}

/// What the marks of a plot stand for.
const KINDS: [&str; 4] = ["in the clear", "Subrosa", "another library", "Subrosa, offline"];

/// The last of them.
const OFFLINE: usize = KINDS.len() - 1;

/// A row's mark: [`KINDS`].
fn mark_of(row: &Row) -> usize {
    match row.backend.parse::<Via>() {
        _ if is_plain(row) => 0,
        Ok(_) => 1,
        Err(_) => 2,
    }
}

/// Claims held against the rows.
fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let line = |f: &Finding| {
        let (class, word) = match f.verdict {
            Verdict::Holds => ("holds", "holds"),
            Verdict::Fails => ("fails", "does not hold"),
            Verdict::Open => ("open", "not measured"),
        };
        format!("<li class=\"{class}\"><strong>{}</strong>: {word} here. {}</li>\n", escape(&f.claim), escape(&f.found))
    };
    let lines: String = findings.iter().map(line).collect();
    format!("<section id=\"findings\">\n<h2>The claims, held against these rows</h2>\n<ul>\n{lines}</ul>\n</section>\n")
}

/// The distinct values in order of first appearance.
fn distinct<'a, T: PartialEq>(values: impl Iterator<Item = T> + 'a) -> Vec<T> {
    let mut out = Vec::new();
    for value in values {
        if !out.contains(&value) {
            out.push(value);
        }
    }
    out
}

fn plots(report: &Report) -> Vec<Plot> {
    let rows = &report.rows;
    let protected: Vec<Row> = rows.iter().filter(|r| !is_plain(r)).cloned().collect();
    let mut plots = vec![
        Plot::of("slowdown", "Slowdown against plain", "times the plain latency, same batch size", Scale::Log)
            .from(1.0)
            .note("1 is as fast as in the clear; each grid line is ten times the one before.")
            .kinds(&KINDS)
            .with(groups(&protected, |r| Some(r.slowdown_vs_plain), |x| format!("{} x", text::significant(x)))),
        Plot::of(
            "against-onnxruntime",
            "Slowdown against ONNX Runtime",
            "times its latency on one thread, same batch size",
            Scale::Log,
        )
        .from(1.0)
        .note("ONNX Runtime is the fastest plain engine; our own, tract, stands among the rows.")
        .kinds(&KINDS)
        .with(groups(
            &rows.iter().filter(|r| r.backend != ONNX_RUNTIME).cloned().collect::<Vec<_>>(),
            |r| r.terms.slowdown_vs_onnxruntime,
            |x| format!("{} x", text::significant(x)),
        )),
        Plot::of("latency", "Latency of one batch", "median; thin mark: 95th percentile", Scale::Log)
            .ticks(text::millis_round)
            .kinds(&KINDS)
            .with(with_high(groups(rows, |r| Some(r.latency_ms_p50), text::millis), rows)),
        Plot::of("throughput", "Throughput", "images per second", Scale::Log).kinds(&KINDS).with(groups(
            rows,
            |r| Some(r.throughput_per_s),
            |x| format!("{}/s", text::significant(x)),
        )),
        Plot::of("bytes", "Network traffic", "bytes per image, all parties together", Scale::Log)
            .ticks(text::bytes_round)
            .kinds(&KINDS)
            .with(traffic(&protected)),
        Plot::of("accuracy", "Accuracy", "share of right answers", Scale::Linear)
            .note("For each model, the rows over the most images.")
            .kinds(&KINDS)
            .with(groups(&most_images(rows), |r| r.accuracy, text::percent)),
        Plot::of("gap", "Accuracy lost", "percentage points below plain, on the same images", Scale::Points)
            .note("Left of 0: better than plain, by chance. Few images make steps: one of 100 is a whole point.")
            .kinds(&KINDS)
            .with(groups(
                &most_images(&protected),
                |r| Some(r.plain_accuracy? - r.accuracy?),
                |x| format!("{:.2}", x * 100.0),
            )),
    ];
    plots.retain(|p| !p.is_empty());
    plots
}

/// One group a model and batch size, one point a backend.
fn groups(rows: &[Row], value: impl Fn(&Row) -> Option<f64>, show: impl Fn(f64) -> String) -> Vec<Group> {
    let keys = distinct(rows.iter().map(|r| (r.model.clone(), r.batch)));
    let point = |r: &Row| {
        let value = value(r)?;
        Some(Point { series: r.label(), mark: mark_of(r), value, shown: show(value), high: None })
    };
    let group = |(model, batch): (String, usize)| Group {
        points: rows.iter().filter(|r| r.model == model && r.batch == batch).filter_map(point).collect(),
        label: format!("{model}, batch {batch}"),
    };
    keys.into_iter().map(group).filter(|g| !g.points.is_empty()).collect()
}

/// For each model and backend, the row over the most images.
fn most_images(rows: &[Row]) -> Vec<Row> {
    let beaten = |r: &Row| rows.iter().any(|o| (&o.model, &o.backend) == (&r.model, &r.backend) && o.images > r.images);
    rows.iter().filter(|r| !beaten(r)).cloned().collect()
}

/// The 95th percentiles, in the order in which `groups` lays the rows out.
fn with_high(mut groups: Vec<Group>, rows: &[Row]) -> Vec<Group> {
    let keys = distinct(rows.iter().map(|r| (r.model.clone(), r.batch)));
    let ordered = keys.iter().flat_map(|key| rows.iter().filter(move |r| (&r.model, r.batch) == (&key.0, key.1)));
    let points = groups.iter_mut().flat_map(|g| &mut g.points);
    points.zip(ordered).for_each(|(point, row)| point.high = Some(row.latency_ms_p95));
    groups
}

/// Offline and online bytes an image, as series of each protected backend.
fn traffic(rows: &[Row]) -> Vec<Group> {
    let point = |mark: usize, when: &str, field: &str, r: &Row, bytes: u64| {
        let bytes = if r.tells(field) { bytes } else { 0 };
        let value = bytes as f64 / r.batch as f64;
        Point { series: format!("{} {when}", r.label()), mark, value, shown: text::bytes(value), high: None }
    };
    let keys = distinct(rows.iter().map(|r| (r.model.clone(), r.batch)));
    let group = |(model, batch): (String, usize)| Group {
        points: rows
            .iter()
            .filter(|r| r.model == model && r.batch == batch)
            .flat_map(|r| {
                let mark = mark_of(r);
                [
                    point(mark, "online", "bytes_online", r, r.bytes_online),
                    point(OFFLINE, "offline", "bytes_offline", r, r.bytes_offline),
                ]
            })
            .filter(|p| p.value > 0.0)
            .collect(),
        label: format!("{model}, batch {batch}"),
    };
    keys.into_iter().map(group).filter(|g| !g.points.is_empty()).collect()
}

/// Who learns what, for every backend in the report.
fn claims(report: &Report) -> String {
    let mut out = String::from("<section id=\"claims\">\n<h2>Who learns what</h2>\n<dl>\n");
    for name in distinct(report.rows.iter().map(|r| r.backend.as_str())) {
        let Ok(via) = name.parse::<Via>() else {
            out += &library(report.rows.iter().find(|r| r.backend == name));
            continue;
        };
        let claim = via.claim_in(&report.rows);
        out += &format!("<dt>{}</dt>\n<dd><p>{}</p>\n<ul>\n", escape(name), escape(claim.summary));
        out += &claim.learns.iter().map(|s| format!("<li>{}</li>\n", escape(s))).collect::<String>();
        out += &format!("</ul>\n<p class=\"meta\">{}. Source: {}.</p></dd>\n", against(&claim), escape(via.source()));
    }
    out + "</dl>\n</section>\n"
}

/// What another library says of itself.
fn library(row: Option<&Row>) -> String {
    let Some(row) = row else { return String::new() };
    let Row { backend, claim, terms, .. } = row;
    format!(
        "<dt>{}</dt>\n<dd><p>{}</p>\n<p class=\"meta\">Another library: {}. Adversary: {}. Trusted: {}. {}.</p></dd>\n",
        escape(backend),
        escape(claim),
        escape(&terms.version),
        escape(&terms.adversary),
        escape(&terms.trusted),
        escape(&terms.parameters)
    )
}

/// The adversary in one line.
fn against(claim: &Claim) -> String {
    let Claim { adversary, parties, threshold, security_bits, .. } = claim;
    match security_bits {
        0 => format!("Adversary: {adversary}"),
        bits => format!(
            "Adversary: {adversary}, in up to {threshold} of {parties} parties; {bits}-bit computational security"
        ),
    }
}

/// Where and how the figures were measured.
fn conditions(report: &Report, context: &Context) -> String {
    let m = &report.machine;
    let join = |values: Vec<String>| if values.is_empty() { "none".to_owned() } else { values.join(", ") };
    let rows = &report.rows;
    let facts = [
        ("Machine", format!("{}, {} logical cores, {} MiB memory, {}", m.cpu, m.cores, text::thousands(m.memory_mb), m.os)),
        ("Arithmetic", format!("{} kernels", m.isa)),
        ("Threads a party", join(distinct(rows.iter().map(|r| r.threads.to_string())))),
        ("Network", join(distinct(rows.iter().filter(|r| !is_plain(r)).map(|r| r.network.clone())))),
        ("Data", context.data.clone()),
        ("Latency", "one batch, preprocessing (offline) included, median and 95th percentile of full batches after one that does not count".to_owned()),
        ("Slowdown", "median latency over that of the plain run: same batch size, process, samples and thread count".to_owned()),
        ("Parties", "all on this one machine, sharing its cores".to_owned()),
        ("Insecure flags", join(distinct(rows.iter().flat_map(|r| r.insecure.iter().cloned())))),
        ("Load before the run", m.load.map_or_else(|| "not told by the system".to_owned(), load)),
        ("Version", format!("subrosa {}", m.subrosa)),
    ];
    let lines: String =
        facts.iter().map(|(k, v)| format!("<tr><th scope=\"row\">{k}</th><td>{}</td></tr>\n", escape(v))).collect();
    format!(
        "<section id=\"conditions\">\n<h2>How it was measured</h2>\n<table class=\"facts\">\n{lines}</table>\n</section>\n"
    )
}

/// Above a few tenths, others were using the machine.
fn load(load: f64) -> String {
    let remark = if load > BUSY { ": the machine was busy, times are too long" } else { "" };
    format!("{load:.2} processes{remark}")
}

/// A load above this makes times doubtful.
pub const BUSY: f64 = 0.5;

#[cfg(test)]
mod tests;
