//! Models under several protections, measured side by side.
//!
//! For every model and batch size the plain run comes first, on the same samples, in the
//! same process and with the same number of threads; each protected row is set against
//! it. Every plan is made before anything is measured, so that a refusal costs no time.

pub mod beside;
mod measure;
pub mod peers;
pub mod survey;

use crate::attest::{self, Local};
use crate::backends::Via;
use crate::data::Samples;
use crate::machine::machine;
use crate::model::Model;
use crate::options::{InputSpec, Network, PlanOptions};
use crate::plan::Plan;
use crate::{Error, Result};
use measure::Measurement;
use std::time::Duration;
use subrosa_core::{Absent, Report, Row};
use subrosa_mpc::ProtocolKind;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Protections, in the order of the rows. The plain run is made in any case.
    pub vias: Vec<Via>,
    /// Batch sizes, each with the number of samples to run at it.
    pub workloads: Vec<Workload>,
    /// Threads a party.
    pub threads: usize,
    /// Whether the parties may know the weights.
    pub public_weights: bool,
    /// Whether truncations always round down.
    pub exact: bool,
    /// Whether a party deals for itself, which protects nothing from it, where there is a
    /// dealer.
    pub insecure_self_dealer: bool,
    /// What a run via tee needs; without it, the report says why there is none.
    pub tee: Option<Local>,
    /// A network to imitate between the parties.
    pub network: Option<Network>,
    /// Stop a protected row after this time, at the end of a batch.
    pub budget: Option<Duration>,
}

/// A batch size and how many samples to run at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Samples in one inference.
    pub batch: usize,
    /// Samples in all; every one there is if none.
    pub images: Option<usize>,
}

/// A model with its data.
pub struct Entry {
    /// The model.
    pub model: Model,
    /// Samples to run, with labels if known.
    pub samples: Samples,
    /// Where the range of its inputs comes from.
    pub input: InputSpec,
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The model at work.
    pub model: &'a str,
    /// The backend at work.
    pub via: Via,
    /// Its batch size.
    pub batch: usize,
    /// Work done, in the same unit as `total`.
    pub done: u64,
    /// Work in all.
    pub total: u64,
}

/// Measures every model under every protection at every batch size.
///
/// **Errors:** [`Error::Plan`] before anything runs, [`Error::Input`], [`Error::Peer`].
pub fn compare(entries: &[Entry], options: &Comparison, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Report> {
    let jobs = jobs(entries, options)?;
    let total = jobs.iter().map(Job::work).sum();
    let mut done = 0;
    let mut rows = Vec::new();
    for job in &jobs {
        rows.extend(job.run(options, &mut |via, work| {
            done += work;
            progress(Progress { model: job.entry.model.name(), via, batch: job.batch, done, total });
        })?);
    }
    let missing = options.vias.contains(&Via::Tee) && options.tee.is_none();
    let absent = missing.then(|| Absent {
        model: None,
        backend: Via::Tee.name().to_owned(),
        why: attest::not_given().to_string(),
    });
    Ok(Report { machine: machine(), rows, absent: absent.into_iter().collect(), ..Report::default() })
}

/// One model at one batch size.
struct Job<'a> {
    entry: &'a Entry,
    batch: usize,
    images: usize,
    plain: Plan,
    protected: Vec<Plan>,
}

fn jobs<'a>(entries: &'a [Entry], options: &Comparison) -> Result<Vec<Job<'a>>> {
    if options.workloads.is_empty() || options.vias.is_empty() || entries.is_empty() {
        return Err(Error::misuse("there is nothing to compare", "name at least one model, backend and batch size"));
    }
    let pairs = entries.iter().flat_map(|e| options.workloads.iter().map(move |w| (e, w)));
    pairs.map(|(entry, workload)| Job::planned(entry, workload, options)).collect()
}

impl<'a> Job<'a> {
    fn new(entry: &'a Entry, workload: &Workload, options: &Comparison) -> Result<Self> {
        let images = workload.images.unwrap_or(entry.samples.count).min(entry.samples.count);
        if images == 0 {
            return Err(Error::input("there are no samples to compare on", "give at least one"));
        }
        let batch = workload.batch.min(images);
        let plain = plan(entry, Via::Plain, batch, options)?;
        Ok(Self { entry, batch, images, plain, protected: Vec::new() })
    }

    /// With a plan for every protection asked for; the first refusal ends it.
    fn planned(entry: &'a Entry, workload: &Workload, options: &Comparison) -> Result<Self> {
        let mut job = Self::new(entry, workload, options)?;
        let there = |via: Via| via != Via::Plain && (via != Via::Tee || options.tee.is_some());
        for &via in options.vias.iter().filter(|&&via| there(via)) {
            job.protected.push(plan(entry, via, job.batch, options)?);
        }
        Ok(job)
    }

    /// Work of all runs, warm-up included: bytes on the network, to which time is roughly
    /// proportional, and next to nothing in the clear.
    fn work(&self) -> u64 {
        self.protected.iter().map(|plan| batch_work(plan) * (self.batches() + 1)).sum()
    }

    fn batches(&self) -> u64 {
        self.images.div_ceil(self.batch) as u64
    }

    fn run(&self, options: &Comparison, progress: &mut dyn FnMut(Via, u64)) -> Result<Vec<Row>> {
        progress(Via::Plain, 0);
        let plain = self.run_plain()?;
        let mut rows = Vec::new();
        if options.vias.contains(&Via::Plain) {
            rows.push(self.row(&self.plain, &plain, &plain));
        }
        for plan in &self.protected {
            rows.push(self.run_protected(plan, &plain, options, progress)?);
        }
        Ok(rows)
    }

    fn run_plain(&self) -> Result<Measurement> {
        measure::plain(&self.plain, &self.entry.samples, self.images)
    }

    fn run_protected(
        &self,
        plan: &Plan,
        plain: &Measurement,
        options: &Comparison,
        progress: &mut dyn FnMut(Via, u64),
    ) -> Result<Row> {
        let mut left = batch_work(plan) * (self.batches() + 1);
        let via = plan.sheet().via;
        let measured = measure::protected(plan, &self.entry.samples, self.images, options.budget, &mut || {
            let step = batch_work(plan).min(left);
            left -= step;
            progress(via, step);
        })?;
        progress(via, left);
        Ok(self.row(plan, &measured, plain))
    }

    fn row(&self, plan: &Plan, measured: &Measurement, plain: &Measurement) -> Row {
        measured.row(plan, plain, self.entry.samples.labels.as_deref())
    }
}

fn plan(entry: &Entry, via: Via, batch: usize, options: &Comparison) -> Result<Plan> {
    entry.model.plan(&PlanOptions {
        via,
        batch,
        input: entry.input.clone(),
        threads: options.threads,
        public_weights: options.public_weights && via.protocol().is_some(),
        exact: options.exact && via.protocol().is_some(),
        insecure_self_dealer: options.insecure_self_dealer && via.protocol().and_then(ProtocolKind::dealer).is_some(),
        calibration: if via == Via::Ckks { entry.samples.inputs.clone() } else { Vec::new() },
        tee: options.tee.clone().filter(|_| via == Via::Tee),
        network: options.network.filter(|_| via.protocol().is_some()),
        ..PlanOptions::default()
    })
}

/// Bytes of one batch.
fn batch_work(plan: &Plan) -> u64 {
    if let Some(ckks) = &plan.sheet().ckks {
        return ckks.online.bytes;
    }
    let fixed = plan.sheet().fixed.as_ref();
    fixed.map_or(0, |f| (f.offline.bytes + f.online.bytes).max(1))
}
