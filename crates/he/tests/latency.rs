//! Whole models, one sample at a time: encrypted, evaluated, decrypted.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the helpers of tests may panic and print"
)]

use std::io::Read;
use std::time::Instant;
use subrosa_graph::Model;
use subrosa_he::circuit::Circuit;
use subrosa_he::{Client, Plan, PlanOptions, Server};

fn root(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn digits(count: usize) -> Vec<Vec<f32>> {
    let file = std::fs::File::open(root("data/mnist/t10k-first100-images-idx3-ubyte.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes[16..].chunks_exact(784).take(count).map(|d| d.iter().map(|&p| f32::from(p) / 255.0).collect()).collect()
}

fn check(name: &str, bound: f64) {
    let model = Model::from_bytes(&std::fs::read(root(&format!("models/{name}.onnx"))).unwrap()).unwrap();
    let circuit = Circuit::import(model.graph()).unwrap();
    let digits = digits(100);
    let samples = digits.iter().map(|d| d.iter().map(|&v| f64::from(v)).collect()).collect();
    let start = Instant::now();
    let options = PlanOptions { input_range: (0.0, 1.0), samples, model: name.to_owned(), ..PlanOptions::default() };
    let plan = Plan::latency(&circuit, &options).unwrap();
    println!(
        "{name}: plan {:?}, N {}, q {:?}, largest {:.1}",
        start.elapsed(),
        plan.public.params.n(),
        plan.public.literal().q.iter().map(|q| (*q as f64).log2().round()).collect::<Vec<_>>(),
        plan.largest
    );
    println!(
        "  cts {}, upload {}, answer {}, keys {} ({} rotations)",
        plan.public.input_ciphertexts(),
        plan.public.upload_bytes(),
        plan.public.answer_bytes(),
        plan.public.key_bytes(),
        plan.public.rotations.len()
    );
    let subrosa_he::plan::Work::Latency(stages) = &plan.work else { panic!() };
    for s in stages {
        if let subrosa_he::plan::StageKind::Linear(l) = &s.kind {
            println!(
                "  level {}: giants {}, terms {}, babies {}, sums {:?}",
                l.level,
                l.giants.len(),
                l.giants.iter().map(|g| g.terms.len()).sum::<usize>(),
                l.giants
                    .iter()
                    .flat_map(|g| g.terms.iter().map(|t| (t.0, t.1)))
                    .collect::<std::collections::BTreeSet<_>>()
                    .len(),
                l.sums
            );
        }
    }
    let start = Instant::now();
    let client = Client::new(plan.public.clone()).unwrap();
    let keys = client.evaluation_keys().unwrap();
    println!("  keygen {:?}, {} MB", start.elapsed(), keys.bytes() >> 20);
    let start = Instant::now();
    let server = Server::new(&plan).unwrap();
    println!("  weights {:?}, {} MB", start.elapsed(), server.weight_bytes() >> 20);
    let runner = model.plain(1).unwrap();
    let mut worst = 0.0f64;
    let mut best = f64::MAX;
    for x in &digits[..20] {
        let input = client.encrypt(x).unwrap();
        let start = Instant::now();
        let answer = server.evaluate(&keys, input).unwrap();
        best = best.min(start.elapsed().as_secs_f64());
        let found = client.decrypt(&answer).unwrap();
        let plain = runner.run(&[x]).unwrap().remove(0);
        let range = plain.iter().fold(0f32, |m, v| m.max(v.abs()));
        let error = found.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        worst = worst.max(f64::from(error / range));
    }
    println!("  evaluate {:.2} ms, worst error relative to the largest logit {worst:.2e}", best * 1e3);
    assert!(worst < bound);
}

#[test]
fn mlp_square() {
    check("mlp_square", 1.0 / 128.0);
}

#[test]
fn cnn_square() {
    check("cnn_square", 1.0 / 128.0);
}

/// Its pooling is a sum over blocks: see `plan/image.rs`.
#[test]
#[ignore = "minutes in a debug build"]
fn lenet5_square() {
    check("lenet5_square", 1.0 / 64.0);
}

#[test]
#[ignore = "minutes in a debug build"]
fn lenet_square() {
    check("lenet_square", 1.0 / 128.0);
}
