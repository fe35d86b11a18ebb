//! `subrosa keygen | encrypt | evaluate | decrypt`: homomorphic inference file by file.

use crate::failure::Result;
use crate::print;
use clap::Args;
use std::path::PathBuf;
use subrosa::ckks::Publish;
use subrosa::ckks::roles::{self, Written};
use subrosa::data::save;
use subrosa::{Dataset, Model, Output, text};

/// The client's keys for a plan.
#[derive(Args)]
pub(crate) struct Keygen {
    /// A plan: what `plan MODEL --via ckks --save FILE` wrote
    plan: PathBuf,
    /// Where to put the secret key; it stays with the client
    #[arg(long, value_name = "FILE", default_value = "client.key")]
    secret: PathBuf,
    /// Where to put the evaluation keys; they go to the server
    #[arg(long, value_name = "FILE", default_value = "evaluation.keys")]
    public: PathBuf,
}

/// What to encrypt.
#[derive(Args)]
pub(crate) struct Encrypt {
    /// The samples: .npy, .npz, .png, .csv or idx (also .gz)
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The client's secret key
    #[arg(long, value_name = "FILE", default_value = "client.key")]
    secret: PathBuf,
    /// Where to put the request
    #[arg(long, value_name = "FILE", default_value = "request.ckks")]
    output: PathBuf,
    /// Use only the first N samples [default: as many as one request holds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    images: Option<u64>,
}

/// What to compute.
#[derive(Args)]
pub(crate) struct Evaluate {
    /// An ONNX file, the one that was planned
    model: PathBuf,
    /// The client's evaluation keys
    #[arg(long, value_name = "FILE", default_value = "evaluation.keys")]
    public: PathBuf,
    /// The client's request
    #[arg(long, value_name = "FILE", default_value = "request.ckks")]
    input: PathBuf,
    /// The data that the model was planned on; needed where activations are approximated
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Where to put the answer
    #[arg(long, value_name = "FILE", default_value = "answer.ckks")]
    output: PathBuf,
    /// Threads that compute
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
}

/// What to decrypt.
#[derive(Args)]
pub(crate) struct Decrypt {
    /// The server's answer
    #[arg(long, value_name = "FILE", default_value = "answer.ckks")]
    input: PathBuf,
    /// The client's secret key
    #[arg(long, value_name = "FILE", default_value = "client.key")]
    secret: PathBuf,
    /// Make the outputs fit to be shown to others: hide their error, which tells about the key,
    /// under BITS of noise, and round; the plan must have room for it (plan --publish BITS)
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(12..))]
    publish: Option<u32>,
    /// Save the outputs: .npy, .json or .csv
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Keygen {
    pub(crate) fn run(self) -> Result<()> {
        let written = roles::keygen(&self.plan, &self.secret, &self.public)?;
        print::out(&format!(
            "{}: secret, keep it with the client\n{}: {}, for the server, keys {}\n",
            self.secret.display(),
            self.public.display(),
            text::bytes(written.bytes as f64),
            short(&written)
        ))
    }
}

impl Encrypt {
    pub(crate) fn run(self) -> Result<()> {
        let (port, most) = roles::input_port(&self.secret)?;
        let mut samples = Dataset::read(&self.input)?.fit(&[port])?;
        samples.keep(self.images.map_or(most, |n| usize::try_from(n).unwrap_or(usize::MAX)));
        let written = roles::encrypt(&self.secret, &samples, &self.output)?;
        print::out(&line("request", &self.output, &written))
    }
}

impl Evaluate {
    pub(crate) fn run(self) -> Result<()> {
        let model = Model::open(&self.model)?;
        let samples = match &self.calibrate {
            Some(path) => Dataset::read(path)?.fit(model.inputs())?.inputs,
            None => Vec::new(),
        };
        let written = roles::evaluate(&model, &self.public, &self.input, &self.output, &samples, self.threads)?;
        print::out(&line("answer", &self.output, &written))
    }
}

impl Decrypt {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(path) = &self.output {
            save::Format::of(path)?;
            save::check_folder(path)?;
        }
        let output = roles::decrypt(&self.secret, &self.input, self.publish)?;
        if let Some(bits) = self.publish {
            print::log(&format!(
                "published under {bits} bits of noise: {:.0} statistical bits of security for one answer, log2 t less for t answers",
                Publish::statistical_bits(bits)
            ));
        }
        if let Some(path) = &self.output {
            save::output(path, &output)?;
        }
        if self.json {
            return print::json(&serde_json::json!({ "output": output, "labels": output.labels() }));
        }
        print::out(&listed(&output))
    }
}

/// Samples printed one by one.
const SHOWN: usize = 20;

fn listed(output: &Output) -> String {
    let labels = output.labels();
    let line = |i: usize| {
        let values: Vec<_> = output.sample(0, i).iter().take(10).map(|v| format!("{v:>7.2}")).collect();
        format!("{:>5} {:>5}  {}\n", i + 1, labels[i], values.join(" "))
    };
    let mut text = "sample label  outputs\n".to_owned();
    text.extend((0..output.samples.min(SHOWN)).map(line));
    if output.samples > SHOWN {
        text += &format!("... and {} more: --output FILE saves all, --json prints all\n", output.samples - SHOWN);
    }
    text
}

fn line(what: &str, path: &std::path::Path, written: &Written) -> String {
    let (size, samples) = (text::bytes(written.bytes as f64), text::counted(written.samples, "sample"));
    format!("{}: {what} of {samples}, {size}, keys {}\n", path.display(), short(written))
}

/// Enough of the digest to tell bundles apart.
fn short(written: &Written) -> &str {
    written.keys.get(..16).unwrap_or(&written.keys)
}
