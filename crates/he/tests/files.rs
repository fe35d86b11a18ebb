//! The protocol through its files, and what is refused.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use proptest::prelude::*;
use std::sync::OnceLock;
use subrosa_graph::Model;
use subrosa_he::circuit::Circuit;
use subrosa_he::files::{
    answer_from_bytes, answer_to_bytes, bundle_from_bytes, client_from_bytes, key_files, request_from_bytes,
    request_to_bytes,
};
use subrosa_he::{Client, Plan, PlanOptions, PublicPlan, Server};

fn circuit() -> (Model, Circuit) {
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
struct Files {
    plan: Vec<u8>,
    secret: Vec<u8>,
    bundle: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
    input: Vec<f32>,
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let public = PublicPlan::from_bytes(&plan().public.to_bytes()).unwrap();
        let (secret, bundle) = key_files(&Client::new(public).unwrap()).unwrap();
        let (client, digest) = client_from_bytes(secret.expose()).unwrap();
        let input: Vec<f32> = (0..30).map(|i| (i as f32 * 0.7).sin()).collect();
        let request = request_to_bytes(client.plan(), &digest, &client.encrypt(&input).unwrap());
        // The server has the model and what was sent to it.
        let (public, keys, digest) = bundle_from_bytes(&bundle).unwrap();
        let server = Server::new(&Plan::from_public(&circuit().1, &public, &[]).unwrap()).unwrap();
        let read = request_from_bytes(&public, &digest, &request).unwrap();
        let answer = answer_to_bytes(&public, &digest, &server.evaluate(&keys, read).unwrap());
        let secret = secret.expose().clone();
        Files { plan: public.to_bytes(), secret, bundle, request, answer, input }
    })
}

#[test]
fn an_answer_comes_back_through_files() {
    let f = files();
    let (client, digest) = client_from_bytes(&f.secret).unwrap();
    let answer = answer_from_bytes(client.plan(), &digest, &f.answer).unwrap();
    let found = client.decrypt(&answer).unwrap();
    let plain = circuit().0.plain(1).unwrap().run(&[&f.input]).unwrap().remove(0);
    assert!(found.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?} {plain:?}");
}

/// The server is sent the bundle and requests: the secret key's bytes are in neither.
#[test]
fn the_server_never_gets_the_secret() {
    let f = files();
    let secret = &f.secret[f.secret.len() - 64..];
    for sent in [&f.bundle, &f.request, &f.plan] {
        assert!(!sent.windows(secret.len()).any(|w| w == secret));
    }
}

#[test]
fn files_of_others_are_refused_by_name() {
    let f = files();
    let (client, digest) = client_from_bytes(&f.secret).unwrap();
    let plan = client.plan();
    let text = |e: subrosa_he::Error| e.to_string();
    let request = |bytes: &[u8]| request_from_bytes(plan, &digest, bytes).map(|_| ()).map_err(text);
    assert!(request(&f.answer).unwrap_err().contains("it is a answer file"));
    assert!(request(b"PNG").unwrap_err().contains("does not begin"));
    assert!(
        request_from_bytes(plan, &[7; 32], &f.request).map(|_| ()).map_err(text).unwrap_err().contains("another key")
    );
    let mut other = plan.clone();
    other.input_range = (0.0, 1.0);
    assert!(
        request_from_bytes(&other, &digest, &f.request).map(|_| ()).map_err(text).unwrap_err().contains("another plan")
    );
    let mut newer = f.request.clone();
    newer[12] = 9;
    assert!(request(&newer).unwrap_err().contains("version 9"));
    let another = Circuit::import(
        Model::from_bytes(
            &std::fs::read(format!("{}/../../models/mlp_square.onnx", env!("CARGO_MANIFEST_DIR"))).unwrap(),
        )
        .unwrap()
        .graph(),
    );
    assert!(Plan::from_public(&another.unwrap(), plan, &[]).is_err());
}

#[test]
fn inputs_outside_the_plan_are_refused() {
    let (client, _) = client_from_bytes(&files().secret).unwrap();
    assert!(client.encrypt(&[0.0; 29]).is_err() && client.encrypt(&[]).is_err() && client.encrypt(&[0.0; 60]).is_err());
    assert!(client.encrypt(&[17.0; 30]).is_err() && client.encrypt(&[f32::NAN; 30]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// No damage panics or allocates beyond the file; cuts are always noticed.
    #[test]
    fn damaged_files_are_refused_or_read(which in 0usize..5, at: usize, flip in 1u8.., cut: bool) {
        let f = files();
        let original = [&f.plan, &f.secret, &f.bundle, &f.request, &f.answer][which];
        let mut bytes = original.clone();
        let at = if at % 2 == 0 { at / 2 % 200.min(bytes.len()) } else { at / 2 % bytes.len() };
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        let (client, digest) = client_from_bytes(&f.secret).unwrap();
        let plan = client.plan();
        let read = match which {
            0 => PublicPlan::from_bytes(&bytes).is_ok(),
            1 => client_from_bytes(&bytes).is_ok(),
            2 => bundle_from_bytes(&bytes).is_ok_and(|b| b.2 == digest),
            3 => request_from_bytes(plan, &digest, &bytes).is_ok(),
            _ => answer_from_bytes(plan, &digest, &bytes).is_ok(),
        };
        prop_assert!(!(cut && read), "a cut file was read");
    }
}
