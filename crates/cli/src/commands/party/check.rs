//! `subrosa party check`.

use crate::failure::{Failure, Result};
use crate::print::{self, Left, Right};
use crate::remote::ClusterFlags;
use clap::Args;
use serde_json::json;
use subrosa::deploy::{Measured, PartyReport, Status};
use subrosa::text;

/// A look at all parties.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Imitate a network on parties of one machine: lan, wan, or RTT,BANDWIDTH
    #[arg(long, value_name = "SHAPE")]
    network: Option<subrosa::Network>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        let cluster = self.cluster.connect()?;
        let reports = cluster.check(self.network);
        let expected = cluster.config().digest();
        let healthy = reports.iter().all(|r| problems(r, &expected).is_empty());
        if self.json {
            let all: Vec<_> = reports.iter().map(|r| as_json(r, &expected)).collect();
            print::json(&json!({"healthy": healthy, "parties": all}))?;
        } else {
            print::out(&party_table(&reports, &expected))?;
            print::out(&way_table(&reports))?;
        }
        if healthy { Ok(()) } else { Err(Failure::Negative) }
    }
}

/// Clocks further apart than this are a problem: certificates have dates.
const CLOCK_TOLERANCE_S: f64 = 60.0;

/// Certificates that expire sooner are a problem.
const DAYS_LEFT: f64 = 14.0;

fn problems(report: &PartyReport, expected: &[u8; 32]) -> Vec<String> {
    let Ok(status) = &report.status else { return vec!["does not answer".to_owned()] };
    let mut problems = Vec::new();
    if status.cluster != *expected {
        problems.push("has another subrosa.toml".to_owned());
    }
    if status.version != env!("CARGO_PKG_VERSION") {
        problems.push(format!("runs version {}, here is {}", status.version, env!("CARGO_PKG_VERSION")));
    }
    if report.clock_offset_s.is_some_and(|s| s.abs() > CLOCK_TOLERANCE_S) {
        problems.push("its clock differs".to_owned());
    }
    if days_left(status) < DAYS_LEFT {
        problems.push("its certificate expires soon".to_owned());
    }
    let ways = report.links.iter().filter(|l| l.result.is_err());
    problems.extend(ways.map(|l| format!("does not reach {}", l.peer)));
    problems
}

fn days_left(status: &Status) -> f64 {
    (status.expires_s as f64 - status.clock_ns as f64 / 1e9) / 86_400.0
}

fn party_table(reports: &[PartyReport], expected: &[u8; 32]) -> String {
    let columns =
        [("party", Left), ("address", Left), ("clock", Right), ("certificate", Right), ("models", Left), ("", Left)];
    let row = |r: &PartyReport| {
        let (clock, days, models) = match &r.status {
            Ok(status) => {
                let models: Vec<_> = status.models.iter().map(|m| format!("{}@{}", m.name, m.version)).collect();
                let clock = format!("{:+.3} s", r.clock_offset_s.unwrap_or(0.0));
                (clock, format!("{:.0} days", days_left(status)), models.join(" "))
            }
            Err(_) => Default::default(),
        };
        let problems = problems(r, expected);
        let verdict = if problems.is_empty() { "well".to_owned() } else { problems.join(", ") };
        vec![r.name.clone(), r.address.clone(), clock, days, models, verdict]
    };
    let mut page = print::table(&columns, reports.iter().map(row).collect());
    for error in reports.iter().filter_map(|r| r.status.as_ref().err()) {
        page += &format!("{error}\n");
    }
    page
}

fn way_table(reports: &[PartyReport]) -> String {
    let columns = [("from", Left), ("to", Left), ("round trip", Right), ("bandwidth", Right)];
    let row = |from: &str, m: &Measured| {
        let (trip, rate) = match &m.result {
            Ok((nanos, rate)) => (format!("{:.3} ms", *nanos as f64 / 1e6), text::bytes(*rate) + "/s"),
            Err(_) => ("-".to_owned(), "-".to_owned()),
        };
        vec![from.to_owned(), m.peer.clone(), trip, rate]
    };
    let mut rows: Vec<_> = reports.iter().map(|r| row("here", &r.link)).collect();
    rows.extend(reports.iter().flat_map(|r| r.links.iter().map(|l| row(&r.name, l))));
    let mut page = print::table(&columns, rows);
    let failed = reports.iter().flat_map(|r| r.links.iter().map(move |l| (&r.name, l)));
    for (name, error) in failed.filter_map(|(n, l)| l.result.as_ref().err().map(|e| (n, e))) {
        page += &format!("{name}: {error}\n");
    }
    page
}

fn as_json(report: &PartyReport, expected: &[u8; 32]) -> serde_json::Value {
    let way = |m: &Measured| match &m.result {
        Ok((nanos, rate)) => json!({"to": m.peer, "round_trip_ms": *nanos as f64 / 1e6, "bytes_per_s": rate}),
        Err(error) => json!({"to": m.peer, "error": error}),
    };
    let mut value = json!({
        "name": report.name,
        "address": report.address,
        "problems": problems(report, expected),
        "way_from_here": way(&report.link),
        "ways": report.links.iter().map(way).collect::<Vec<_>>(),
    });
    match &report.status {
        Ok(status) => {
            let models: Vec<_> = status.models.iter().map(|m| json!({"name": m.name, "version": m.version})).collect();
            value["version"] = status.version.clone().into();
            value["clock_offset_s"] = report.clock_offset_s.into();
            value["certificate_days"] = days_left(status).into();
            value["sessions"] = status.sessions.into();
            value["models"] = models.into();
        }
        Err(error) => value["error"] = error.clone().into(),
    }
    value
}
