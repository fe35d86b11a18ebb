//! A gateway over HTTP: owners' shares reach the parties, and nothing that is none does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

#[path = "../../subrosa/tests/support/mod.rs"]
mod deployment;
mod support;

use deployment::Deployment;
use std::time::Duration;
use subrosa::client::Client;
use subrosa::deploy::{Gateway, Offer, Outline};
use subrosa::{Dataset, Error, InputSpec, Model, PlanOptions, Samples, Via};
use subrosa_serve::{Catalogue, Limits};
use support::{Running, model, serve};

fn digits(n: usize) -> Samples {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/mnist/t10k-images-idx3-ubyte.gz");
    let mut samples = Dataset::read(file).unwrap().fit(Model::open(model("mlp.onnx")).unwrap().inputs()).unwrap();
    samples.keep(n);
    samples
}

/// Three parties that hold mlp, and a server before them with so many sessions.
fn scene(sessions: usize, limits: Limits) -> (Deployment, Running) {
    let deployment = Deployment::started("deadline_s = 10");
    let options = PlanOptions { via: Via::Rep3, input: InputSpec::given(0.0, 1.0).unwrap(), ..PlanOptions::default() };
    let plan = Model::open(model("mlp.onnx")).unwrap().plan(&options).unwrap();
    deployment.client("clinic").provision(&plan, "mlp").unwrap();
    let mut catalogue = Catalogue::relayed(Gateway::new(deployment.client("clinic")).unwrap());
    catalogue.relay("mlp", None, sessions, &limits, None).unwrap();
    (deployment, serve(catalogue, limits))
}

fn client(server: &Running) -> Client {
    Client::new(&server.url(), None, Duration::from_secs(30)).unwrap()
}

/// An owner's inference, compared with the model's answer in the clear.
fn works(deployment: &Deployment, server: &Running, samples: usize) {
    let client = client(server);
    let mut shares = client.shares("mlp", None, &deployment.parsed()).unwrap();
    let samples = digits(samples);
    let output = client.run_shared(&shares.model(None), &mut shares, &samples, 4, &mut |_, _| ()).unwrap();
    let plain = Model::open(model("mlp.onnx")).unwrap().plan(&PlanOptions::default()).unwrap();
    let plain = plain.open().unwrap().run(&samples.inputs).unwrap();
    assert_eq!((output.samples, output.via), (samples.count, Via::Rep3));
    for (got, expected) in output.values[0].iter().zip(&plain.values[0]) {
        assert!((got - expected).abs() < 0.05, "{got} for {expected}");
    }
}

fn offer(server: &Running, deployment: &Deployment) -> (Outline, Vec<[u8; 32]>) {
    let reply = server.get("/v2/models/mlp/sharing");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let offer: Offer = serde_json::from_slice(&reply.body).unwrap();
    offer.check(&deployment.parsed().parties).unwrap()
}

const INFER: &str = "/v2/models/mlp/shared-infer";

#[test]
fn owners_are_served_side_by_side_and_metadata_says_how() {
    let (deployment, server) = scene(2, Limits::default());
    works(&deployment, &server, 10);
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| works(&deployment, &server, 3))));
    });
    let about = server.get("/v2/models/mlp").text();
    assert!(about.contains("subrosa_shared_inference") && about.contains("subrosa_shares"), "{about}");
    assert!(about.contains("[-1,784]") || about.contains("[-1,1,28,28]"), "{about}");
    let page = server.get("/page.json").text();
    assert!(page.contains("\"rep3\"") && page.contains("two colluding servers"), "{page}");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("shared-infer") && metrics.contains("standing=\"shared\""), "{metrics}");
    // Nothing is taken that it could read.
    let refused = server.post("/v2/models/mlp/infer", br#"{"inputs":[]}"#);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("sealed to the parties"), "{}", refused.text());
    for other in ["/v2/models/mlp/encrypted-infer", "/v2/models/mlp/sealed-infer"] {
        assert_eq!(server.post(other, b"x").status, 403, "{other}");
    }
}

#[test]
fn a_client_that_sends_nonsense_is_told_so_and_disturbs_nobody() {
    let limits = Limits { body: 64 << 10, samples: 4, ..Limits::default() };
    let (deployment, server) = scene(1, limits);
    let (outline, keys) = offer(&server, &deployment);
    let (request, _) = outline.ask(&keys, &digits(1).inputs).unwrap();
    let mut nonsense: Vec<(Vec<u8>, u16)> = vec![
        (vec![], 400),
        (b"SROGREQ1".to_vec(), 400),
        (b"\xff".repeat(2000), 400),
        (request[..request.len() - 1].to_vec(), 400),
        (request.repeat(2), 400),
        (vec![0; 70_000], 413),
    ];
    for at in (8..request.len()).step_by(97) {
        let mut changed = request.clone();
        changed[at] ^= 0x10;
        // In the count it is none; elsewhere the parties find out.
        nonsense.push((changed, if at < 12 { 400 } else { 409 }));
    }
    for (body, status) in &nonsense {
        let reply = server.post(INFER, body);
        assert_eq!(reply.status, *status, "{} bytes: {}", body.len(), reply.text());
    }
    // More samples than are allowed at once.
    let (five, _) = outline.ask(&keys, &digits(5).inputs).unwrap();
    assert_eq!(server.post(INFER, &five).status, 400);
    // Sealed to keys of somebody else's: the parties do not open it.
    let own: Vec<[u8; 32]> = (0..3).map(|i| [i + 9; 32]).collect();
    let (other, _) = outline.ask(&own, &digits(1).inputs).unwrap();
    let reply = server.post(INFER, &other);
    assert!(reply.status == 409 && reply.text().contains("fetch keys"), "{}", reply.text());
    // What was opened beside a changed box was not used, and is computed; then never again.
    assert_eq!(server.post(INFER, &request).status, 200);
    let again = server.post(INFER, &request);
    assert!(again.status == 409 && again.text().contains("opened before"), "{}", again.text());
    for missing in ["/v2/models/none/shared-infer", "/v2/models/mlp/versions/7/shared-infer"] {
        assert_eq!(server.post(missing, &request).status, 404);
    }
    works(&deployment, &server, 2);
    assert!(!deployment.logged().contains("failed:"), "{}", deployment.logged());
}

#[test]
fn a_party_that_is_away_is_said_to_be_and_found_again() {
    let (mut deployment, server) = scene(1, Limits::default());
    works(&deployment, &server, 2);
    let client = client(&server);
    let mut shares = client.shares("mlp", None, &deployment.parsed()).unwrap();
    deployment.stop(2);
    // The session that is open goes on, as the party ends those by itself; a new one cannot be opened.
    deployment.start(2);
    let model = shares.model(None);
    let samples = digits(1);
    // The party has another key by now. The client hears of that, and shares anew.
    std::thread::sleep(Duration::from_millis(1100));
    let output = client.run_shared(&model, &mut shares, &samples, 1, &mut |_, _| ());
    match output {
        Ok(output) => assert_eq!(output.samples, 1),
        Err(error) => assert!(matches!(error, Error::Peer { .. }), "{error}"),
    }
    works(&deployment, &server, 2);
}

#[test]
fn owners_trust_the_parties_they_know_and_no_gateway() {
    let (deployment, server) = scene(1, Limits::default());
    let strangers = Deployment::new("").parsed();
    let error = client(&server).shares("mlp", None, &strangers).err().unwrap().to_string();
    assert!(error.contains("hospital does not vouch"), "{error}");
    let mut other = deployment.parsed();
    other.protocol = Via::Rep3Malicious.protocol().unwrap();
    let error = client(&server).shares("mlp", None, &other).err().unwrap().to_string();
    assert!(error.contains("via rep3"), "{error}");
    // A value outside the range never leaves.
    let mut shares = client(&server).shares("mlp", None, &deployment.parsed()).unwrap();
    let mut samples = digits(1);
    samples.inputs[0][5] = 7.0;
    let error = client(&server).run_shared(&shares.model(None), &mut shares, &samples, 1, &mut |_, _| ());
    assert!(error.err().unwrap().to_string().contains("position 5"));
}
