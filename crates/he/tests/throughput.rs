//! Whole models, thousands of samples at a time.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "the helpers of tests may panic and print")]

use std::io::Read;
use std::time::Instant;
use subrosa_graph::Model;
use subrosa_he::circuit::Circuit;
use subrosa_he::{Client, Plan, PlanOptions, Server};

fn root(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn digits(count: usize) -> Vec<f32> {
    let file = std::fs::File::open(root("data/mnist/t10k-images-idx3-ubyte.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes[16..16 + 784 * count].iter().map(|&p| f32::from(p) / 255.0).collect()
}

fn check(name: &str, bound: f64) {
    let model = Model::from_bytes(&std::fs::read(root(&format!("models/{name}.onnx"))).unwrap()).unwrap();
    let circuit = Circuit::import(model.graph()).unwrap();
    let samples = digits(100).chunks(784).map(|d| d.iter().map(|&v| f64::from(v)).collect()).collect();
    let options = PlanOptions { input_range: (0.0, 1.0), samples, model: name.to_owned(), ..PlanOptions::default() };
    let plan = Plan::throughput(&circuit, &options).unwrap();
    let bits = plan.public.literal().q.iter().map(|q| (*q as f64).log2().round());
    println!("{name}: N {}, q {:?}, largest {:.1}", plan.public.params.n(), bits.collect::<Vec<_>>(), plan.largest);
    let batch = plan.public.batch();
    let client = Client::new(plan.public.clone()).unwrap();
    let keys = client.evaluation_keys().unwrap();
    let server = Server::new(&plan).unwrap();
    let x = digits(batch);
    let start = Instant::now();
    let input = client.encrypt(&x).unwrap();
    println!("  encrypt {:?}, {} MB", start.elapsed(), plan.public.upload_bytes() / 1_000_000);
    let start = Instant::now();
    let answer = server.evaluate(&keys, input).unwrap();
    let taken = start.elapsed();
    println!("  evaluate {taken:?}, {:.3} ms a sample", taken.as_secs_f64() * 1e3 / batch as f64);
    let found = client.decrypt(&answer).unwrap();
    let plain = model.plain(batch).unwrap().run(&[&x]).unwrap().remove(0);
    let range = plain.iter().fold(0f32, |m, v| m.max(v.abs()));
    let error = found.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    println!("  worst error {:.2e} of {range}", error / range);
    assert!(f64::from(error / range) < bound);
}

#[test]
#[ignore = "a minute and more in a debug build"]
fn cnn_square() {
    check("cnn_square", 1.0 / 128.0);
}

#[test]
#[ignore = "a minute and more in a debug build"]
fn mlp_square() {
    check("mlp_square", 1.0 / 128.0);
}

#[test]
#[ignore = "many minutes in a debug build"]
fn lenet_square() {
    check("lenet_square", 1.0 / 128.0);
}

#[test]
#[ignore = "many minutes in a debug build"]
fn lenet_poly() {
    check("lenet_poly", 1.0 / 128.0);
}
