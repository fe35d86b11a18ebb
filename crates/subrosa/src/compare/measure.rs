//! One row: run, time, set against plain.

use crate::Result;
use crate::backends::Kind;
use crate::data::Samples;
use crate::machine::peak_rss_mb;
use crate::output::{Batch, Output};
use crate::plan::Plan;
use crate::session::Session;
use crate::verify::{Verification, verify};
use std::time::{Duration, Instant};
use subrosa_core::{Claim, Row, SELF_DEALER, SIMULATED, Terms, Trust};

/// Repeat the plain run for this long: single batches are too short to time.
const PLAIN_TIME: Duration = Duration::from_millis(200);
/// And at most this often.
const PLAIN_PASSES: usize = 50;

/// One backend's run over the samples.
pub(super) struct Measurement {
    output: Output,
    /// Every timed batch, repetitions included.
    batches: Vec<Batch>,
    batch: usize,
}

/// How right answers are: the fields of a row of the same names.
pub(super) struct Answers {
    pub(super) images: usize,
    pub(super) correct: Option<usize>,
    pub(super) accuracy: Option<f64>,
    pub(super) plain_accuracy: Option<f64>,
    pub(super) agreement: f64,
    pub(super) max_abs_err: Option<f64>,
}

/// The plain run: all images once for the values, again for the time.
pub(super) fn plain(plan: &Plan, samples: &Samples, images: usize) -> Result<Measurement> {
    let mut session = plan.open()?;
    warm_up(&mut session, plan, samples, images)?;
    let output = session.run(&first(samples, plan, images))?;
    let mut batches = output.batches.clone();
    let start = Instant::now();
    for _ in 1..PLAIN_PASSES {
        if start.elapsed() >= PLAIN_TIME {
            break;
        }
        batches.extend(session.run(&first(samples, plan, images))?.batches);
    }
    Ok(Measurement { output, batches, batch: plan.sheet().batch })
}

/// A protected run: batch by batch until the images or the budget are used up.
pub(super) fn protected(
    plan: &Plan,
    samples: &Samples,
    images: usize,
    budget: Option<Duration>,
    after_batch: &mut dyn FnMut(),
) -> Result<Measurement> {
    let mut session = plan.open()?;
    warm_up(&mut session, plan, samples, images)?;
    after_batch();
    let mut output = session.empty_output();
    let start = Instant::now();
    for at in (0..images).step_by(plan.sheet().batch) {
        if at > 0 && budget.is_some_and(|b| start.elapsed() >= b) {
            break;
        }
        run_one(&mut session, plan, samples, at, images, &mut output)?;
        after_batch();
    }
    Ok(Measurement { batches: output.batches.clone(), output, batch: plan.sheet().batch })
}

fn run_one(
    session: &mut Session,
    plan: &Plan,
    samples: &Samples,
    at: usize,
    images: usize,
    output: &mut Output,
) -> Result<()> {
    let count = plan.sheet().batch.min(images - at);
    let (values, record) = session.run_batch(&part(samples, plan, at, count), at, count)?;
    output.values.iter_mut().zip(values).for_each(|(all, new)| all.extend(new));
    output.batches.push(record);
    output.samples += count;
    Ok(())
}

/// One batch that does not count: pages, caches and clocks settle.
fn warm_up(session: &mut Session, plan: &Plan, samples: &Samples, images: usize) -> Result<()> {
    let count = plan.sheet().batch.min(images);
    session.run_batch(&part(samples, plan, 0, count), 0, count).map(|_| ())
}

fn part<'a>(samples: &'a Samples, plan: &Plan, at: usize, count: usize) -> Vec<&'a [f32]> {
    let ports = plan.inner.model.inputs();
    let slice = |(values, len): (&'a Vec<f32>, usize)| &values[at * len..(at + count) * len];
    samples.inputs.iter().zip(ports.iter().map(|p| p.sample_len())).map(slice).collect()
}

fn first(samples: &Samples, plan: &Plan, images: usize) -> Vec<Vec<f32>> {
    part(samples, plan, 0, images).into_iter().map(<[f32]>::to_vec).collect()
}

impl Measurement {
    pub(super) fn row(&self, plan: &Plan, plain: &Self, labels: Option<&[i64]>) -> Row {
        let sheet = plan.sheet();
        let Claim { summary, parties, security_bits, .. } = sheet.claim;
        let answers = plain.check(&self.output, labels);
        let (p50, p95) = (self.percentile(0.5, Batch::ms), self.percentile(0.95, Batch::ms));
        let ckks = plan.inner.ckks.as_ref();
        let typical = self.full_batches().next();
        Row {
            model: sheet.model.clone(),
            backend: sheet.via.name().to_owned(),
            claim: summary.to_owned(),
            images: answers.images,
            correct: answers.correct,
            accuracy: answers.accuracy,
            plain_accuracy: answers.plain_accuracy,
            agreement: answers.agreement,
            max_abs_err: answers.max_abs_err,
            batch: self.batch,
            latency_ms_p50: p50,
            latency_ms_p95: p95,
            throughput_per_s: self.throughput(),
            slowdown_vs_plain: p50 / plain.latency_ms(),
            setup_ms: self.output.setup.ms,
            offline_ms: self.percentile(0.5, |b| b.offline.ms),
            bytes_offline: typical.map_or(0, |b| b.offline.cost.bytes),
            bytes_online: typical.map_or(0, |b| b.online.cost.bytes),
            bytes_up: ckks.map(|c| (c.request_bytes() * c.requests(self.batch)) as u64),
            bytes_down: ckks.map(|c| (c.answer_bytes() * c.requests(self.batch)) as u64),
            bytes_keys: ckks.map(|c| c.plan.public.key_bytes() as u64),
            rounds: typical.map_or(0, |b| b.online.cost.rounds),
            peak_rss_mb: peak_rss_mb(),
            parties,
            threads: threads(plan),
            network: network(plan),
            security_bits,
            insecure: sheet.insecure.clone(),
            terms: terms(plan),
        }
    }

    /// Answers set against this plain run's.
    pub(super) fn check(&self, output: &Output, labels: Option<&[i64]>) -> Answers {
        let images = output.samples;
        let share = |n: usize| n as f64 / images as f64;
        let correct = labels.map(|labels| matches(&output.labels(), labels));
        let plain_correct = labels.map(|labels| matches(&self.output.labels()[..images], labels));
        let against = verify(output, &self.output);
        Answers {
            images,
            correct,
            accuracy: correct.map(share),
            plain_accuracy: plain_correct.map(share),
            agreement: Verification::agreement(&against),
            max_abs_err: against.max_abs_err,
        }
    }

    /// The run's outputs.
    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Median of one batch (milliseconds).
    pub(super) fn latency_ms(&self) -> f64 {
        self.percentile(0.5, Batch::ms)
    }

    /// Batches of the full size: a smaller last one would flatter the latency.
    fn full_batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter().filter(|b| b.samples == self.batch)
    }

    /// Nearest-rank percentile over the full batches.
    fn percentile(&self, p: f64, figure: impl Fn(&Batch) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.full_batches().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let rank = (p * figures.len() as f64).ceil() as usize;
        figures.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    fn throughput(&self) -> f64 {
        let images: usize = self.batches.iter().map(|b| b.samples).sum();
        let seconds = self.batches.iter().map(Batch::ms).sum::<f64>() / 1e3;
        images as f64 / seconds
    }
}

fn matches(found: &[i64], labels: &[i64]) -> usize {
    found.iter().zip(labels).filter(|(a, b)| a == b).count()
}

/// In the clear there is one: tract is run as most people run it.
fn threads(plan: &Plan) -> usize {
    match plan.sheet().via.kind() {
        Kind::Plain | Kind::Tee => 1,
        Kind::Parties(_) | Kind::Ckks => plan.inner.options.threads,
    }
}

fn network(plan: &Plan) -> String {
    match (plan.sheet().via.kind(), plan.inner.options.network) {
        (Kind::Plain, _) => "none".to_owned(),
        (Kind::Parties(_), None) | (Kind::Ckks | Kind::Tee, _) => "in-process".to_owned(),
        (Kind::Parties(_), Some(network)) => network.to_string(),
    }
}

fn terms(plan: &Plan) -> Terms {
    let sheet = plan.sheet();
    let Claim { adversary, parties, threshold, .. } = sheet.claim;
    let self_dealer = sheet.insecure.iter().any(|flag| flag == SELF_DEALER);
    let simulated = sheet.insecure.iter().any(|flag| flag == SIMULATED);
    let trust = match (self_dealer, simulated) {
        (true, _) => Trust::OneDealingParty,
        (false, true) => Trust::Machine,
        (false, false) => sheet.via.trust(),
    };
    Terms {
        adversary: adversary.to_string(),
        threshold: if self_dealer { 0 } else { threshold },
        trust,
        trusted: trust.words(parties, threshold),
        preprocessing: preprocessing(plan).to_owned(),
        parameters: parameters(plan),
        version: format!("subrosa {}", env!("CARGO_PKG_VERSION")),
        ..Terms::default()
    }
}

/// Whether input-independent work is in the latency.
fn preprocessing(plan: &Plan) -> &'static str {
    match plan.sheet().via.kind() {
        Kind::Plain | Kind::Ckks | Kind::Tee => "none",
        Kind::Parties(_) => "in latency",
    }
}

fn parameters(plan: &Plan) -> String {
    let sheet = plan.sheet();
    match (&sheet.fixed, &sheet.ckks) {
        (Some(fixed), _) => {
            let (few, many) = fixed.fraction_bits;
            format!("{}-bit ring, {few} to {many} fraction bits", fixed.ring_bits)
        }
        (None, Some(ckks)) => format!(
            "N = {}, moduli of {} bits, {} packing; the server knows the weights",
            ckks.ring_degree,
            ckks.prime_bits.iter().chain(&ckks.special_bits).sum::<u32>(),
            ckks.packing
        ),
        (None, None) => "32-bit floating point".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Via;
    use crate::output::Phase;

    fn measurement(times: &[f64], last: usize) -> Measurement {
        let batch = |(i, &ms): (usize, &f64)| Batch {
            samples: if i + 1 == times.len() { last } else { 4 },
            offline: Phase::default(),
            online: Phase { ms, ..Phase::default() },
        };
        let output = Output {
            model: "m".into(),
            via: Via::Plain,
            labels_only: false,
            samples: 0,
            ports: Vec::new(),
            values: Vec::new(),
            setup: Phase::default(),
            batches: Vec::new(),
        };
        Measurement { output, batches: times.iter().enumerate().map(batch).collect(), batch: 4 }
    }

    #[test]
    fn percentiles_are_nearest_rank_over_full_batches() {
        let m = measurement(&[3.0, 1.0, 2.0, 9.0], 1);
        assert_eq!(m.percentile(0.5, Batch::ms), 2.0);
        assert_eq!(m.percentile(0.95, Batch::ms), 3.0);
        assert_eq!(m.throughput(), 13.0 / 0.015);
        assert_eq!(measurement(&[7.0], 4).percentile(0.5, Batch::ms), 7.0);
    }
}
