//! One run of the protocol whose files tests look at and damage.

use std::sync::OnceLock;
use subrosa_graph::Model;
use subrosa_he::circuit::Circuit;
use subrosa_he::files::{
    answer_to_bytes, bundle_from_bytes, client_from_bytes, key_files, request_from_bytes, request_to_bytes,
};
use subrosa_he::{Client, Plan, PlanOptions, PublicPlan, Server};

pub(crate) fn circuit() -> (Model, Circuit) {
    let path = format!("{}/../../models/breast_cancer_logreg.onnx", env!("CARGO_MANIFEST_DIR"));
    let model = Model::from_bytes(&std::fs::read(path).unwrap()).unwrap();
    let circuit = Circuit::import(model.graph()).unwrap();
    (model, circuit)
}

fn plan() -> Plan {
    let samples = vec![vec![3.0; 30], vec![-3.0; 30]];
    let options = PlanOptions { input_range: (-16.0, 16.0), samples, model: "m".into(), ..PlanOptions::default() };
    Plan::latency(&circuit().1, &options).unwrap()
}

/// Everything once: plan, secret key, bundle, request, answer, and the input.
pub(crate) struct Files {
    pub(crate) plan: Vec<u8>,
    pub(crate) secret: Vec<u8>,
    pub(crate) bundle: Vec<u8>,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Vec<u8>,
    pub(crate) input: Vec<f32>,
}

pub(crate) fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let public = PublicPlan::from_bytes(&plan().public.to_bytes()).unwrap();
        let (secret, bundle) = key_files(&Client::new(public).unwrap()).unwrap();
        let (client, digest) = client_from_bytes(secret.expose()).unwrap();
        let input: Vec<f32> = (0..30).map(|i| (i as f32 * 0.7).sin()).collect();
        let request = request_to_bytes(client.plan(), &digest, &client.encrypt(&input).unwrap());
        // The server has the model and what was sent to it.
        let (public, keys, digest) = bundle_from_bytes(&bundle).unwrap();
        let server = Server::new(&Plan::from_public(&circuit().1, &public).unwrap()).unwrap();
        let read = request_from_bytes(&public, &digest, &request).unwrap();
        let answer = answer_to_bytes(&public, &digest, &server.evaluate(&keys, read).unwrap());
        let secret = secret.expose().clone();
        Files { plan: public.to_bytes(), secret, bundle, request, answer, input }
    })
}
