//! Protocols beside plain in one run: `protocols [--quick | --batches=N] [WORD...]` runs the
//! models and the protocols whose names are among the words, or all of either; `--batches` a
//! fixed number of times, to compare processor time (`perf stat`). The parties are threads of one
//! process over in-process links; plain is tract on one thread. Preprocessing ("offline") is made afresh for every batch
//! and stated apart.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subrosa_graph::{InputRange, LowerOptions, Lowered, Model, Reveal, lower};
use subrosa_mpc::{LocalCluster, Options, Predicted, ProtocolKind, predict};

const MODELS: [&str; 4] = ["mlp", "cnn", "lenet", "lenet5"];
const BATCHES: [usize; 2] = [1, 128];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|a| a == "--quick");
    let count = args.iter().find_map(|a| a.strip_prefix("--batches=")).map(str::parse).transpose()?;
    let effort = match (quick, count) {
        (_, Some(count)) => (Duration::ZERO, count),
        (true, None) => (Duration::ZERO, 1),
        (false, None) => (Duration::from_secs(2), 1),
    };
    let words: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    head();
    let named = |name: &str| words.iter().any(|w| *w == name);
    let kinds: Vec<_> = ProtocolKind::ALL.iter().copied().filter(|kind| named(kind.name())).collect();
    let kinds = if kinds.is_empty() { ProtocolKind::ALL.to_vec() } else { kinds };
    let any_model = !MODELS.into_iter().any(named);
    for name in MODELS.into_iter().filter(|m| any_model || named(m)) {
        let model = Model::from_bytes(&std::fs::read(path(name))?)?;
        let options = LowerOptions {
            ring: None,
            inputs: vec![InputRange { lo: 0.0, hi: 1.0 }],
            reveal: Reveal::Logits,
            ..LowerOptions::default()
        };
        let lowered = lower(model.graph(), &options)?;
        for (batch, &kind) in BATCHES.into_iter().flat_map(|batch| kinds.iter().map(move |kind| (batch, kind))) {
            line(kind, name, &model, &lowered, batch, effort)?;
        }
    }
    Ok(())
}

fn path(name: &str) -> String {
    format!("{}/../../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"))
}

fn head() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{}, {cores} cores, kernels {}", cpu(), subrosa_ring::isa());
    println!("links: in-process; best of several batches; preprocessing is stated apart, none is reused");
    println!("bytes: payload that a party sends for one image, mean of all parties; owner and receiver are in online");
    println!(
        "{:<8}{:<9}{:>6}{:>6}{:>10}{:>10}{:>10}{:>9}{:>9}{:>8}{:>8}{:>10}{:>10}",
        "model",
        "via",
        "batch",
        "ring",
        "plain ms",
        "online",
        "offline",
        "x online",
        "x both",
        "rounds",
        "offl.",
        "B online",
        "B offline"
    );
}

fn line(
    kind: ProtocolKind,
    name: &str,
    model: &Model,
    lowered: &Lowered,
    batch: usize,
    effort: (Duration, usize),
) -> Result<(), Box<dyn Error>> {
    let (time, least) = effort;
    let len = lowered.program.insts[lowered.program.inputs[0]].shape.len() * batch;
    let input: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1000) as f32 / 999.0).collect();
    let plain = plain_ms(model, batch, &input, time / 4)?;
    let program = Arc::new(lowered.program.clone());
    let options = Options::default();
    let mut cluster = LocalCluster::start(kind, program.clone(), lowered.weights.clone(), &options)?;
    let encoded = lowered.encode(0, &input)?;
    let (mut online, mut offline) = (f64::INFINITY, f64::INFINITY);
    let start = Instant::now();
    // One batch to warm up, then at least one that counts.
    for run in 0.. {
        let got = black_box(cluster.infer(std::slice::from_ref(&encoded), batch)?);
        if run > 0 {
            online = online.min(ms(got.online.time));
            offline = offline.min(ms(got.offline.time));
            if run >= least && start.elapsed() > time {
                break;
            }
        }
    }
    let Predicted { offline: made, online: used, .. } = predict(kind, &program, batch, &options)?;
    let bytes = |bytes: u64| bytes as f64 / kind.parties() as f64 / batch as f64;
    println!(
        "{name:<8}{:<9}{batch:>6}{:>6}{plain:>10.3}{online:>10.3}{offline:>10.3}{:>9.1}{:>9.1}{:>8}{:>8}{:>10.0}{:>10.0}",
        kind.name(),
        program.ring.bits(),
        online / plain,
        (online + offline) / plain,
        used.rounds,
        made.rounds,
        bytes(used.bytes),
        bytes(made.bytes),
    );
    Ok(())
}

fn plain_ms(model: &Model, batch: usize, input: &[f32], time: Duration) -> Result<f64, Box<dyn Error>> {
    let runner = model.plain(batch)?;
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    loop {
        let run = Instant::now();
        black_box(runner.run(&[input])?);
        best = best.min(ms(run.elapsed()));
        if start.elapsed() > time {
            return Ok(best);
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The processor's model name, where the system tells.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".into(), |(_, name)| name.to_owned())
}
