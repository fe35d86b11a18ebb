//! `subrosa run MODEL --input FILE`.

use crate::failure::Result;
use crate::flags::{self, PlanFlags};
use crate::print::{self, Left, Right};
use crate::progress::Bar;
use crate::remote::RemoteFlags;
use crate::served::ServedFlags;
use crate::trust::LocalFlags;
use clap::Args;
use comfy_table::CellAlignment;
use serde_json::json;
use std::path::PathBuf;
use subrosa::data::save;
use subrosa::deploy::Remote;
use subrosa::output::Output;
use subrosa::sheet::PlanSheet;
use subrosa::verify::{SampleDifference, Verification};
use subrosa::{Dataset, Error, InputSpec, Model, Plan, PlanOptions, Samples, Session, Via, text, verify};

/// Samples printed one by one.
const SHOWN: usize = 20;
/// Outputs of a sample printed one by one.
const SHOWN_VALUES: usize = 10;
/// The largest batch chosen unasked.
const BATCH: usize = 128;

/// What to compute.
#[derive(Args)]
pub(crate) struct Run {
    /// An ONNX file, or with --cluster or --url a model that they have, NAME or NAME@VERSION
    model: PathBuf,
    /// The samples: .npy, .npz, .png, .csv or idx (also .gz)
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Who computes
    #[arg(long, value_name = "BACKEND", value_parser = flags::via, default_value = "rep3")]
    via: Via,
    /// Compute in the clear too, and print the differences
    #[arg(long, conflicts_with = "simulate")]
    verify: bool,
    /// Compute the protocol's integers in the clear, without parties: no protection
    #[arg(long)]
    simulate: bool,
    /// Save the outputs: .npy, .json or .csv
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The right answers, to print the accuracy
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Use only the first N samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    images: Option<u64>,
    /// Samples in one inference [default: all, at most 128]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Threads a party
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    #[command(flatten)]
    flags: PlanFlags,
    #[command(flatten)]
    remote: RemoteFlags,
    #[command(flatten)]
    served: ServedFlags,
    #[command(flatten)]
    tee: LocalFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(path) = &self.output {
            save::Format::of(path)?;
            save::check_folder(path)?;
        }
        if self.served.is_asked() {
            return self.run_served(&Dataset::read(&self.input)?);
        }
        if self.remote.cluster.is_some() && !self.model.exists() {
            return self.run_kept(&Dataset::read(&self.input)?);
        }
        let model = Model::open(&self.model)?;
        let data = Dataset::read(&self.input)?;
        let samples = self.samples(&data, model.inputs())?;
        let options = self.options(&model, &data, &samples)?;
        let plan = model.plan(&options)?;
        announce(plan.sheet(), &options, self.simulate);
        let output = self.computed(&plan, &samples)?;
        let verification = self.verification(&model, options.batch, &samples, &output)?;
        if let Some(path) = &self.output {
            save::output(path, &output)?;
        }
        let marks = plan.sheet().insecure.clone();
        self.print(&output, &samples, verification.as_ref(), &marks)
    }

    /// Where the flags say: by parties elsewhere, by parties in this process, or in the
    /// clear.
    fn computed(&self, plan: &Plan, samples: &Samples) -> Result<Output> {
        if let Some(cluster) = self.remote.connect()? {
            let batch = plan.sheet().batch;
            let mut remote = cluster.open_plan(plan, &self.remote.options(batch, samples.count)?)?;
            return remotely(&mut remote, samples);
        }
        let mut session = if self.simulate { plan.simulate()? } else { plan.open()? };
        watched(&mut session, samples)
    }

    /// On a model that the parties hold: this machine has inputs alone.
    fn run_kept(&self, data: &Dataset) -> Result<()> {
        let cluster = self
            .remote
            .connect()?
            .ok_or_else(|| Error::Misuse { message: "no cluster is given".to_owned(), hint: None })?;
        if self.verify || self.simulate {
            return Err(Error::Misuse {
                message: "--verify and --simulate need the ONNX file, which only the model owner has".to_owned(),
                hint: Some("leave the flag out".to_owned()),
            }
            .into());
        }
        let name = self.model.to_string_lossy();
        let (name, version) = named_version(&name)?;
        let batch = self.batch.unwrap_or(BATCH);
        let mut remote = cluster.open(name, version, &self.remote.options(batch, batch)?)?;
        let samples = self.samples(data, &remote.card().inputs)?;
        let output = remotely(&mut remote, &samples)?;
        if let Some(path) = self.output.as_ref().filter(|_| remote.opens()) {
            save::output(path, &output)?;
        }
        if !remote.opens() {
            return print::out(&costs(&output, false));
        }
        self.print(&output, &samples, None, &self.insecure())
    }

    /// On a server: by its model's name, or a file that says which model is expected.
    fn run_served(&self, data: &Dataset) -> Result<()> {
        let Some(found) = self.served.find(&self.model, self.via, &self.tee.trust, self.remote.cluster.as_deref())?
        else {
            return Ok(());
        };
        let samples = self.samples(data, &found.served.inputs)?;
        let output = found.run(&samples, self.batch.unwrap_or(BATCH))?;
        let verification = match self.verify {
            true => self.verification(&Model::open(&self.model)?, self.batch.unwrap_or(BATCH), &samples, &output)?,
            false => None,
        };
        if let Some(path) = &self.output {
            save::output(path, &output)?;
        }
        self.print(&output, &samples, verification.as_ref(), &found.marks())
    }

    fn samples(&self, data: &Dataset, inputs: &[subrosa::Port]) -> Result<Samples> {
        let mut samples = data.fit(inputs)?;
        if let Some(path) = &self.labels {
            samples.set_labels(Dataset::read(path)?.labels()?)?;
        }
        if let Some(n) = self.images {
            samples.keep(usize::try_from(n).unwrap_or(usize::MAX));
        }
        Ok(samples)
    }

    fn options(&self, model: &Model, data: &Dataset, samples: &Samples) -> Result<PlanOptions> {
        let batch = self.batch.unwrap_or(samples.count.clamp(1, BATCH));
        let input = self.flags.range.spec_for(model, data)?;
        let (network, calibration) = (self.remote.network, self.flags.range.samples(model)?);
        let flags = self.flags.options(self.via, batch, input);
        let tee = if self.via == Via::Tee { self.tee.local()? } else { None };
        Ok(PlanOptions { threads: self.threads, network, calibration, tee, ..flags })
    }

    fn verification(
        &self,
        model: &Model,
        batch: usize,
        samples: &Samples,
        output: &Output,
    ) -> Result<Option<Verification>> {
        if !self.verify {
            return Ok(None);
        }
        let plain = PlanOptions { batch, ..PlanOptions::default() };
        let plain = watched(&mut model.plan(&plain)?.open()?, samples)?;
        Ok(Some(verify(output, &plain)))
    }

    /// What was asked for that weakens the claim.
    fn insecure(&self) -> Vec<String> {
        let flags = [(self.flags.public_weights, "public-weights"), (self.flags.insecure_self_dealer, "self-dealer")];
        flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()).collect()
    }

    fn print(
        &self,
        output: &Output,
        samples: &Samples,
        verification: Option<&Verification>,
        marks: &[String],
    ) -> Result<()> {
        let accuracy = accuracy(output, samples);
        if self.json {
            let document = json!({
                "output": output,
                "labels": output.labels(),
                "simulated": self.simulate,
                "insecure": marks,
                "accuracy": accuracy,
                "agreement": verification.map(Verification::agreement),
                "verification": verification,
            });
            return print::json(&document);
        }
        let mut text = predictions(output, verification);
        text += &costs(output, self.simulate);
        for flag in marks {
            text += &format!("insecure  {flag}\n");
        }
        if let Some(accuracy) = accuracy {
            text += &format!("accuracy  {}\n", text::percent(accuracy));
        }
        text += &verification.map(differences).unwrap_or_default();
        print::out(&text)
    }
}

/// Runs all samples with a progress bar.
fn watched(session: &mut Session, samples: &Samples) -> Result<Output> {
    let mut bar = Bar::new();
    let via = session.via();
    let watch = &mut |done: usize, total: usize| bar.set(done as u64, total as u64, format!("via {via}"));
    Ok(session.run_watched(&samples.inputs, watch)?)
}

/// The same by parties elsewhere.
fn remotely(remote: &mut Remote, samples: &Samples) -> Result<Output> {
    let mut bar = Bar::new();
    let watch = &mut |done: usize, total: usize| bar.set(done as u64, total as u64, "by the cluster".to_owned());
    Ok(remote.run_watched(&samples.inputs, watch)?)
}

/// `NAME` or `NAME@VERSION`.
pub(super) fn named_version(text: &str) -> Result<(&str, Option<u32>)> {
    let Some((name, version)) = text.split_once('@') else { return Ok((text, None)) };
    let version = version.parse().map_err(|_| Error::Misuse {
        message: format!("'{version}' is no version"),
        hint: Some("give NAME@VERSION, for example lenet@2".to_owned()),
    })?;
    Ok((name, Some(version)))
}

/// What is assumed, on stderr, before the work.
fn announce(sheet: &PlanSheet, options: &PlanOptions, simulate: bool) {
    if simulate {
        print::log("note: --simulate computes in the clear on this machine: no protection");
    }
    if sheet.fixed.is_some() && options.input == InputSpec::Auto {
        let ranges: Vec<_> = sheet.inputs.iter().map(|i| i.range()).collect();
        print::log(&format!(
            "note: inputs are taken to be in {}; --calibrate FILE or --input-range LO,HI makes the result more exact",
            ranges.join(" and ")
        ));
    }
}

fn accuracy(output: &Output, samples: &Samples) -> Option<f64> {
    let labels = samples.labels.as_ref()?;
    let right = output.labels().iter().zip(labels).filter(|(a, b)| a == b).count();
    Some(right as f64 / output.samples.max(1) as f64)
}

fn predictions(output: &Output, verification: Option<&Verification>) -> String {
    let labels = output.labels();
    let line = |i: usize| {
        let mut cells = vec![(i + 1).to_string(), labels[i].to_string()];
        cells.extend(verification.and_then(|v| v.each.get(i)).map(difference).into_iter().flatten());
        cells.push(values(output.sample(0, i), output.labels_only));
        cells
    };
    let rows = (0..output.samples.min(SHOWN)).map(line).collect();
    let mut text = print::table(columns(verification.is_some()), rows);
    if output.samples > SHOWN {
        text += &format!("... and {} more: --output FILE saves all, --json prints all\n", output.samples - SHOWN);
    }
    text
}

fn columns(verified: bool) -> &'static [(&'static str, CellAlignment)] {
    if verified {
        &[("sample", Right), ("label", Right), ("in the clear", Right), ("difference", Right), ("outputs", Left)]
    } else {
        &[("sample", Right), ("label", Right), ("outputs", Left)]
    }
}

fn difference(d: &SampleDifference) -> [String; 2] {
    [d.plain_label.to_string(), d.max_abs_err.map_or_else(|| "-".to_owned(), |e| format!("{e:.1e}"))]
}

fn values(values: &[f32], labels_only: bool) -> String {
    if labels_only {
        return "not opened".to_owned();
    }
    let shown: Vec<_> = values.iter().take(SHOWN_VALUES).map(|v| format!("{v:>7.2}")).collect();
    let more = if values.len() > SHOWN_VALUES { " ..." } else { "" };
    shown.join(" ") + more
}

fn costs(output: &Output, simulated: bool) -> String {
    let time: f64 = output.batches.iter().map(|b| b.ms()).sum();
    let (offline, online) = output.totals();
    let how = if simulated { "simulated, " } else { "" };
    let mut text = format!(
        "computed  via {}, {how}{} in {}\n",
        output.via,
        text::counted(output.samples, "sample"),
        text::millis(time)
    );
    if offline.bytes + online.bytes > 0 {
        let setup = output.setup.cost;
        text += &format!(
            "network   setup {}, offline {}, online {} in {} rounds\n",
            text::bytes(setup.bytes as f64),
            text::bytes(offline.bytes as f64),
            text::bytes(online.bytes as f64),
            online.rounds
        );
    }
    text
}

fn differences(v: &Verification) -> String {
    let error = v.max_abs_err.map(|e| format!(", largest difference of any output {e:.2e}")).unwrap_or_default();
    format!("verified  {} of {} with the plain label{error}\n", v.same_labels, text::counted(v.samples, "sample"))
}
