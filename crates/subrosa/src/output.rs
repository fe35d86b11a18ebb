//! What a session gives back.

use crate::backends::Via;
use crate::model::Port;
use serde::Serialize;
use std::time::Duration;
use subrosa_core::Cost;
use subrosa_graph::Reveal;
use subrosa_mpc::Measured;

/// The results of all samples, and what they cost. The last state.
#[derive(Clone, Debug, Serialize)]
pub struct Output {
    /// Model name.
    pub model: String,
    /// Who computed.
    pub via: Via,
    /// Whether only labels were opened.
    pub labels_only: bool,
    /// Number of samples.
    pub samples: usize,
    /// The outputs' names and shapes of one sample, in ONNX order.
    pub ports: Vec<Port>,
    /// One flat array an output: all samples, row-major.
    pub values: Vec<Vec<f32>>,
    /// Once a session.
    pub setup: Phase,
    /// What each batch took, in order.
    pub batches: Vec<Batch>,
}

/// Traffic and time of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Phase {
    /// Rounds and bytes, all parties together.
    pub cost: Cost,
    /// Time (milliseconds).
    pub ms: f64,
}

/// One batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Batch {
    /// Samples in it.
    pub samples: usize,
    /// Before the input was known.
    pub offline: Phase,
    /// With the input.
    pub online: Phase,
}

impl From<Measured> for Phase {
    fn from(measured: Measured) -> Self {
        Self { cost: measured.cost, ms: measured.time.as_secs_f64() * 1e3 }
    }
}

impl Phase {
    /// A phase without traffic.
    pub(crate) fn local(time: Duration) -> Self {
        Self { cost: Cost::FREE, ms: time.as_secs_f64() * 1e3 }
    }
}

impl Batch {
    /// Offline and online time together (milliseconds).
    pub fn ms(&self) -> f64 {
        self.offline.ms + self.online.ms
    }
}

impl Output {
    /// Values of one sample of an output.
    pub fn sample_len(&self, output: usize) -> usize {
        self.ports.get(output).map_or(0, Port::sample_len)
    }

    /// Dimensions of all samples of an output.
    pub fn dims(&self, output: usize) -> Vec<usize> {
        let Some(port) = self.ports.get(output) else { return Vec::new() };
        let sample = if port.batched { port.shape.get(1..).unwrap_or_default() } else { &port.shape };
        std::iter::once(self.samples).chain(sample.iter().copied()).collect()
    }

    /// One sample of one output.
    pub fn sample(&self, output: usize, sample: usize) -> &[f32] {
        let len = self.sample_len(output);
        let values = self.values.get(output).map_or(&[][..], Vec::as_slice);
        values.get(sample * len..(sample + 1) * len).unwrap_or_default()
    }

    /// One label a sample: the index of the first output's largest value, the label itself
    /// where only that was opened, and an output of a single number rounded (a probability
    /// above one half is class 1).
    pub fn labels(&self) -> Vec<i64> {
        (0..self.samples).map(|i| self.label(self.sample(0, i))).collect()
    }

    fn label(&self, values: &[f32]) -> i64 {
        match values {
            [single] => single.round() as i64,
            many => argmax(many),
        }
    }

    /// Total time of all batches, offline and online (milliseconds).
    pub fn total_ms(&self) -> f64 {
        self.batches.iter().map(Batch::ms).sum()
    }

    /// Rounds and bytes of all batches: offline, online.
    pub fn totals(&self) -> (Cost, Cost) {
        (self.batches.iter().map(|b| b.offline.cost).sum(), self.batches.iter().map(|b| b.online.cost).sum())
    }
}

/// Index of the largest value, the first of equals.
fn argmax(values: &[f32]) -> i64 {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best as i64
}

/// The ports of what is opened: for labels, one number a sample.
pub(crate) fn opened_ports(ports: &[Port], reveal: Reveal) -> Vec<Port> {
    match reveal {
        Reveal::Logits => ports.to_vec(),
        Reveal::Label => ports.iter().map(label_port).collect(),
    }
}

fn label_port(port: &Port) -> Port {
    let mut shape = port.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = 1;
    }
    Port { name: format!("{}.argmax", port.name), shape, batched: port.batched }
}

/// In the clear, what [`Reveal::Label`] opens: the argmax along the last axis.
pub(crate) fn labels_of(values: &[f32], port: &Port) -> Vec<f32> {
    let axis = port.shape.last().copied().unwrap_or(1).max(1);
    values.chunks_exact(axis).map(|row| argmax(row) as f32).collect()
}
