//! Servers over mutual TLS whose dealer has dealt ahead of time and is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use subrosa::deploy::{Cluster, DealOptions, Dealt, OpenOptions, SessionId, deal};
use subrosa::{Dataset, Error, InputSpec, Model, Output, Plan, PlanOptions, Samples, Via};
use support::{Deployment, PARTIES, identity};

fn asset(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn plan(name: &str, via: Via, batch: usize) -> Plan {
    let model = Model::open(asset(&format!("models/{name}.onnx"))).unwrap();
    let input = InputSpec::given(0.0, 1.0).unwrap();
    model.plan(&PlanOptions { via, batch, input, ..PlanOptions::default() }).unwrap()
}

fn digits(n: usize) -> Samples {
    let model = Model::open(asset("models/mlp.onnx")).unwrap();
    let mut samples =
        Dataset::read(asset("data/mnist/t10k-images-idx3-ubyte.gz")).unwrap().fit(model.inputs()).unwrap();
    samples.keep(n);
    samples
}

fn same(got: &Output, plan: &Plan, samples: &Samples) {
    let expected = plan.simulate().unwrap().run(&samples.inputs).unwrap();
    assert_eq!((got.samples, got.values[0].len()), (expected.samples, expected.values[0].len()));
    for (got, expected) in got.values[0].iter().zip(&expected.values[0]) {
        assert!((got - expected).abs() < 0.05, "{got} for {expected}");
    }
}

/// A deployment whose dealer is there only to be given models.
struct Offline {
    deployment: Deployment,
    servers: usize,
}

impl Offline {
    fn new(via: Via, parties: usize, models: &[(&Plan, &str)]) -> Self {
        let mut deployment = Deployment::via(via.name(), parties, "deadline_s = 10");
        deployment.config = format!("dealer = \"offline\"\n{}", deployment.config);
        let servers = parties - 1;
        for (keys, name) in deployment.keys.iter_mut().zip(PARTIES).take(servers) {
            let folder = deployment.folder.path().join("keys").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            *keys = Some(folder);
        }
        let mut deployment = deployment.all_started();
        let clinic = deployment.client("clinic");
        for (plan, name) in models {
            clinic.provision(plan, name).unwrap();
        }
        deployment.stop(servers);
        Self { deployment, servers }
    }

    fn deal(&self, model: &str, batch: usize, count: u64) -> Dealt {
        self.try_deal(model, batch, count).unwrap()
    }

    fn try_deal(&self, model: &str, batch: usize, count: u64) -> subrosa::Result<Dealt> {
        let options = DealOptions {
            model: model.to_owned(),
            version: None,
            batch,
            count,
            out: self.deployment.folder.path().join("keys"),
            state: self.deployment.state(self.servers),
            store_key: None,
            threads: 1,
        };
        let dealer = identity(self.deployment.folder.path(), PARTIES[self.servers]);
        deal(&self.deployment.parsed(), &dealer, &options, &mut |_| ())
    }

    fn clinic(&self) -> Cluster {
        self.deployment.client("clinic")
    }

    fn files(&self, server: usize) -> Vec<PathBuf> {
        let folder = self.deployment.keys[server].as_ref().unwrap();
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn options(batch: usize, lanes: usize) -> OpenOptions {
    OpenOptions { batch, lanes, ..OpenOptions::default() }
}

#[test]
fn what_was_dealt_ahead_computes_what_it_should_and_is_used_up() {
    for (via, parties) in [(Via::Fss, 3), (Via::Beaver3, 4)] {
        let plan = plan("mlp", via, 8);
        let offline = Offline::new(via, parties, &[(&plan, "digits")]);
        let dealt = offline.deal("digits", 8, 7);
        // The plan predicts each file to the byte.
        let sheet = serde_json::to_value(plan.sheet()).unwrap();
        for (server, folder) in dealt.folders.iter().enumerate() {
            let files = offline.files(server);
            assert_eq!((files.len(), folder.party.as_str()), (7, PARTIES[server]));
            for file in files {
                use std::os::unix::fs::PermissionsExt;
                let metadata = std::fs::metadata(&file).unwrap();
                assert_eq!(Some(metadata.len()), sheet["fixed"]["keys"][server].as_u64(), "{via}");
                assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (folder.bytes, 0o600));
            }
        }
        // 20 samples fill two batches, and half of a third one, which is filled up.
        let samples = digits(20);
        let mut remote = offline.clinic().open("digits", None, &options(8, 1)).unwrap();
        let output = remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap();
        same(&output, &plan, &samples);
        assert_eq!((0..offline.servers).map(|s| offline.files(s).len()).collect::<Vec<_>>(), vec![4; offline.servers]);
        // Online it costs what it costs with a dealer; nobody hears of one before.
        let local = plan.open().unwrap().run(&digits(8).inputs).unwrap();
        assert_eq!(output.batches[0].online.cost, local.batches[0].online.cost, "{via}");
        assert!(output.batches[0].offline.cost.bytes < 200, "{:?}", output.batches[0].offline.cost);
        drop(remote);
        // Several sessions at the same time use up the rest, each file once.
        let samples = digits(32);
        let mut remote = offline.clinic().open("digits", None, &options(8, 2)).unwrap();
        same(&remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap(), &plan, &samples);
        let error = remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap_err();
        assert!(error.to_string().contains("no keys for a batch of 8 samples"), "{error}");
        drop(remote);
        // More is dealt while the servers run.
        offline.deal("digits", 8, 1);
        let mut remote = offline.clinic().open("digits", None, &options(8, 1)).unwrap();
        same(&remote.run_watched(&digits(8).inputs, &mut |_, _| ()).unwrap(), &plan, &digits(8));
    }
}

#[test]
fn keys_are_for_one_model_one_sharing_and_one_size() {
    let (mlp, cnn) = (plan("mlp", Via::Fss, 4), plan("cnn", Via::Fss, 4));
    let offline = Offline::new(Via::Fss, 3, &[(&mlp, "mlp"), (&cnn, "cnn")]);
    offline.deal("cnn", 4, 1);
    offline.deal("mlp", 4, 1);
    let clinic = offline.clinic();
    let samples = digits(4);
    let run = |name: &str, batch: usize| {
        clinic.open(name, None, &options(batch, 1)).unwrap().run_watched(&samples.inputs, &mut |_, _| ())
    };
    let error = run("mlp", 2).unwrap_err().to_string();
    assert!(error.contains("no keys for a batch of 2 samples"), "{error}");
    same(&run("mlp", 4).unwrap(), &mlp, &samples);
    let error = run("mlp", 4).unwrap_err().to_string();
    assert!(error.contains("no keys"), "the other model's are left alone: {error}");
    same(&run("cnn", 4).unwrap(), &cnn, &samples);
    // One sharing's keys are none for the next.
    offline.deal("mlp", 4, 1);
    let mut offline = offline;
    offline.deployment.start(2);
    clinic.provision(&mlp, "mlp").unwrap();
    offline.deployment.stop(2);
    let run = |version| {
        let mut remote = clinic.open("mlp", version, &options(4, 1)).unwrap();
        remote.run_watched(&samples.inputs, &mut |_, _| ())
    };
    assert!(run(None).unwrap_err().to_string().contains("no keys"));
    same(&run(Some(1)).unwrap(), &mlp, &samples);
}

#[test]
fn a_damaged_file_and_a_wrong_one_are_passed_over_at_both_servers() {
    let plan = plan("mlp", Via::Fss, 4);
    let offline = Offline::new(Via::Fss, 3, &[(&plan, "digits")]);
    offline.deal("digits", 4, 4);
    let samples = digits(4);
    // A bit of the payload; then the other server's file under a name of this one's.
    let damaged = offline.files(1)[0].clone();
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    std::fs::copy(&offline.files(0)[1], &offline.files(1)[1]).unwrap();
    std::fs::set_permissions(&offline.files(1)[1], std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut remote = offline.clinic().open("digits", None, &options(4, 1)).unwrap();
    same(&remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap(), &plan, &samples);
    let logged = offline.deployment.logged();
    assert!(logged.contains("was changed") && logged.contains("it is hospital's, not vendor's"), "{logged}");
    for server in 0..2 {
        let left = offline.files(server);
        let named = |number: usize| left.iter().any(|p| p.to_string_lossy().ends_with(&format!("-00000{number}.keys")));
        assert!(left.len() == 3 && named(0) && named(1) && named(3), "used at none of them: {left:?}");
    }
}

/// A batch that is filled up is opened in part, also to somebody who does not know how many samples there are.
#[test]
fn what_fills_a_batch_up_is_opened_to_nobody() {
    let plan = plan("mlp", Via::Fss, 8);
    let offline = Offline::new(Via::Fss, 3, &[(&plan, "digits")]);
    offline.deal("digits", 8, 4);
    let samples = digits(11);
    let mut remote = offline.clinic().open("digits", None, &options(8, 1)).unwrap();
    let output = remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap();
    same(&output, &plan, &samples);
    let [full, part] = [0, 1].map(|batch: usize| output.batches[batch].online.cost);
    // Both servers open 10 values a sample, in a ring of so many bits.
    let bits = serde_json::to_value(plan.sheet()).unwrap()["fixed"]["ring_bits"].as_u64().unwrap();
    assert_eq!((part.rounds, full.bytes - part.bytes), (full.rounds, 2 * 5 * 10 * bits / 8));
    drop(remote);
    let code = SessionId::random().unwrap();
    let received = std::thread::scope(|scope| {
        let ministry = scope.spawn(|| offline.deployment.client("ministry").receive(code).unwrap().run().unwrap());
        let receiver = Some(("ministry".to_owned(), code));
        let open = OpenOptions { receiver, ..options(8, 1) };
        let mut remote = offline.deployment.client("laboratory").open("digits", None, &open).unwrap();
        remote.run_watched(&samples.inputs, &mut |_, _| ()).unwrap();
        drop(remote);
        ministry.join().unwrap()
    });
    same(&received, &plan, &samples);
}

#[test]
fn a_server_that_was_set_back_is_corrected_by_the_other() {
    let plan = plan("mlp", Via::Fss, 4);
    let samples = digits(4);
    for server in 0..2 {
        let mut offline = Offline::new(Via::Fss, 3, &[(&plan, "digits")]);
        offline.deal("digits", 4, 4);
        let backup: Vec<(PathBuf, Vec<u8>)> =
            offline.files(server).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        let run = |offline: &Offline| {
            let mut remote = offline.clinic().open("digits", None, &options(4, 1)).unwrap();
            remote.run_watched(&samples.inputs, &mut |_, _| ())
        };
        same(&run(&offline).unwrap(), &plan, &samples);
        same(&run(&offline).unwrap(), &plan, &samples);
        // Its keys come back, and its journal does not.
        offline.deployment.stop(server);
        std::fs::remove_dir_all(offline.deployment.state(server).join("keys")).unwrap();
        for (path, bytes) in &backup {
            std::fs::write(path, bytes).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        offline.deployment.start(server);
        same(&run(&offline).unwrap(), &plan, &samples);
        let used: Vec<String> =
            offline.deployment.logged().lines().filter(|l| l.contains("used up")).map(String::from).collect();
        // The third batch, at both; the first and second once at each.
        for number in 0..3 {
            let times = used.iter().filter(|line| line.contains(&format!("-00000{number}.keys"))).count();
            assert_eq!(times, 2, "{used:#?}");
        }
    }
}

#[test]
fn what_an_offline_dealer_cannot_do_is_refused_with_a_reason() {
    let plan = plan("mlp", Via::Fss, 4);
    let offline = Offline::new(Via::Fss, 3, &[(&plan, "digits")]);
    let clinic = offline.clinic();
    let refused = |error: Option<Error>, why: &str| {
        let error = error.expect("refused").to_string();
        assert!(error.contains(why), "{why}: {error}");
    };
    refused(clinic.open_plan(&plan, &options(4, 1)).err(), "provision the model");
    refused(offline.try_deal("nobody", 4, 1).err(), "no model 'nobody'");
    refused(offline.try_deal("digits", 0, 1).err(), "0 samples");
    refused(offline.try_deal("digits", 4, 0).err(), "0 batches");
    let deal_as = |config: &str, name: &str| {
        let options = DealOptions {
            model: "digits".to_owned(),
            version: None,
            batch: 4,
            count: 1,
            out: offline.deployment.folder.path().join("keys"),
            state: offline.deployment.state(2),
            store_key: None,
            threads: 1,
        };
        let config = subrosa::deploy::ClusterConfig::parse(config).unwrap();
        deal(&config, &identity(offline.deployment.folder.path(), name), &options, &mut |_| ()).err()
    };
    refused(deal_as(&offline.deployment.config, "hospital"), "the dealer's, who is regulator");
    let live = offline.deployment.config.replace("dealer = \"offline\"\n", "");
    refused(deal_as(&live, "regulator"), "deals in them");
}
