//! `subrosa compare`, and `subrosa` alone.

mod beside;
pub(crate) mod shipped;
mod table;

use crate::failure::Result;
use crate::flags::{self, RangeFlags};
use crate::print;
use crate::progress::Bar;
use crate::trust::LocalFlags;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use subrosa::compare::{Comparison, Entry, Workload};
use subrosa::data::save::write_whole;
use subrosa::{Dataset, InputSpec, Model, Report, Via, compare, report_html};

/// Images of the default comparison, and those of its batches of one.
const IMAGES: usize = 1000;
const SINGLE_IMAGES: usize = 20;
const BATCH: usize = 128;
/// Four models of which one workload each takes long: the default comparison ends within a
/// minute on slow machines too, then on fewer images.
const BUDGET: Duration = Duration::from_secs(12);

/// What to compare.
#[derive(Args, Default)]
pub(crate) struct Compare {
    /// An ONNX file; may be repeated [default: the shipped mlp, cnn, lenet, lenet5]
    #[arg(long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
    /// Who computes; may be repeated [default: plain and rep3; beside other libraries, all]
    #[arg(long = "via", value_name = "BACKEND", value_parser = flags::via)]
    vias: Vec<Via>,
    /// Use the first N samples [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    images: Option<u64>,
    /// Samples in one inference; may be repeated [default: 128]
    #[arg(long = "batch", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    batches: Vec<u64>,
    /// Threads a party (and in the clear)
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    /// Imitate a network between the parties: lan, wan, or RTT,BANDWIDTH such as 20ms,1gbit
    #[arg(long, value_name = "SHAPE")]
    network: Option<subrosa::Network>,
    /// Samples [default: the shipped MNIST test images]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The right answers
    #[arg(long, value_name = "FILE", requires = "data")]
    labels: Option<PathBuf>,
    /// Let the compute parties know the weights
    #[arg(long)]
    public_weights: bool,
    /// Round down wherever a plan truncates, instead of down or up at random
    #[arg(long)]
    exact: bool,
    /// Let a party deal for itself, which protects nothing from it: for measuring (via beaver, fss)
    #[arg(long)]
    insecure_self_dealer: bool,
    #[command(flatten)]
    range: RangeFlags,
    #[command(flatten)]
    tee: LocalFlags,
    #[command(flatten)]
    beside: beside::Flags,
    /// Write the rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// `subrosa` alone: the shipped models and images, report.html and report.json here.
pub(crate) fn default_comparison() -> Result<()> {
    let command = "subrosa".to_owned();
    let (json, html) = (Some("report.json".into()), Some("report.html".into()));
    Compare { threads: 1, json, html, ..Compare::default() }.run_as(command)
}

impl Compare {
    pub(crate) fn run(self) -> Result<()> {
        let command = std::env::args().map(|a| quoted(&a)).collect::<Vec<_>>().join(" ");
        self.run_as(command)
    }

    fn run_as(&self, command: String) -> Result<()> {
        for path in [&self.json, &self.html].into_iter().flatten().filter(|p| !is_stdout(p)) {
            subrosa::data::save::check_folder(path)?;
        }
        let (mut report, data) = match self.beside.wanted() {
            true => self.measure_beside()?,
            false => {
                let (entries, data) = self.entries()?;
                (measure(&entries, &self.comparison()?)?, data)
            }
        };
        (report.command, report.date) = (command.clone(), report_html::utc_now());
        if let Some(path) = self.json.as_deref().filter(|p| !is_stdout(p)) {
            write_whole(path, &serde_json::to_vec_pretty(&report)?)?;
        }
        let context = report_html::Context { command, date: report.date.clone(), data: data.clone() };
        if let Some(path) = &self.html {
            write_whole(path, report_html::page(&report, &context).as_bytes())?;
        }
        self.print(&report, &data)
    }

    fn print(&self, report: &Report, data: &str) -> Result<()> {
        if self.json.as_deref().is_some_and(is_stdout) {
            return print::json(report);
        }
        print::out(&table::show(report, data))?;
        let written: Vec<_> = [&self.html, &self.json].into_iter().flatten().map(|p| p.display().to_string()).collect();
        if !written.is_empty() {
            print::log(&format!("wrote {}", written.join(" and ")));
        }
        Ok(())
    }

    fn comparison(&self) -> Result<Comparison> {
        let vias = if self.vias.is_empty() { Via::ANY_MODEL.to_vec() } else { distinct(&self.vias) };
        let tee = if vias.contains(&Via::Tee) { self.tee.local()? } else { None };
        Ok(Comparison {
            vias,
            tee,
            workloads: self.workloads(),
            threads: self.threads,
            public_weights: self.public_weights,
            exact: self.exact,
            insecure_self_dealer: self.insecure_self_dealer,
            network: self.network,
            budget: self.unbounded().then_some(BUDGET),
        })
    }

    /// Whether neither images nor batches were asked for: time decides then.
    fn unbounded(&self) -> bool {
        self.images.is_none() && self.batches.is_empty()
    }

    fn workloads(&self) -> Vec<Workload> {
        let images = Some(self.images.map_or(IMAGES, size));
        if self.unbounded() {
            let single = Workload { batch: 1, images: Some(SINGLE_IMAGES) };
            return vec![single, Workload { batch: BATCH, images }];
        }
        let batches =
            if self.batches.is_empty() { vec![BATCH] } else { self.batches.iter().map(|&b| size(b)).collect() };
        distinct(&batches).into_iter().map(|batch| Workload { batch, images }).collect()
    }

    /// Each model with its data, and the data's name.
    fn entries(&self) -> Result<(Vec<Entry>, String)> {
        let models = self.files()?;
        let models = models.iter().map(Model::open).collect::<subrosa::Result<Vec<_>>>()?;
        let source = self.source(&models)?;
        let entries = models.into_iter().map(|model| self.entry(model, &source)).collect::<Result<_>>()?;
        Ok((entries, source.name))
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        if self.models.is_empty() { shipped::models() } else { Ok(self.models.clone()) }
    }

    fn source(&self, models: &[Model]) -> Result<Source> {
        let calibration = self.range.calibrate.clone();
        if let Some(path) = &self.data {
            return Source::read(path, self.labels.as_deref(), calibration.as_deref());
        }
        shipped::check_inputs(models)?;
        let calibration = match (calibration, self.range.input_range) {
            (None, None) => Some(shipped::calibration()?),
            (given, _) => given,
        };
        let mut source = Source::read(&shipped::images()?, Some(&shipped::labels()?), calibration.as_deref())?;
        source.name = source
            .name
            .replace(shipped::IMAGES, "MNIST test images")
            .replace(shipped::CALIBRATION, "1,000 training images");
        Ok(source)
    }

    fn entry(&self, model: Model, source: &Source) -> Result<Entry> {
        let mut samples = source.data.fit(model.inputs())?;
        if let Some(labels) = &source.labels {
            samples.set_labels(labels.clone())?;
        }
        samples.keep(self.beside.images().or(self.images.map(size)).unwrap_or(IMAGES));
        let input = match &source.calibration {
            Some(data) => InputSpec::calibrate(&data.fit(model.inputs())?)?,
            None => self.range.spec_for(&model, &source.data)?,
        };
        Ok(Entry { model, samples, input })
    }
}

/// Where the samples come from.
struct Source {
    name: String,
    data: Dataset,
    labels: Option<Vec<i64>>,
    calibration: Option<Dataset>,
}

impl Source {
    fn read(data: &Path, labels: Option<&Path>, calibration: Option<&Path>) -> Result<Self> {
        let labels = labels.map(|path| Dataset::read(path).and_then(|d| d.labels())).transpose()?;
        let calibration_name = calibration.map(file_name);
        let calibration = calibration.map(Dataset::read).transpose()?;
        let name = match calibration_name {
            Some(calibrated) => format!("{}, ranges from {calibrated}", file_name(data)),
            None => file_name(data),
        };
        Ok(Self { name, data: Dataset::read(data)?, labels, calibration })
    }
}

fn measure(entries: &[Entry], comparison: &Comparison) -> Result<Report> {
    let mut bar = Bar::new();
    let report = compare(entries, comparison, &mut |p| {
        bar.set(p.done, p.total, format!("{} via {}, batch {}", p.model, p.via, p.batch));
    })?;
    Ok(report)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn is_stdout(path: impl AsRef<Path>) -> bool {
    path.as_ref() == Path::new("-")
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn distinct<T: Clone + PartialEq>(values: &[T]) -> Vec<T> {
    let mut out: Vec<T> = Vec::new();
    for value in values {
        if !out.contains(value) {
            out.push(value.clone());
        }
    }
    out
}

/// An argument as a shell would need it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}
