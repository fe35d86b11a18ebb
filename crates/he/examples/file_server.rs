//! The owner's and the server's steps through files, for clients that are built elsewhere
//! (`.ci/wasm-client`).
//!
//! `file_server plan MODEL PLAN` writes the public plan; `file_server evaluate MODEL KEYS
//! REQUEST ANSWER SAMPLE PLAIN` writes the answer to a request, and beside it what the model
//! says of the same sample in the clear.

use std::error::Error;
use std::fs;
use subrosa_graph::Model;
use subrosa_he::circuit::Circuit;
use subrosa_he::files::{answer_to_bytes, bundle_from_bytes, request_from_bytes};
use subrosa_he::{Plan, PlanOptions, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["plan", model, plan] => write_plan(model, plan),
        ["evaluate", model, keys, request, answer, sample, plain] => {
            evaluate(model, keys, request, answer)?;
            run_plain(model, sample, plain)
        }
        _ => Err("plan MODEL PLAN, or evaluate MODEL KEYS REQUEST ANSWER SAMPLE PLAIN".into()),
    }
}

fn load(model: &str) -> Result<(Model, Circuit), Box<dyn Error>> {
    let model = Model::from_bytes(&fs::read(model)?)?;
    let circuit = Circuit::import(model.graph())?;
    Ok((model, circuit))
}

fn write_plan(model: &str, plan: &str) -> Result<(), Box<dyn Error>> {
    let samples = vec![vec![3.0; 30], vec![-3.0; 30]];
    let options = PlanOptions { input_range: (-16.0, 16.0), samples, model: model.into(), ..PlanOptions::default() };
    Ok(fs::write(plan, Plan::latency(&load(model)?.1, &options)?.public.to_bytes())?)
}

fn evaluate(model: &str, keys: &str, request: &str, answer: &str) -> Result<(), Box<dyn Error>> {
    let (public, keys, digest) = bundle_from_bytes(&fs::read(keys)?)?;
    let server = Server::new(&Plan::from_public(&load(model)?.1, &public)?)?;
    let request = request_from_bytes(&public, &digest, &fs::read(request)?)?;
    Ok(fs::write(answer, answer_to_bytes(&public, &digest, &server.evaluate(&keys, request)?))?)
}

fn run_plain(model: &str, sample: &str, plain: &str) -> Result<(), Box<dyn Error>> {
    let bytes = fs::read(sample)?;
    let sample: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let outputs = load(model)?.0.plain(1)?.run(&[&sample])?.remove(0);
    Ok(fs::write(plain, outputs.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>())?)
}
