//! Comparisons with other libraries in them, and the survey's experiment.

use super::{BATCH, Compare, IMAGES, Source, distinct, is_stdout, shipped};
use crate::failure::Result;
use crate::print;
use crate::progress::Bar;
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use subrosa::compare::beside::{Beside, Candidate, Step, compare_beside};
use subrosa::compare::peers::{self, Patience, Peer};
use subrosa::compare::{Comparison, Workload, survey};
use subrosa::data::save::write_whole;
use subrosa::{Model, Report, Via};

/// The survey's networks, each with its polynomial twin.
const NETWORKS: [(&str, &str); 3] = [("mlp", "mlp_square"), ("cnn", "cnn_square"), ("lenet", "lenet_square")];
/// Images of the experiment, and of its whole form.
const FULL_IMAGES: usize = 10_000;
/// Images one by one: enough for a percentile.
const SINGLE_IMAGES: usize = 100;
/// A row is measured for so long: with set-up, some eighty rows end within half an hour.
const MEASURE: Duration = Duration::from_secs(10);
const FULL_MEASURE: Duration = Duration::from_secs(120);
/// Names all peers, set up or not.
const ALL: &str = "all";

/// What to compare with.
#[derive(Args, Default)]
pub(super) struct Flags {
    /// Beside other libraries, by name, or `all` [default: those that peers/setup has set up]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 0..)]
    peers: Option<Vec<String>>,
    /// End a library that takes longer than this for a row, set-up included
    #[arg(long, value_name = "SECONDS", default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    peer_limit: u64,
    /// Repeat a published comparison (survey2022: three MNIST networks) by every protection and
    /// every library set up
    #[arg(long, value_enum, hide_possible_values = true, conflicts_with_all = ["models", "data", "images", "batches"])]
    experiment: Option<Experiment>,
    /// All 10,000 images, and more time for each row
    #[arg(long, requires = "experiment")]
    full: bool,
}

/// A published comparison: Kuzniewski, Matusiewicz, Sapiecha 2022.
#[derive(Clone, Copy, ValueEnum)]
enum Experiment {
    // Without a doc comment, which would make all of the help long.
    Survey2022,
}

impl Flags {
    pub(super) fn wanted(&self) -> bool {
        self.peers.is_some() || self.experiment.is_some()
    }

    /// How many images an experiment wants.
    pub(super) fn images(&self) -> Option<usize> {
        self.experiment.map(|Experiment::Survey2022| if self.full { FULL_IMAGES } else { IMAGES })
    }

    fn chosen(&self) -> Result<Vec<Peer>> {
        let all = peers::peers(&shipped::peers()?)?;
        let names = self.peers.as_deref().unwrap_or_default();
        if names.iter().any(|name| name == ALL) || (names.is_empty() && self.experiment.is_some()) {
            return Ok(all);
        }
        if !names.is_empty() {
            return Ok(peers::choose(&all, &distinct(names))?);
        }
        let ready: Vec<_> = all.into_iter().filter(Peer::is_ready).collect();
        if ready.is_empty() {
            print::log("no other library is set up: run peers/setup onnxruntime tenseal, for example");
        }
        Ok(ready)
    }

    fn patience(&self) -> Patience {
        let measure = if self.full { FULL_MEASURE } else { MEASURE };
        Patience {
            measure,
            limit: Duration::from_secs(self.peer_limit) + if self.full { measure } else { Duration::ZERO },
        }
    }
}

impl Compare {
    /// The report, and the name of the data.
    pub(super) fn measure_beside(&self) -> Result<(Report, String)> {
        let beside = Beside { peers: self.beside.chosen()?, patience: self.beside.patience() };
        let (candidates, data) = self.candidates()?;
        let mut bar = Bar::new();
        let comparison = self.comparison_beside()?;
        let kept = Kept::beside(self.json.as_deref().filter(|path| !is_stdout(path)));
        let mut report = compare_beside(&candidates, &comparison, &beside, &mut |step| {
            if step.words.is_empty() && !std::io::stderr().is_terminal() {
                let Step { model, backend, batch, done, total, .. } = step;
                print::log(&format!("{} of {total}: {model} via {backend}, batch {batch}", done + 1));
            }
            if step.words.is_empty() {
                kept.save(step.report);
            }
            let words = if step.words.is_empty() { String::new() } else { format!(": {}", step.words) };
            bar.set(step.done, step.total, format!("{} via {}, batch {}{words}", step.model, step.backend, step.batch));
        })?;
        kept.remove();
        report.standings = survey::standings(&report.rows);
        if let Some(Experiment::Survey2022) = self.beside.experiment {
            report.findings = survey::findings(&report.rows);
        }
        Ok((report, data))
    }

    /// Everything of ours, unless backends are named; what is refused gets no row.
    fn comparison_beside(&self) -> Result<Comparison> {
        let given = self.comparison()?;
        let vias = if self.vias.is_empty() { Via::ALL.to_vec() } else { given.vias };
        let budget = if self.beside.experiment.is_some() { Some(self.beside.patience().measure) } else { given.budget };
        let workloads = match self.beside.images() {
            Some(images) => vec![
                Workload { batch: 1, images: Some(SINGLE_IMAGES) },
                Workload { batch: BATCH, images: Some(images) },
            ],
            None => given.workloads,
        };
        Ok(Comparison { vias, budget, workloads, ..given })
    }

    fn candidates(&self) -> Result<(Vec<Candidate>, String)> {
        let pairs: Vec<(PathBuf, Option<PathBuf>)> = match self.beside.experiment {
            Some(Experiment::Survey2022) => {
                let pair = |(net, twin): (&str, &str)| Ok((shipped::model(net)?, Some(shipped::model(twin)?)));
                NETWORKS.into_iter().map(pair).collect::<Result<_>>()?
            }
            None => self.files()?.into_iter().map(|file| (file, None)).collect(),
        };
        let models = pairs.iter().map(|(file, _)| Model::open(file)).collect::<subrosa::Result<Vec<_>>>()?;
        let source = self.source(&models)?;
        let candidate = |(file, twin): (PathBuf, Option<PathBuf>)| {
            let twin = twin.map(|file| self.candidate(file, None, &source)).transpose()?;
            self.candidate(file, twin, &source)
        };
        Ok((pairs.into_iter().map(candidate).collect::<Result<_>>()?, source.name))
    }

    fn candidate(&self, file: PathBuf, twin: Option<Candidate>, source: &Source) -> Result<Candidate> {
        let entry = self.entry(Model::open(&file)?, source)?;
        // Other libraries are run elsewhere.
        let file = std::path::absolute(&file).unwrap_or(file);
        Ok(Candidate { entry, file, twin: twin.map(Box::new) })
    }
}

/// The rows of a comparison that is not over, beside the file of its end: hours of them are not
/// lost with the process.
struct Kept(Option<PathBuf>);

impl Kept {
    fn beside(json: Option<&Path>) -> Self {
        Self(json.map(|path| path.with_added_extension("part")))
    }

    fn save(&self, report: &Report) {
        let Some(path) = &self.0 else { return };
        let written = serde_json::to_vec_pretty(report).is_ok_and(|bytes| write_whole(path, &bytes).is_ok());
        if !written {
            print::log(&format!("{}: the rows so far cannot be saved", path.display()));
        }
    }

    fn remove(&self) {
        if let Some(path) = &self.0 {
            // It may never have been written.
            let _ = std::fs::remove_file(path);
        }
    }
}
