//! Parties as services over mutual TLS, with the shipped models.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod support;

use std::time::Duration;
use subrosa::deploy::{Network, OpenOptions, SessionId};
use subrosa::{Dataset, InputSpec, Model, Plan, PlanOptions, Samples, Via};
use support::{Deployment, PARTIES};

fn asset(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn plan(name: &str, via: Via, batch: usize) -> Plan {
    let model = Model::open(asset(&format!("models/{name}.onnx"))).unwrap();
    let input = InputSpec::given(0.0, 1.0).unwrap();
    model.plan(&PlanOptions { via, batch, input, ..PlanOptions::default() }).unwrap()
}

fn digits(plan: &Plan, n: usize) -> Samples {
    let model = Model::open(asset("models/mlp.onnx")).unwrap();
    let _ = plan;
    let mut samples =
        Dataset::read(asset("data/mnist/t10k-images-idx3-ubyte.gz")).unwrap().fit(model.inputs()).unwrap();
    samples.keep(n);
    samples
}

fn options(batch: usize, lanes: usize) -> OpenOptions {
    OpenOptions { batch, lanes, ..OpenOptions::default() }
}

fn same(got: &subrosa::Output, plan: &Plan, samples: &Samples) {
    let expected = plan.simulate().unwrap().run(&samples.inputs).unwrap();
    assert_eq!(got.samples, expected.samples);
    for (got, expected) in got.values[0].iter().zip(&expected.values[0]) {
        assert!((got - expected).abs() < 0.05, "{got} for {expected}");
    }
}

#[test]
fn a_kept_model_serves_many_inferences_in_several_lanes() {
    let deployment = Deployment::started("");
    let clinic = deployment.client("clinic");
    let plan = plan("mlp", Via::Rep3, 8);
    assert_eq!(clinic.provision(&plan, "digits").unwrap(), 1);
    assert_eq!(clinic.provision(&plan, "digits").unwrap(), 2);
    let samples = digits(&plan, 44);
    for (version, lanes) in [(None, 1), (Some(1), 3)] {
        let mut remote = clinic.open("digits", version, &options(8, lanes)).unwrap();
        let mut seen = Vec::new();
        let output = remote.run_watched(&samples.inputs, &mut |done, of| seen.push((done, of))).unwrap();
        same(&output, &plan, &samples);
        assert_eq!((output.batches.len(), seen.len(), seen[5]), (6, 6, (44, 44)));
        // Again in the same session.
        same(&remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap(), &plan, &samples);
        assert!(remote.peak_bytes() > 1 << 20 && remote.waited_ms().len() == 3);
    }
    // The meter says what the plan says, over TLS as in one process.
    let sheet = serde_json::to_value(plan.sheet()).unwrap();
    let mut remote = clinic.open("digits", None, &options(8, 1)).unwrap();
    let output = remote.run_watched(&digits(&plan, 8).inputs, &mut |_, _| ()).unwrap();
    let mut local = plan.open().unwrap();
    let reference = local.run(&digits(&plan, 8).inputs).unwrap();
    assert_eq!(output.batches[0].online.cost, reference.batches[0].online.cost, "{sheet}");
    assert_eq!(output.batches[0].offline.cost, reference.batches[0].offline.cost);
    clinic.remove("digits", Some(1)).unwrap();
    assert!(clinic.open("digits", Some(1), &options(8, 1)).is_err());
    assert!(clinic.open("digits", Some(2), &options(8, 1)).is_ok());
}

#[test]
fn every_protocol_runs_between_services() {
    for (via, parties) in [(Via::Rep4, 4), (Via::Beaver2, 3), (Via::Fss, 3)] {
        let deployment = Deployment::via(via.name(), parties, "").all_started();
        let clinic = deployment.client("clinic");
        let plan = plan("mlp", via, 8);
        assert_eq!(clinic.provision(&plan, "digits").unwrap(), 1);
        let samples = digits(&plan, 20);
        let mut remote = clinic.open("digits", None, &options(8, 1)).unwrap();
        let output = remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap();
        same(&output, &plan, &samples);
        assert_eq!(output.via, via);
        let local = plan.open().unwrap().run(&samples.inputs).unwrap();
        assert_eq!(output.batches[0].online.cost, local.batches[0].online.cost, "{via}");
        assert_eq!(output.batches[0].offline.cost, local.batches[0].offline.cost, "{via}");
    }
}

#[test]
fn a_brought_model_is_not_kept() {
    let deployment = Deployment::started("");
    let clinic = deployment.client("clinic");
    let plan = plan("cnn", Via::Rep3, 4);
    let samples = digits(&plan, 8);
    let mut remote = clinic.open_plan(&plan, &options(4, 2)).unwrap();
    same(&remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap(), &plan, &samples);
    drop(remote);
    for report in clinic.check(None) {
        let status = report.status.unwrap();
        assert!(status.models.is_empty() && report.links.len() == 2);
        assert!(report.clock_offset_s.unwrap().abs() < 5.0);
        assert!(report.links.iter().all(|l| l.result.is_ok()) && report.link.result.is_ok());
    }
}

#[test]
fn a_share_at_rest_shows_neither_weights_nor_card() {
    let deployment = Deployment::started("");
    let plan = plan("mlp", Via::Rep3, 1);
    deployment.client("clinic").provision(&plan, "digits").unwrap();
    for (party, name) in PARTIES[..3].iter().enumerate() {
        let bytes = std::fs::read(deployment.state(party).join("models/digits/1.share")).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"digits" || w == b"SROPRO"), "{name}");
    }
}

#[test]
fn roles_are_kept_apart() {
    let deployment = Deployment::started("");
    let plan = plan("mlp", Via::Rep3, 1);
    let laboratory = deployment.client("laboratory");
    let error = laboratory.provision(&plan, "digits").err().unwrap().to_string();
    assert!(error.contains("laboratory is no ModelOwner"), "{error}");
    deployment.client("clinic").provision(&plan, "digits").unwrap();
    let error = laboratory.open("digits", None, &options(1, 1)).err().unwrap().to_string();
    assert!(error.contains("laboratory is no Receiver"), "{error}");
    let error = deployment.client("ministry").open("digits", None, &options(1, 1)).err().unwrap().to_string();
    assert!(error.contains("ministry is no DataOwner"), "{error}");
}

#[test]
fn results_go_to_a_receiver_elsewhere_and_nowhere_else() {
    let deployment = Deployment::started("");
    let plan = plan("mlp", Via::Rep3, 4);
    deployment.client("clinic").provision(&plan, "digits").unwrap();
    let samples = digits(&plan, 10);
    let code = SessionId::random().unwrap();
    let received = std::thread::scope(|scope| {
        let ministry = scope.spawn(|| deployment.client("ministry").receive(code).unwrap().run().unwrap());
        let laboratory = deployment.client("laboratory");
        let receiver = Some(("ministry".to_owned(), code));
        let mut remote = laboratory.open("digits", None, &OpenOptions { receiver, ..options(4, 1) }).unwrap();
        let output = remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap();
        assert!(!remote.opens() && output.values.iter().all(Vec::is_empty));
        drop(remote);
        ministry.join().unwrap()
    });
    same(&received, &plan, &samples);
}

#[test]
fn a_receivers_name_is_a_name_before_it_is_repeated() {
    let deployment = Deployment::started("");
    let plan = plan("mlp", Via::Rep3, 1);
    deployment.client("clinic").provision(&plan, "digits").unwrap();
    let receiver = Some(("ministry\n\u{1b}[2J".repeat(50_000), SessionId::random().unwrap()));
    let opened = deployment.client("clinic").open("digits", None, &OpenOptions { receiver, ..options(1, 1) });
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("is no name") && error.len() < 400, "{error}");
    retry(|| deployment.logged().contains("is no name").then_some(()));
    let logged = deployment.logged();
    assert!(logged.lines().all(|line| line.len() < 400 && !line.contains('\u{1b}')), "{logged}");
}

#[test]
fn what_is_wrong_with_a_partys_files_is_for_its_own_log() {
    let deployment = Deployment::started("");
    let plan = plan("mlp", Via::Rep3, 1);
    deployment.client("clinic").provision(&plan, "digits").unwrap();
    let share = deployment.state(0).join("models/digits/1.share");
    std::fs::remove_file(&share).unwrap();
    std::fs::create_dir(&share).unwrap();
    let opened = deployment.client("clinic").open("digits", None, &options(1, 1));
    let error = opened.err().unwrap().to_string();
    let folder = deployment.folder.path().to_str().unwrap();
    assert!(error.contains("this party's machine failed") && !error.contains(folder), "{error}");
    retry(|| deployment.logged().contains(share.to_str().unwrap()).then_some(()));
}

#[test]
fn limits_are_stated_by_the_party_that_has_them() {
    let deployment = Deployment::started("batch = 4\nsessions = 1");
    let clinic = deployment.client("clinic");
    let plan = plan("mlp", Via::Rep3, 8);
    clinic.provision(&plan, "digits").unwrap();
    let samples = digits(&plan, 8);
    let mut remote = clinic.open("digits", None, &options(8, 1)).unwrap();
    let busy = clinic.open("digits", None, &options(1, 1)).err().unwrap().to_string();
    assert!(busy.contains("1 sessions are at work here already"), "{busy}");
    let error = remote.run_watched(&samples.inputs, &mut |_, _| ()).err().unwrap().to_string();
    assert!(error.contains("batch of 8 is outside this party's limit of 4"), "{error}");
    drop(remote);
    // The place is free again.
    let mut remote = retry(|| clinic.open("digits", None, &options(4, 1)).ok());
    same(&remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap(), &plan, &samples);
}

#[test]
fn configurations_that_differ_are_refused() {
    let mut deployment = Deployment::started("");
    deployment.stop(1);
    let other = deployment.config.replace("\"ministry\"", "\"ministries\"");
    let right = std::mem::replace(&mut deployment.config, other);
    deployment.start(1);
    deployment.config = right;
    let clinic = deployment.client("clinic");
    let plan = plan("mlp", Via::Rep3, 1);
    let error = clinic.open_plan(&plan, &options(1, 1)).err().unwrap().to_string();
    assert!(error.contains("vendor") && error.contains("another subrosa.toml"), "{error}");
}

#[test]
fn a_shaped_network_takes_its_time() {
    let deployment = Deployment::started("");
    let plan = plan("mlp", Via::Rep3, 1);
    let samples = digits(&plan, 1);
    let network = Network { rtt: Duration::from_millis(20), bandwidth: 1e9 };
    let open = OpenOptions { network: Some(network), ..options(1, 1) };
    let mut remote = deployment.client("clinic").open_plan(&plan, &open).unwrap();
    let output = remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap();
    same(&output, &plan, &samples);
    let online = output.batches[0].online;
    // Each round is half a round trip at least.
    assert!(online.ms >= online.cost.rounds as f64 * 10.0 * 0.9, "{} ms for {} rounds", online.ms, online.cost.rounds);
}

#[test]
fn every_way_is_measured_as_it_is_shaped() {
    let deployment = Deployment::started("");
    let network = Network { rtt: Duration::from_millis(10), bandwidth: 80e6 };
    for report in deployment.client("clinic").check(Some(network)) {
        for way in report.links.iter().chain([&report.link]) {
            let (trip, rate) = way.result.clone().unwrap();
            assert!((10_000_000..60_000_000).contains(&trip), "{trip} ns");
            assert!((2e6..=10.1e6).contains(&rate), "{rate} bytes a second");
        }
    }
}

#[test]
fn metrics_and_traces_count_without_values() {
    let deployment = Deployment::new("");
    let servers: Vec<_> = (0..3).map(|i| deployment.server(i, deployment.parsed())).collect();
    let metrics = servers[0].metrics();
    let at = subrosa::deploy::serve_metrics("127.0.0.1:0", std::sync::Arc::clone(&metrics)).unwrap();
    let trace = std::thread::scope(|scope| {
        let stops: Vec<_> = servers.iter().map(|s| (s.stop_handle(), s.address().unwrap())).collect();
        for server in &servers {
            scope.spawn(move || server.run().unwrap());
        }
        let plan = plan("mlp", Via::Rep3, 2);
        let mut remote = deployment.client("clinic").open_plan(&plan, &options(2, 1)).unwrap();
        remote.run_watched(&digits(&plan, 6).inputs, &mut |_, _| ()).unwrap();
        let trace = remote.trace();
        drop(remote);
        let ended = || metrics.text().unwrap().contains("outcome=\"completed\"").then_some(());
        retry(ended);
        stops.iter().for_each(|(stop, address)| stop.stop(*address));
        trace
    });
    let text = http_get(&at, "/metrics");
    for line in
        ["subrosa_samples_total", "subrosa_sent_bytes_total", "subrosa_rounds_total", "subrosa_batch_time_seconds"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    let samples = text.lines().find(|l| l.starts_with("subrosa_samples_total")).unwrap();
    assert!(samples.ends_with(" 6"), "{samples}");
    assert!(http_get(&at, "/").starts_with("HTTP/1.1 404"));
    for party in &PARTIES[..3] {
        let lines = std::fs::read_to_string(deployment.folder.path().join(format!("{party}.jsonl"))).unwrap();
        assert!(lines.contains(&trace) && lines.contains("\"run\""), "{party}: {lines}");
    }
}

fn http_get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(std::time::Instant::now() < end, "still not");
        std::thread::sleep(Duration::from_millis(50));
    }
}
