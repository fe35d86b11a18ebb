//! The attested channel over HTTP, with simulated evidence: relays, replays, refusals.
#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use subrosa::attest::enclave::Offer;
use subrosa::attest::{Attester, Enclave, Expected, Inquiry, Link, Trust, sign_policy, simulator_public_key};
use subrosa::client::{Client, Way};
use subrosa::oip::{InferRequest, Tensor};
use subrosa_serve::Limits;
use support::{Running, start};

struct Scene {
    folder: tempfile::TempDir,
    trust: Trust,
    server: Running,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("simulator.key"), [9; 32]).unwrap();
        std::fs::write(at("owner.key"), [5; 32]).unwrap();
        let simulator = simulator_public_key(&at("simulator.key")).unwrap();
        let policy = format!(
            "version = 1\nname = \"trial\"\nserial = 1\nallow_simulated = true\nsimulators = [\"{simulator}\"]\n"
        );
        std::fs::write(at("policy.toml"), policy).unwrap();
        let signer = sign_policy(&at("policy.toml"), &at("owner.key"), &at("signed.toml")).unwrap();
        let trust = Trust::read(&at("signed.toml"), &[signer], 0, true).unwrap();
        let server = server(folder.path());
        Self { folder, trust, server }
    }

    fn client(&self) -> Client {
        Client::new(&self.server.url(), None, Duration::from_secs(20)).unwrap()
    }

    fn link(&self, inquiry: Inquiry) -> Link {
        self.client().verify(inquiry, &expected(), &self.trust).unwrap().1
    }

    fn fresh(&self) -> Link {
        self.link(Inquiry::fresh(&self.trust).unwrap())
    }

    fn offer(&self, server: &Running, inquiry: &Inquiry) -> Offer {
        let wish = serde_json::to_vec(&inquiry.wish()).unwrap();
        serde_json::from_slice(&server.post("/v2/models/mlp/attestation", &wish).body).unwrap()
    }
}

fn server(folder: &Path) -> Running {
    let attester = Arc::new(Attester::simulated(&folder.join("simulator.key")).unwrap());
    start(Limits::default(), Some(Enclave::start(attester, "here").unwrap()))
}

fn expected() -> Expected {
    Expected { model: "mlp".to_owned(), ..Expected::default() }
}

fn request(values: Vec<f32>) -> InferRequest {
    let inputs = vec![Tensor { name: "input".to_owned(), shape: vec![values.len() / 784, 1, 28, 28], values }];
    InferRequest { inputs, binary: true, ..InferRequest::default() }
}

#[test]
fn a_verified_server_answers_and_says_what_it_is() {
    let scene = Scene::new();
    let client = scene.client();
    let (served, _) = client.verify(Inquiry::fresh(&scene.trust).unwrap(), &expected(), &scene.trust).unwrap();
    assert_eq!(served.inputs[0].shape, [1, 1, 28, 28]);
    let mut asked = request(vec![0.5; 3 * 784]);
    asked.inputs[0].name = served.inputs[0].name.clone();
    for link in [scene.fresh(), scene.link(Inquiry::of_this_epoch(&scene.trust))] {
        assert!(!link.peer().attested());
        assert_eq!(link.configuration().service, "here");
        let (answer, _) = client.infer(&served, &Way::Attested(Box::new(link)), &asked).unwrap();
        assert_eq!(answer.warning.as_deref(), Some("SIMULATED, NO CONFIDENTIALITY"));
        assert_eq!(answer.outputs[0].0.values.len(), 30);
    }
    assert!(scene.server.get("/v2").text().contains("SIMULATED, NO CONFIDENTIALITY"));
    assert!(!scene.server.get("/metrics").text().contains("samples_total{"), "the host reads them");
    assert!(scene.server.get("/metrics").text().contains("standing=\"SIMULATED, NO CONFIDENTIALITY\""));
    let refused = scene.server.post("/v2/models/mlp/infer", b"{}");
    assert!(refused.status == 403 && refused.text().contains("sealed requests only"));
    // What is wrong inside is told inside.
    asked.inputs[0].name = "wrong".to_owned();
    let way = Way::Attested(Box::new(scene.fresh()));
    let error = client.infer(&served, &way, &asked).unwrap_err().to_string();
    assert!(error.contains("the program refuses (400): the model has no input 'wrong'"), "{error}");
}

#[test]
fn the_evidence_of_the_hour_is_made_once_for_each_policy_and_model() {
    let scene = Scene::new();
    let ask = |model: &str, wish: &str| {
        let path = format!("/v2/models/{model}/attestation");
        let offer: Offer = serde_json::from_slice(&scene.server.post(&path, wish.as_bytes()).body).unwrap();
        offer
    };
    let (nonce, policy) =
        (format!(r#"{{"nonce":"{}"}}"#, "11".repeat(32)), format!(r#"{{"policy":"{}"}}"#, "22".repeat(32)));
    let first = ask("mlp", "{}");
    // The statement says the second that it was made in.
    std::thread::sleep(Duration::from_millis(1100));
    if ask("mlp", "{}").epoch == first.epoch {
        assert_eq!(ask("mlp", "{}"), first);
    }
    assert_ne!(ask("mlp", &policy).evidence, first.evidence);
    assert_ne!(ask("other", "{}").evidence, first.evidence);
    let fresh = ask("mlp", &nonce);
    std::thread::sleep(Duration::from_millis(1100));
    assert_ne!(ask("mlp", &nonce).evidence, fresh.evidence, "a nonce's evidence is made for it");
}

#[test]
fn a_wish_for_evidence_is_short() {
    let scene = Scene::new();
    let wish = |length: usize| [&b"{}"[..], &vec![b' '; length - 2]].concat();
    assert_eq!(scene.server.post("/v2/models/mlp/attestation", &wish(1024)).status, 200);
    assert_eq!(scene.server.post("/v2/models/mlp/attestation", &wish(1025)).status, 413);
}

#[test]
fn a_request_is_answered_once_and_by_the_program_that_was_verified() {
    let scene = Scene::new();
    let path = "/v2/models/mlp/sealed-infer";
    let (message, _) = scene.fresh().seal(&[0; 8]).unwrap();
    assert_eq!(scene.server.post(path, &message).status, 200, "a refusal of the content is sealed");
    let again = scene.server.post(path, &message);
    assert!(again.status == 400 && again.text().contains("answered before"), "{}", again.text());
    // To another model of the same program, another version, another program: it does not open.
    let other = server(scene.folder.path());
    for (to, path) in [
        (&scene.server, "/v2/models/other/sealed-infer"),
        (&scene.server, "/v2/models/mlp/versions/1/sealed-infer"),
        (&other, path),
    ] {
        let (message, _) = scene.fresh().seal(&[0; 8]).unwrap();
        let refused = to.post(path, &message);
        assert!(refused.status == 400 && refused.text().contains("cannot be opened"), "{}", refused.text());
    }
    let (message, _) = scene.fresh().seal(&[0; 8]).unwrap();
    for at in 0..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 1;
        assert_eq!(scene.server.post(path, &changed).status, 400, "byte {at}");
    }
    for length in [0, 7, 8, 41, 74, 100, message.len() - 1] {
        assert_eq!(scene.server.post(path, &message[..length]).status, 400, "{length} bytes");
    }
    assert_eq!(scene.server.post(path, &message).status, 200, "nothing of this used it up");
}

type Change<'a> = &'a dyn Fn(&mut Offer);

#[test]
fn nothing_in_an_offer_can_be_changed() {
    let scene = Scene::new();
    let inquiry = || Inquiry::fresh(&scene.trust).unwrap();
    let judge = |change: &dyn Fn(&mut Offer)| {
        let inquiry = inquiry();
        let mut offer = scene.offer(&scene.server, &inquiry);
        change(&mut offer);
        inquiry.judge(&offer, &expected(), &scene.trust).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(judge(&|_| ()), Ok(()));
    let zeros = "00".repeat(32);
    let changes: [(Change<'_>, &str); 7] = [
        (&|o| o.channel_key = zeros.clone(), "(binding)"),
        (&|o| o.model = zeros.clone(), "(binding)"),
        (&|o| o.model_policy = Some(zeros.clone()), "(binding)"),
        (&|o| o.configuration = o.configuration.replace("here", "there"), "(binding)"),
        (&|o| o.epoch = Some(1), "not of the kind asked for"),
        (&|o| o.evidence.truncate(100), "cannot be read"),
        (&|o| o.channel_key.truncate(10), "64 hexadecimal digits"),
    ];
    for (change, said) in changes {
        let error = judge(change).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    // Evidence made for somebody else's nonce, and for another's policy.
    let (mine, other) = (inquiry(), inquiry());
    let offer = scene.offer(&scene.server, &other);
    assert!(mine.judge(&offer, &expected(), &scene.trust).unwrap_err().to_string().contains("(binding)"));
    // What is attested is not what was wanted.
    for (expected, said) in [
        (Expected { version: Some(1), ..expected() }, "to serve version 3, and 1"),
        (Expected { hash: Some([0; 32]), ..expected() }, "the model with SHA-256"),
        (Expected { service: Some("elsewhere".to_owned()), ..expected() }, "as here, and elsewhere"),
        (Expected { model: "lenet".to_owned(), ..expected() }, "the model mlp, and lenet"),
    ] {
        let inquiry = inquiry();
        let offer = scene.offer(&scene.server, &inquiry);
        let error = inquiry.judge(&offer, &expected, &scene.trust).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn the_evidence_of_an_old_hour_is_refused() {
    let scene = Scene::new();
    let inquiry = Inquiry::of_this_epoch(&scene.trust);
    let mut offer = scene.offer(&scene.server, &inquiry);
    let epoch = offer.epoch.unwrap();
    offer.epoch = Some(epoch - 2);
    let error = inquiry.judge(&offer, &expected(), &scene.trust).unwrap_err().to_string();
    assert!(error.contains("of another hour"), "{error}");
    // And the server does not answer under it.
    let (mut message, _) = scene.link(Inquiry::of_this_epoch(&scene.trust)).seal(&[0; 8]).unwrap();
    message[9..17].copy_from_slice(&(epoch - 2).to_le_bytes());
    let refused = scene.server.post("/v2/models/mlp/sealed-infer", &message);
    assert!(refused.status == 400 && refused.text().contains("epoch has ended"), "{}", refused.text());
}
