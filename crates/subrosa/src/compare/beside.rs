//! A comparison with other libraries in it, in which a refusal is a line of the report and not
//! the end: every model by everything that can run it.

use super::peers::{Outcome, Patience, Peer, Runner, Task};
use super::{Comparison, Entry, Job, Workload};
use crate::backends::Via;
use crate::machine::machine;
use crate::{Error, Result};
use std::path::PathBuf;
use subrosa_core::{Absent, Report, Row, Trust};

/// A model with its file, which other libraries read.
pub struct Candidate {
    /// The model and its samples.
    pub entry: Entry,
    /// Its ONNX file.
    pub file: PathBuf,
    /// A model for the same task in polynomials: it takes the place of this one wherever this
    /// one is refused.
    pub twin: Option<Box<Candidate>>,
}

/// The other libraries.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Which.
    pub peers: Vec<Peer>,
    /// How long each may take for a row.
    pub patience: Patience,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The model at work.
    pub model: &'a str,
    /// The backend or library at work.
    pub backend: &'a str,
    /// Its batch size.
    pub batch: usize,
    /// What it says of itself; may be empty.
    pub words: &'a str,
    /// Runs done, of `total`.
    pub done: u64,
    /// Runs in all, as far as is known.
    pub total: u64,
    /// What stands so far.
    pub report: &'a Report,
}

/// Measures every candidate under every protection and every peer at every batch size. Where
/// one is refused, the report says so, and its twin is run in its place; homomorphic encryption
/// of ours is run on the twin in any case.
///
/// **Errors:** [`Error::Plan`] or [`Error::Input`] if a model cannot even be run in the clear;
/// [`Error::Misuse`] if there is nothing to compare.
pub fn compare_beside(
    candidates: &[Candidate],
    options: &Comparison,
    beside: &Beside,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Report> {
    if options.workloads.is_empty() || candidates.is_empty() {
        return Err(Error::misuse("there is nothing to compare", "name at least one model and batch size"));
    }
    let mut table = Table {
        report: Report { machine: machine(), ..Report::default() },
        options,
        beside,
        given_up: Vec::new(),
        done: 0,
        total: 0,
    };
    let lanes: Vec<_> = table.lanes();
    table.total = (candidates.len() * options.workloads.len() * lanes.len()) as u64;
    for candidate in candidates {
        for workload in &options.workloads {
            table.candidate(candidate, workload, &lanes, progress)?;
        }
    }
    against_onnxruntime(&mut table.report.rows);
    Ok(table.report)
}

/// One backend of ours, or one of a peer's.
#[derive(Clone, Copy)]
enum Lane<'a> {
    Ours(Via),
    Peer(&'a Peer, &'a str),
}

/// The report as it grows.
struct Table<'a> {
    report: Report,
    options: &'a Comparison,
    beside: &'a Beside,
    /// Models and backends that took too long at a smaller batch.
    given_up: Vec<(String, String)>,
    done: u64,
    total: u64,
}

impl<'a> Table<'a> {
    fn note(&mut self, absent: Absent) {
        if !self.report.absent.contains(&absent) {
            self.report.absent.push(absent);
        }
    }

    fn lanes(&self) -> Vec<Lane<'a>> {
        let ours = self.options.vias.iter().map(|&via| Lane::Ours(via));
        let peer = |peer: &'a Peer| {
            let backends = Runner::new(peer, self.beside.patience).backends();
            backends.iter().map(move |backend| Lane::Peer(peer, backend))
        };
        ours.chain(self.beside.peers.iter().flat_map(peer)).collect()
    }

    fn candidate(
        &mut self,
        candidate: &Candidate,
        workload: &Workload,
        lanes: &[Lane<'a>],
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<()> {
        let refused = self.run(candidate, workload, lanes, progress)?;
        let Some(twin) = candidate.twin.as_deref() else { return Ok(()) };
        let polynomial = |lane: &Lane<'_>| lane.is_homomorphic() || refused.iter().any(|r| r.name() == lane.name());
        if !lanes.iter().any(polynomial) {
            return Ok(());
        }
        // What computes in the clear is there for the others to be set against.
        let wanted = |lane: &Lane<'_>| lane.is_plain(self.beside.patience) || polynomial(lane);
        let again: Vec<_> = lanes.iter().copied().filter(wanted).collect();
        self.total += again.len() as u64;
        self.run(twin, workload, &again, progress).map(|_| ())
    }

    /// Runs each lane; those that could not.
    fn run(
        &mut self,
        candidate: &Candidate,
        workload: &Workload,
        lanes: &[Lane<'a>],
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Vec<Lane<'a>>> {
        let job = Job::new(&candidate.entry, workload, self.options)?;
        let plain = job.run_plain()?;
        let stage = Stage { candidate, job: &job, plain: &plain, workload: *workload, options: self.options };
        let model = candidate.entry.model.name();
        let mut refused = Vec::new();
        for &lane in lanes {
            if !self.given_up.iter().any(|(m, backend)| m == model && backend == lane.name()) {
                let (batch, done, total, report) = (job.batch, self.done, self.total, &self.report);
                let mut tell =
                    |words: &str| progress(Step { model, backend: lane.name(), batch, words, done, total, report });
                tell("");
                let outcome = stage.run(lane, self.beside.patience, &mut tell)?;
                if self.record(outcome, model, lane.name()) {
                    refused.push(lane);
                }
            }
            self.done += 1;
        }
        Ok(refused)
    }

    /// Whether the model was refused.
    fn record(&mut self, outcome: Outcome, model: &str, backend: &str) -> bool {
        match outcome {
            Outcome::Row(row) => self.report.rows.push(*row),
            Outcome::Refused(absent) => {
                self.note(absent);
                return true;
            }
            Outcome::Failed(absent) => self.note(absent),
            Outcome::TooLong(absent) => {
                self.given_up.push((model.to_owned(), backend.to_owned()));
                self.note(absent);
            }
        }
        false
    }
}

/// One model at one batch size, with its plain run.
struct Stage<'a> {
    candidate: &'a Candidate,
    job: &'a Job<'a>,
    plain: &'a super::Measurement,
    workload: Workload,
    options: &'a Comparison,
}

impl Stage<'_> {
    fn run(&self, lane: Lane<'_>, patience: Patience, tell: &mut dyn FnMut(&str)) -> Result<Outcome> {
        match lane {
            Lane::Ours(via) => Ok(self.ours(via)),
            Lane::Peer(peer, backend) => {
                // What our sessions keep for a next batch is the other library's to use.
                subrosa_ring::heap::give_back();
                let task = Task {
                    model: &self.candidate.entry.model,
                    file: &self.candidate.file,
                    samples: &self.candidate.entry.samples,
                    workload: self.workload,
                    images: self.job.images,
                    threads: self.options.threads,
                    plain: self.plain,
                };
                Runner::new(peer, patience).run(&task, backend, tell)
            }
        }
    }

    fn ours(&self, via: Via) -> Outcome {
        let (job, plain) = (self.job, self.plain);
        if via == Via::Plain {
            return Outcome::Row(Box::new(job.row(&job.plain, plain, plain)));
        }
        let row = super::plan(job.entry, via, job.batch, self.options)
            .and_then(|plan| job.run_protected(&plan, plain, self.options, &mut |_, _| ()));
        let model = self.candidate.entry.model.name();
        match row {
            Ok(row) => Outcome::Row(Box::new(row)),
            // A plan that cannot be made, perhaps for its twin; all else is a failure.
            Err(error @ (Error::Plan { .. } | Error::Model { .. })) => Outcome::Refused(absent(model, via, &error)),
            Err(error) => Outcome::Failed(absent(model, via, &error)),
        }
    }
}

impl Lane<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Ours(via) => via.name(),
            Self::Peer(_, backend) => backend,
        }
    }

    /// Ours in polynomials: where other activations are approximated, the twin is its home.
    fn is_homomorphic(&self) -> bool {
        match self {
            Self::Ours(via) => via.trust() == Trust::Key,
            Self::Peer(..) => false,
        }
    }

    fn is_plain(&self, patience: Patience) -> bool {
        match self {
            Self::Ours(via) => *via == Via::Plain,
            Self::Peer(peer, _) => Runner::new(peer, patience).is_plain(),
        }
    }
}

fn absent(model: &str, via: Via, error: &Error) -> Absent {
    Absent { model: Some(model.to_owned()), backend: via.name().to_owned(), why: error.to_string() }
}

/// What the fastest plain engine is called among the rows.
pub const ONNX_RUNTIME: &str = "onnxruntime";

/// Sets every row against ONNX Runtime's on one thread, where that ran.
fn against_onnxruntime(rows: &mut [Row]) {
    let fastest: Vec<_> = rows
        .iter()
        .filter(|r| r.backend == ONNX_RUNTIME && r.threads == 1)
        .map(|r| (r.model.clone(), r.batch, r.latency_ms_p50))
        .collect();
    for row in rows {
        let same = fastest.iter().find(|(model, batch, _)| *model == row.model && *batch == row.batch);
        row.terms.slowdown_vs_onnxruntime = same.map(|(_, _, ms)| row.latency_ms_p50 / ms);
    }
}
