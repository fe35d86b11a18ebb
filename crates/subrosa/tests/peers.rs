//! Other libraries beside us: whatever an adapter does costs its own row only.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use subrosa::compare::beside::{Beside, Candidate, compare_beside};
use subrosa::compare::peers::{Patience, choose, peers};
use subrosa::compare::{Comparison, Entry, Workload};
use subrosa::data::save;
use subrosa::{Dataset, InputSpec, Model, PlanOptions, Report, Trust, Via};

const IMAGES: usize = 3;

fn source(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// A `peers` folder with one peer, whose Python is this shell script.
struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (peer, bin) = (folder.path().join("fake"), folder.path().join(".venvs/fake/bin"));
        fs::create_dir_all(&peer).unwrap();
        fs::create_dir_all(&bin).unwrap();
        fs::write(peer.join("peer.toml"), "backends = [\"fake\"]\npython = [\"3.11\"]\n").unwrap();
        // The flags an adapter is run with are named as variables: $answers, $data, ...
        let prelude = "#!/bin/sh\nshift\nwhile [ $# -gt 0 ]; do eval \"${1#--}=\\$2\"; shift 2; done\n";
        let python = bin.join("python");
        fs::write(&python, format!("{prelude}{script}\n")).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// The report of mlp in the clear and by this peer.
    fn compare(&self, limit: Duration) -> Report {
        let model = Model::open(source("models/mlp.onnx")).unwrap();
        let data = Dataset::read(source("data/mnist/t10k-first100-images-idx3-ubyte.gz")).unwrap();
        let mut samples = data.fit(model.inputs()).unwrap();
        samples.keep(IMAGES);
        let entry = Entry { model, samples, input: InputSpec::given(0.0, 1.0).unwrap() };
        let candidate = Candidate { entry, file: source("models/mlp.onnx"), twin: None };
        let options = Comparison {
            vias: vec![Via::Plain],
            workloads: vec![Workload { batch: IMAGES, images: None }],
            threads: 1,
            public_weights: false,
            exact: false,
            insecure_self_dealer: false,
            tee: None,
            network: None,
            budget: None,
        };
        let peers = peers(self.folder.path()).unwrap();
        let beside = Beside { peers, patience: Patience { measure: Duration::from_secs(1), limit } };
        compare_beside(&[candidate], &options, &beside, &mut |_| ()).unwrap()
    }

    /// Why it has no row.
    fn fault(&self) -> String {
        let report = self.compare(Duration::from_secs(20));
        assert_eq!(report.rows.len(), 1, "the plain row alone: {:?}", report.rows);
        report.absent[0].why.clone()
    }
}

/// A row's line, with these answers.
fn row(answers: &str) -> String {
    format!(
        r#"{{"model":"mlp","backend":"fake","claim":"c","images":3,"batch":3,"latency_ms_p50":2.0,"latency_ms_p95":3.0,
        "throughput_per_s":1000.0,"setup_ms":1.0,"offline_ms":0.0,"bytes_offline":0,"bytes_online":10,"rounds":2,
        "peak_rss_mb":1.0,"parties":2,"threads":1,"network":"loopback","security_bits":128,"insecure":[],
        "adversary":"semi-honest","threshold":1,"trust":"dealer","preprocessing":"in latency","parameters":"p",
        "version":"v","unmeasured":["rounds"],"answers":"{answers}"}}"#
    )
    .replace('\n', " ")
}

/// mlp's answers in the clear as a file, without its last `less` samples.
fn plain_answers(folder: &Path, less: usize) -> PathBuf {
    let model = Model::open(source("models/mlp.onnx")).unwrap();
    let data = Dataset::read(source("data/mnist/t10k-first100-images-idx3-ubyte.gz")).unwrap();
    let mut samples = data.fit(model.inputs()).unwrap();
    samples.keep(IMAGES - less);
    let options = PlanOptions { batch: IMAGES, ..PlanOptions::default() };
    let output = model.plan(&options).unwrap().open().unwrap().run(&samples.inputs).unwrap();
    let path = folder.join("plain.npy");
    save::output(&path, &output).unwrap();
    path
}

#[test]
fn a_row_is_counted_from_its_answers() {
    let folder = tempfile::tempdir().unwrap();
    let answers = plain_answers(folder.path(), 0);
    let script = format!("cp {} $answers/a.npy\ncat <<'ROW'\n{}\nROW", answers.display(), row("a.npy"));
    let report = Fake::new(&script).compare(Duration::from_secs(20));
    let [plain, fake] = &report.rows[..] else { panic!("{report:?}") };
    assert_eq!((fake.backend.as_str(), fake.agreement, fake.max_abs_err), ("fake", 1.0, Some(0.0)));
    assert_eq!((fake.images, fake.accuracy), (IMAGES, plain.accuracy));
    assert_eq!(fake.slowdown_vs_plain, 2.0 / plain.latency_ms_p50);
    assert_eq!(fake.terms.trust, Trust::Dealer);
    assert!(!fake.tells("rounds") && fake.tells("bytes_online"));
    assert!(fake.terms.trusted.contains("dealer") && report.absent.is_empty());
}

#[test]
fn a_crash_costs_its_row_and_its_last_words_are_told() {
    let why = Fake::new("echo one >&2; echo 'ValueError: scale out of bounds' >&2; exit 3").fault();
    assert!(why.contains("exit status: 3") && why.ends_with("ValueError: scale out of bounds"), "{why}");
}

#[test]
fn what_hangs_is_ended_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("alive");
    let fake = Fake::new(&format!("(sleep 3; touch {}) & sleep 60", mark.display()));
    let start = Instant::now();
    let report = fake.compare(Duration::from_secs(1));
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(report.absent[0].why.starts_with("batch 3: ended after 1 s"), "{}", report.absent[0].why);
    std::thread::sleep(Duration::from_secs(4));
    assert!(!mark.exists(), "a process it started lived on");
}

#[test]
fn endless_output_is_cut() {
    let why = Fake::new("yes 0123456789012345678901234567890123456789").fault();
    assert!(why.contains("printed more than 1048576 bytes"), "{why}");
}

#[test]
fn endless_complaints_are_borne() {
    let why = Fake::new("head -c 30000000 /dev/zero >&2; exit 1").fault();
    assert_eq!(why, "batch 3: it failed (exit status: 1) without a word");
}

#[test]
fn a_process_left_behind_does_not_hold_us() {
    let start = Instant::now();
    let why = Fake::new("sleep 60 & exit 0").fault();
    assert!(why.contains("did not print one line"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn nonsense_is_no_row() {
    for (printed, told) in [
        ("hello", "no row"),
        ("{}", "no row"),
        ("{\"unavailable\": \"no ReLU\"}", "no ReLU"),
        ("{\"unavailable\": \"a\"}\n{\"unavailable\": \"b\"}", "did not print one line"),
    ] {
        let why = Fake::new(&format!("cat <<'ROW'\n{printed}\nROW")).fault();
        assert!(why.contains(told), "{printed}: {why}");
    }
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let answers = plain_answers(folder.path(), 0);
    let good = row("a.npy");
    for (from, to, told) in [
        ("\"latency_ms_p50\":2.0", "\"latency_ms_p50\":0.0", "times"),
        ("\"setup_ms\":1.0", "\"setup_ms\":-1.0", "times"),
        ("\"images\":3", "\"images\":4", "4 images"),
        ("\"images\":3", "\"images\":0", "0 images"),
        ("\"batch\":3", "\"batch\":2", "batches of 2"),
        ("\"trust\":\"dealer\"", "\"trust\":\"everybody\"", "no row"),
        ("a.npy", "../a.npy", "outside"),
        ("a.npy", "/etc/hostname", "outside"),
        ("a.npy", "other.npy", "not there"),
    ] {
        let line = good.replace(from, to);
        assert_ne!(line, good);
        let why = Fake::new(&format!("cp {} $answers/a.npy\ncat <<'ROW'\n{line}\nROW", answers.display())).fault();
        assert!(why.contains(told), "{from} -> {to}: {why}");
    }
}

#[test]
fn answers_of_another_size_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let few = plain_answers(folder.path(), 1);
    let give = |make: &str| Fake::new(&format!("{make}\ncat <<'ROW'\n{}\nROW", row("a.npy"))).fault();
    let why = give(&format!("cp {} $answers/a.npy", few.display()));
    assert!(why.contains("20 answers where 30 were due"), "{why}");
    assert!(give("head -c 1000000 /dev/zero > $answers/a.npy").contains("larger than they can be"));
    assert!(give("ln -s /dev/zero $answers/a.npy").contains("larger than they can be"));
    assert!(give("echo no > $answers/a.npy").contains("not usable"));
}

#[test]
fn a_missing_environment_is_told_with_the_way_out() {
    let fake = Fake::new("exit 0");
    fs::remove_dir_all(fake.folder.path().join(".venvs")).unwrap();
    let all = peers(fake.folder.path()).unwrap();
    let error = choose(&all, &["fake".to_owned()]).unwrap_err().to_string();
    assert_eq!(error, "peer 'fake' is not set up; run peers/setup fake");
    let error = choose(&all, &["fate".to_owned()]).unwrap_err().to_string();
    assert_eq!(error, "there is no peer 'fate': choose among fake");
    assert!(fake.fault().contains("run peers/setup fake"));
}

#[test]
fn every_shipped_peer_is_well_formed() {
    let all = peers(&source("peers")).unwrap();
    assert_eq!(all[0].name(), "onnxruntime", "what runs in the clear goes first");
    for name in ["tenseal", "crypten", "spu", "tf-encrypted", "concrete-ml", "sympc", "gramine"] {
        assert!(all.iter().any(|p| p.name() == name), "{name}");
    }
}
