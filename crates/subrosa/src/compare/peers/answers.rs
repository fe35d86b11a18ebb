//! What a peer is given and what it gives back: samples and answers as `.npy`, its row as a
//! line of JSON. All of it is another program's word, and is checked.

use super::Task;
use crate::data::save::write_whole;
use crate::data::{Dataset, npy};
use crate::output::{Output, Phase};
use crate::{Error, Result};
use serde::Deserialize;
use std::fs;
use std::path::{Component, Path, PathBuf};
use subrosa_core::{Row, Terms, Trust};

/// A fault of the adapter's, in one sentence.
type Checked<T> = std::result::Result<T, String>;

/// The longest text in a row that is kept (characters).
const MAX_TEXT: usize = 600;

/// A folder for one run, gone with it.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Result<Self> {
        let made = tempfile::Builder::new().prefix("subrosa-peer-").tempdir();
        made.map(Self).map_err(|e| Error::io("make a folder in", &std::env::temp_dir(), &e))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The samples, as the model takes them.
    pub(super) fn write_samples(&self, task: &Task<'_>) -> Result<PathBuf> {
        let path = self.path().join("samples.npy");
        let port = task.model.inputs().first();
        let len = port.map_or(0, |p| p.sample_len());
        let values = task.samples.inputs.first().map_or(&[][..], Vec::as_slice);
        let values = values.get(..task.images * len).unwrap_or(values);
        write_whole(&path, &npy::write(&[task.images, len], values))?;
        Ok(path)
    }
}

/// What an adapter prints.
pub(super) enum Line {
    Row(Box<Row>),
    Unavailable(String),
}

/// An adapter's line as it stands.
#[derive(Deserialize)]
#[serde(untagged)]
enum Printed {
    Unavailable { unavailable: String },
    Row(Box<PrintedRow>),
}

/// The fields of a row that only the adapter knows; what is counted from its answers is not
/// among them.
#[derive(Deserialize)]
struct PrintedRow {
    claim: String,
    images: usize,
    batch: usize,
    latency_ms_p50: f64,
    latency_ms_p95: f64,
    throughput_per_s: f64,
    setup_ms: f64,
    offline_ms: f64,
    bytes_offline: u64,
    bytes_online: u64,
    bytes_up: Option<u64>,
    bytes_down: Option<u64>,
    bytes_keys: Option<u64>,
    rounds: u64,
    peak_rss_mb: f64,
    parties: usize,
    threads: usize,
    network: String,
    security_bits: u32,
    insecure: Vec<String>,
    adversary: String,
    threshold: usize,
    trust: Trust,
    preprocessing: String,
    parameters: String,
    version: String,
    unmeasured: Vec<String>,
    answers: String,
}

/// The one line that a run with one workload prints, with its answers checked against plain.
pub(super) fn read(output: &[u8], task: &Task<'_>, backend: &str, folder: &Path) -> Checked<Line> {
    let text = std::str::from_utf8(output).map_err(|_| "it is no text".to_owned())?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err("one row was asked for, and it did not print one line".to_owned());
    };
    match serde_json::from_str(line).map_err(|e| format!("no row: {e}"))? {
        Printed::Unavailable { unavailable } => Ok(Line::Unavailable(short(&unavailable))),
        Printed::Row(printed) => Ok(Line::Row(Box::new(row(*printed, task, backend, folder)?))),
    }
}

fn row(p: PrintedRow, task: &Task<'_>, backend: &str, folder: &Path) -> Checked<Row> {
    p.check(task)?;
    let plain = task.plain;
    let output = answers(&p, task, folder)?;
    let checked = plain.check(&output, task.samples.labels.as_deref());
    let trusted = p.trust.words(p.parties, p.threshold);
    Ok(Row {
        model: task.model.name().to_owned(),
        backend: backend.to_owned(),
        claim: short(&p.claim),
        images: checked.images,
        correct: checked.correct,
        accuracy: checked.accuracy,
        plain_accuracy: checked.plain_accuracy,
        agreement: checked.agreement,
        max_abs_err: checked.max_abs_err,
        batch: p.batch,
        latency_ms_p50: p.latency_ms_p50,
        latency_ms_p95: p.latency_ms_p95,
        throughput_per_s: p.throughput_per_s,
        slowdown_vs_plain: p.latency_ms_p50 / plain.latency_ms(),
        setup_ms: p.setup_ms,
        offline_ms: p.offline_ms,
        bytes_offline: p.bytes_offline,
        bytes_online: p.bytes_online,
        bytes_up: p.bytes_up,
        bytes_down: p.bytes_down,
        bytes_keys: p.bytes_keys,
        rounds: p.rounds,
        peak_rss_mb: p.peak_rss_mb,
        parties: p.parties,
        threads: p.threads,
        network: short(&p.network),
        security_bits: p.security_bits,
        insecure: p.insecure.iter().map(|flag| short(flag)).collect(),
        terms: Terms {
            adversary: short(&p.adversary),
            threshold: p.threshold,
            trust: p.trust,
            trusted,
            preprocessing: short(&p.preprocessing),
            parameters: short(&p.parameters),
            version: short(&p.version),
            unmeasured: p.unmeasured.iter().map(|name| short(name)).collect(),
            slowdown_vs_onnxruntime: None,
        },
    })
}

impl PrintedRow {
    /// Numbers that cannot be are refused: they would stand in a table as if measured.
    fn check(&self, task: &Task<'_>) -> Checked<()> {
        if self.batch != task.workload.batch.min(task.images) {
            return Err(format!("its row is of batches of {}", self.batch));
        }
        if self.images == 0 || self.images > task.images {
            return Err(format!("it tells of {} images", self.images));
        }
        let times = [self.latency_ms_p50, self.latency_ms_p95, self.throughput_per_s];
        let others = [self.setup_ms, self.offline_ms, self.peak_rss_mb];
        if times.iter().any(|t| !t.is_finite() || *t <= 0.0) || others.iter().any(|t| !t.is_finite() || *t < 0.0) {
            return Err("its times are not positive numbers".to_owned());
        }
        Ok(())
    }
}

/// The answers as an output like the plain run's.
fn answers(p: &PrintedRow, task: &Task<'_>, folder: &Path) -> Checked<Output> {
    let path = Path::new(&p.answers);
    let [Component::Normal(name)] = path.components().collect::<Vec<_>>()[..] else {
        return Err("its answers lie outside the folder it was given".to_owned());
    };
    let path = folder.join(name);
    let wanted = p.images * task.plain.output().sample_len(0);
    // Twice eight bytes a value and a header: more is not read.
    let size = fs::symlink_metadata(&path).map_err(|_| "its answers are not there".to_owned())?;
    if !size.is_file() || size.len() > 16 * wanted as u64 + 4096 {
        return Err("its answers are larger than they can be".to_owned());
    }
    let dataset = Dataset::read(&path).map_err(|e| e.to_string())?;
    let [array] = &dataset.arrays[..] else { return Err("its answers are not one array".to_owned()) };
    if array.values.len() != wanted {
        return Err(format!("{} answers where {wanted} were due", array.values.len()));
    }
    if array.values.iter().any(|v| !v.is_finite()) {
        return Err("its answers are not all finite numbers".to_owned());
    }
    let plain = task.plain.output();
    Ok(Output {
        model: plain.model.clone(),
        via: plain.via,
        labels_only: false,
        samples: p.images,
        ports: plain.ports.clone(),
        values: vec![array.values.clone()],
        setup: Phase::default(),
        batches: Vec::new(),
    })
}

/// Cut, and without what could steer a terminal.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}
