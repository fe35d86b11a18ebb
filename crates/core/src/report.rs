//! The rows of a comparison, as `compare --json` writes them.

use crate::claim::Trust;
use serde::{Deserialize, Serialize};

/// The machine a report was measured on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model.
    pub cpu: String,
    /// Logical cores visible.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Operating system.
    pub os: String,
    /// Kernel path used by the ring arithmetic (`portable`, `avx2`, `avx512`).
    pub isa: String,
    /// Version of this program.
    pub subrosa: String,
    /// Processes that wanted to run, on average over the minute before the first measurement;
    /// none where the system does not tell. Above a few tenths, times are too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
}

/// One model under one protection at one batch size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Model file name without its extension.
    pub model: String,
    /// The protection, as `--via` names it.
    pub backend: String,
    /// Its claim in one sentence.
    pub claim: String,
    /// Images (or table rows) evaluated.
    pub images: usize,
    /// Correct answers, where labels are known.
    pub correct: Option<usize>,
    /// `correct / images`.
    pub accuracy: Option<f64>,
    /// The same for the plain run.
    pub plain_accuracy: Option<f64>,
    /// Share of images with the same argmax as the plain run.
    pub agreement: f64,
    /// Largest absolute difference of any logit against plain; none if only labels were opened.
    pub max_abs_err: Option<f64>,
    /// Images per inference.
    pub batch: usize,
    /// Median time of one batch, milliseconds: offline and online together.
    pub latency_ms_p50: f64,
    /// 95th percentile of the same.
    pub latency_ms_p95: f64,
    /// Images per second over the whole run.
    pub throughput_per_s: f64,
    /// `latency_ms_p50` over plain's at the same batch, run and thread count.
    pub slowdown_vs_plain: f64,
    /// Time until the first input could flow, once a session (milliseconds).
    pub setup_ms: f64,
    /// Median time of one batch's preprocessing (milliseconds).
    pub offline_ms: f64,
    /// Bytes all parties sent before the input of one batch was known.
    pub bytes_offline: u64,
    /// Bytes all parties sent for one batch once the input was known.
    pub bytes_online: u64,
    /// Of these, what the client sent; where there is one server and one client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_up: Option<u64>,
    /// And what it was sent back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_down: Option<u64>,
    /// Evaluation keys, sent once a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_keys: Option<u64>,
    /// Message layers of one batch, online.
    pub rounds: u64,
    /// Largest resident memory of the process so far (MiB).
    pub peak_rss_mb: f64,
    /// Compute parties.
    pub parties: usize,
    /// Threads per party.
    pub threads: usize,
    /// Network between the parties.
    pub network: String,
    /// Computational security, bits; 0 for none.
    pub security_bits: u32,
    /// Insecure flags and unproven assumptions in force.
    pub insecure: Vec<String>,
    /// What else makes it comparable.
    #[serde(flatten)]
    pub terms: Terms,
}

/// What must be known of two rows to compare them fairly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// How corrupted parties behave.
    pub adversary: String,
    /// How many compute parties may collude.
    pub threshold: usize,
    /// On whom privacy rests.
    pub trust: Trust,
    /// The same in plain words.
    pub trusted: String,
    /// Whether input-independent work is in the latency (`in latency`), or there is `none`.
    pub preprocessing: String,
    /// Ring, ciphertext or number format.
    pub parameters: String,
    /// What computed, with its version.
    pub version: String,
    /// Fields of the row that the library does not tell: they stand at 0 and mean nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<String>,
    /// `latency_ms_p50` over ONNX Runtime's on one thread, at the same model, batch and run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowdown_vs_onnxruntime: Option<f64>,
}

impl Row {
    /// Whether the library tells this field.
    pub fn tells(&self, field: &str) -> bool {
        !self.terms.unmeasured.iter().any(|name| name == field)
    }
}

/// What was asked for and could not be measured here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// The model; none where it is the same for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The backend or library.
    pub backend: String,
    /// Why, and the way out.
    pub why: String,
}

/// A claim held against the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The claim.
    pub claim: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found here, in one or two sentences.
    pub found: String,
}

/// Another library's row beside our fastest one that asks for no more trust and has no fewer
/// bits of security, on the same network (or its polynomial twin) and batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The model that the library ran.
    pub model: String,
    /// Samples in one inference.
    pub batch: usize,
    /// The library's row.
    pub peer: String,
    /// Its latency (milliseconds).
    pub peer_ms: f64,
    /// Ours; none where we have nothing at this trust.
    pub ours: Option<String>,
    /// Our latency (milliseconds).
    pub ours_ms: Option<f64>,
    /// How many times faster ours is; below 1: slower.
    pub ratio: Option<f64>,
}

/// How a claim came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds for these rows.
    Holds,
    /// It does not.
    Fails,
    /// The rows do not tell.
    Open,
}

/// What `compare --json` writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What could not be measured here, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
    /// Claims held against the rows, where the comparison is an experiment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Other libraries' rows beside ours at the same trust.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standings: Vec<Standing>,
    /// The command that made it, where one did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// When, in UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub date: String,
}

/// What stands in [`Row::insecure`] when trusted hardware was only simulated.
pub const SIMULATED: &str = "SIMULATED, NO CONFIDENTIALITY";

/// What stands in [`Row::insecure`] where a party dealt for itself.
pub const SELF_DEALER: &str = "self-dealer";

impl Row {
    /// Whether it is the reference: computed in the clear, and not said to be anything else.
    pub fn in_the_clear(&self) -> bool {
        self.terms.trust == Trust::Machine && !self.simulated()
    }

    /// Whether trusted hardware was only simulated.
    pub fn simulated(&self) -> bool {
        self.insecure.iter().any(|mark| mark == SIMULATED)
    }

    /// Whether a party dealt for itself, and so could open everything.
    pub fn self_dealt(&self) -> bool {
        self.insecure.iter().any(|mark| mark == SELF_DEALER)
    }

    /// The backend's name, with what must not be overlooked.
    pub fn label(&self) -> String {
        match (self.simulated(), self.self_dealt()) {
            (true, _) => format!("{} ({SIMULATED})", self.backend),
            (false, true) => format!("{} ({SELF_DEALER})", self.backend),
            (false, false) => self.backend.clone(),
        }
    }
}
