//! Other libraries as rows of the same comparison.
//!
//! A peer is a folder of `peers/`: an `adapter.py`, the pins of its own Python environment and
//! a `peer.toml` that says what it is. Its adapter runs as a child process on the very samples
//! that the plain run used; its answers come back as a file and are held against plain here.
//! Whatever a library does (crash, hang, print without end, answer nonsense) costs its own row
//! only.

mod answers;
mod child;

use super::Workload;
use super::measure::Measurement;
use crate::data::Samples;
use crate::model::Model;
use crate::{Error, Result};
use answers::Line;
use child::{Child, Ended};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use subrosa_core::{Absent, Row};

/// A library that can be run beside this program.
#[derive(Clone, Debug)]
pub struct Peer {
    name: String,
    folder: PathBuf,
    about: About,
}

/// What `peer.toml` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    /// What its rows are called; one run of the adapter each.
    backends: Vec<String>,
    /// Versions of Python that its pins are for, the best first. Read by `peers/setup`.
    #[serde(default)]
    #[expect(dead_code, reason = "peers/setup reads it; here it only must not be an unknown key")]
    python: Vec<String>,
    /// Whether it computes in the clear: it then takes every model and its twin.
    #[serde(default)]
    plain: bool,
    /// Why it cannot run here, and how it runs where it can.
    #[serde(default)]
    prevented: Option<String>,
}

/// How long a peer may take for one row.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// It stops measuring after this time, at the end of a batch.
    pub measure: Duration,
    /// It is ended after this time, set-up included.
    pub limit: Duration,
}

/// Every peer of a `peers` folder, by name.
///
/// **Errors:** [`Error::Io`]; [`Error::Misuse`] for a `peer.toml` that is none.
pub fn peers(folder: &Path) -> Result<Vec<Peer>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?;
    let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.join("peer.toml").is_file());
    let mut peers = folders.map(|path| Peer::read(&path)).collect::<Result<Vec<_>>>()?;
    peers.sort_by(|a, b| (!a.about.plain, &a.name).cmp(&(!b.about.plain, &b.name)));
    Ok(peers)
}

/// Those named, in that order.
///
/// **Errors:** [`Error::Misuse`] for an unknown name, listing those there are, and for one that
/// is not set up, saying how.
pub fn choose(peers: &[Peer], names: &[String]) -> Result<Vec<Peer>> {
    let find = |name: &String| {
        let all: Vec<_> = peers.iter().map(Peer::name).collect();
        let unknown = || Error::misuse(format!("there is no peer '{name}': choose among {}", all.join(", ")), "");
        let peer = peers.iter().find(|p| p.name == *name).ok_or_else(unknown)?;
        match peer.obstacle() {
            Some(Obstacle::NotSetUp) => Err(Error::misuse(format!("peer '{name}' is not set up"), &peer.remedy())),
            Some(Obstacle::Prevented(_)) | None => Ok(peer.clone()),
        }
    };
    names.iter().map(find).collect()
}

/// Why a peer cannot run.
enum Obstacle<'a> {
    /// Its environment is not there.
    NotSetUp,
    /// Nothing here can run it.
    Prevented(&'a str),
}

impl Peer {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("peer.toml");
        let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, &e))?;
        let about = toml::from_str(&text)
            .map_err(|e| Error::misuse(format!("{}: {}", path.display(), e.message()), "see peers/README.md"))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, folder: folder.to_owned(), about })
    }

    /// Its folder's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its environment is there.
    pub fn is_ready(&self) -> bool {
        self.obstacle().is_none()
    }

    fn obstacle(&self) -> Option<Obstacle<'_>> {
        if let Some(why) = &self.about.prevented {
            return Some(Obstacle::Prevented(why));
        }
        (!self.python().is_file()).then_some(Obstacle::NotSetUp)
    }

    fn remedy(&self) -> String {
        format!("run peers/setup {}", self.name)
    }

    fn python(&self) -> PathBuf {
        let beside = self.folder.parent().unwrap_or(Path::new("."));
        beside.join(".venvs").join(&self.name).join("bin/python")
    }
}

/// One model at one batch size, as every peer gets it.
pub(super) struct Task<'a> {
    pub(super) model: &'a Model,
    pub(super) file: &'a Path,
    pub(super) samples: &'a Samples,
    pub(super) workload: Workload,
    pub(super) images: usize,
    pub(super) threads: usize,
    pub(super) plain: &'a Measurement,
}

/// A peer's runs.
pub(super) struct Runner<'a> {
    peer: &'a Peer,
    patience: Patience,
}

/// What came of one run.
pub(super) enum Outcome {
    Row(Box<Row>),
    /// It cannot compute this model; another one for the same task, perhaps.
    Refused(Absent),
    /// It failed, or is not here.
    Failed(Absent),
    /// It took too long: it will for larger batches.
    TooLong(Absent),
}

impl<'a> Runner<'a> {
    pub(super) fn new(peer: &'a Peer, patience: Patience) -> Self {
        Self { peer, patience }
    }

    /// What its rows are called.
    pub(super) fn backends(&self) -> &'a [String] {
        &self.peer.about.backends
    }

    pub(super) fn is_plain(&self) -> bool {
        self.peer.about.plain
    }

    /// Runs one backend of the peer; `progress` hears its last words.
    ///
    /// **Errors:** [`Error::Io`] if samples cannot be written for it; whatever the peer does
    /// is an outcome.
    pub(super) fn run(&self, task: &Task<'_>, backend: &str, progress: &mut dyn FnMut(&str)) -> Result<Outcome> {
        let absent =
            |why: String| Absent { model: Some(task.model.name().to_owned()), backend: backend.to_owned(), why };
        match self.peer.obstacle() {
            Some(Obstacle::Prevented(why)) => {
                return Ok(Outcome::Failed(Absent { model: None, ..absent(why.to_owned()) }));
            }
            Some(Obstacle::NotSetUp) => {
                let why = format!("not set up; {}", self.peer.remedy());
                return Ok(Outcome::Failed(Absent { model: None, ..absent(why) }));
            }
            None => {}
        }
        if let Some(why) = refused(task) {
            return Ok(Outcome::Failed(absent(why.to_owned())));
        }
        let folder = answers::Folder::new()?;
        let data = folder.write_samples(task)?;
        let child = Child::start(&self.peer.python(), &self.arguments(task, backend, &data, folder.path()));
        let ended = child.and_then(|child| child.watch(self.patience.limit, progress));
        let output = match ended {
            Ok(Ended::Well(output)) => output,
            Ok(Ended::Badly(why)) => return Ok(Outcome::Failed(absent(batch_named(task, why)))),
            Ok(Ended::TooLong(why)) => {
                return Ok(Outcome::TooLong(absent(batch_named(task, why + "; larger batches were not tried"))));
            }
            Err(error) => return Ok(Outcome::Failed(absent(format!("it could not be run: {error}")))),
        };
        Ok(match answers::read(&output, task, backend, folder.path()) {
            Ok(Line::Row(row)) => Outcome::Row(row),
            Ok(Line::Unavailable(why)) => Outcome::Refused(absent(why)),
            Err(why) => Outcome::Failed(absent(format!("its output is not usable: {why}"))),
        })
    }

    fn arguments(&self, task: &Task<'_>, backend: &str, data: &Path, answers: &Path) -> Vec<std::ffi::OsString> {
        let pair = |flag: &str, value: std::ffi::OsString| [flag.into(), value];
        let batch = format!("{}:{}", task.workload.batch.min(task.images), task.images);
        let seconds = self.patience.measure.as_secs_f64().to_string();
        let mut out = vec![self.peer.folder.join("adapter.py").into_os_string()];
        out.extend(pair("--model", task.file.as_os_str().to_owned()));
        out.extend(pair("--data", data.as_os_str().to_owned()));
        out.extend(pair("--batch", batch.into()));
        out.extend(pair("--backend", backend.into()));
        out.extend(pair("--threads", task.threads.to_string().into()));
        out.extend(pair("--seconds", seconds.into()));
        out.extend(pair("--answers", answers.as_os_str().to_owned()));
        out
    }
}

fn batch_named(task: &Task<'_>, why: String) -> String {
    format!("batch {}: {why}", task.workload.batch.min(task.images))
}

/// Adapters get one array and give one.
fn refused(task: &Task<'_>) -> Option<&'static str> {
    let (inputs, outputs) = (task.model.inputs().len(), task.model.outputs().len());
    (inputs != 1 || outputs != 1).then_some("adapters run models of one input and one output")
}
