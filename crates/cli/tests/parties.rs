//! Compute parties as processes: killed, frozen, out of disk, with wrong certificates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PARTIES: [&str; 3] = ["hospital", "vendor", "regulator"];

struct Deployment {
    folder: TempDir,
    parties: Vec<Option<Child>>,
}

fn subrosa() -> Command {
    Command::new(env!("CARGO_BIN_EXE_subrosa"))
}

fn asset(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Deployment {
    fn new(limits: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listeners = PARTIES.map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let mut config = String::new();
        for (name, listener) in PARTIES.iter().zip(&listeners) {
            config += &init(folder.path(), name, Some(&listener.local_addr().unwrap().to_string()));
        }
        config += &init(folder.path(), "clinic", None);
        std::fs::write(folder.path().join("subrosa.toml"), format!("{config}[limits]\n{limits}\n")).unwrap();
        Self { folder, parties: PARTIES.map(|_| None).into() }
    }

    fn started(limits: &str) -> Self {
        let mut deployment = Self::new(limits);
        (0..3).for_each(|party| deployment.start(party));
        deployment
    }

    fn path(&self, of: &str) -> PathBuf {
        self.folder.path().join(of)
    }

    fn start(&mut self, party: usize) {
        self.start_as(party, subrosa());
    }

    /// Starts a party by a command that takes `subrosa`'s arguments.
    fn start_as(&mut self, party: usize, mut command: Command) {
        let name = PARTIES[party];
        command.args(["party", "run", "--cluster"]).arg(self.path("subrosa.toml"));
        command.arg("--identity").arg(self.path(name)).arg("--state").arg(self.path(&format!("{name}-state")));
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listens at"), "{name}: {line}");
        self.parties[party] = Some(child);
    }

    fn signal(&self, party: usize, signal: &str) {
        let id = self.parties[party].as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn reap(&mut self, party: usize) {
        if let Some(mut child) = self.parties[party].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn clinic(&self, args: &[&str]) -> Command {
        let mut command = subrosa();
        command.args(args).arg("--cluster").arg(self.path("subrosa.toml"));
        command.arg("--identity").arg(self.path("clinic"));
        command
    }

    fn provision(&self, model: &str) -> Output {
        let model = asset(&format!("models/{model}.onnx"));
        self.clinic(&["party", "provision", &model, "--input-range", "0,1"]).output().unwrap()
    }

    fn run(&self, model: &str, images: usize) -> Command {
        let data = asset("data/mnist/t10k-images-idx3-ubyte.gz");
        let labels = asset("data/mnist/t10k-labels-idx1-ubyte.gz");
        let images = images.to_string();
        let mut command = self.clinic(&["run", model, "--input", &data, "--labels", &labels]);
        command.args(["--images", &images, "--batch", "16", "--json"]);
        command
    }

    /// Whether a small inference gives what it should.
    fn works(&self, model: &str) {
        let output = self.run(model, 64).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result["accuracy"].as_f64().unwrap() > 0.95, "{result}");
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        (0..3).for_each(|party| self.reap(party));
    }
}

fn init(folder: &Path, name: &str, address: Option<&str>) -> String {
    let mut command = subrosa();
    command.args(["party", "init", "--name", name, "--identity"]).arg(folder.join(name));
    command.args(address.map(|a| ["--address", a]).into_iter().flatten());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_killed_party_is_named_and_the_next_run_works() {
    let mut deployment = Deployment::started("deadline_s = 5");
    let provisioned = deployment.provision("mlp");
    assert!(provisioned.status.success(), "{}", text(&provisioned));
    deployment.works("mlp");
    let mut running = deployment.run("mlp", 10_000);
    let running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    deployment.reap(1);
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "it was over too early: {}", text(&output));
    assert!(output.stdout.is_empty() && text(&output).contains("vendor"), "{}", text(&output));
    // While it is away, everybody is told so.
    let check = deployment.clinic(&["party", "check"]).output().unwrap();
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check).contains("vendor cannot be reached"), "{}", text(&check));
    deployment.start(1);
    deployment.works("mlp");
    let check = deployment.clinic(&["party", "check", "--json"]).output().unwrap();
    assert!(check.status.success(), "{}", text(&check));
}

#[test]
fn a_frozen_party_costs_the_deadline_and_no_more() {
    let deployment = Deployment::started("deadline_s = 2");
    assert!(deployment.provision("mlp").status.success());
    let mut running = deployment.run("mlp", 10_000);
    let running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    deployment.signal(2, "-STOP");
    let start = Instant::now();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "it was over too early: {}", text(&output));
    assert!(output.stdout.is_empty() && text(&output).contains("regulator"), "{}", text(&output));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    deployment.signal(2, "-CONT");
    deployment.works("mlp");
}

#[test]
fn a_full_disk_keeps_nothing_and_says_so() {
    let mut deployment = Deployment::new("");
    deployment.start(0);
    deployment.start(1);
    // No file beyond 32 KiB, which is what a full disk does to the vendor's share.
    deployment.reap(1);
    let mut limited = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f 64; exec {} \"$@\"", env!("CARGO_BIN_EXE_subrosa"));
    limited.args(["-c", &script, "sh"]);
    deployment.start_as(1, limited);
    deployment.start(2);
    let output = deployment.provision("mlp");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("vendor") && text(&output).contains("its log says how"), "{}", text(&output));
    // Which file it was is told to whoever runs the party, and to nobody else.
    let log = std::fs::read_to_string(deployment.path("vendor.log")).unwrap();
    assert!(log.contains("cannot keep the share") && !text(&output).contains("vendor-state"), "{log}");
    for party in PARTIES {
        let kept = deployment.path(&format!("{party}-state/models/mlp"));
        let names = std::fs::read_dir(kept).into_iter().flatten().flatten().map(|e| e.file_name());
        // Only the note of which version was the last one.
        let files: Vec<_> = names.filter(|name| name != "last").collect();
        assert!(files.is_empty(), "{party} keeps {files:?}");
    }
    deployment.reap(1);
    deployment.start(1);
    assert!(deployment.provision("mlp").status.success());
    deployment.works("mlp");
}

#[test]
fn wrong_and_expired_certificates_are_told_apart() {
    let mut deployment = Deployment::started("");
    // Somebody else where the vendor should be.
    deployment.reap(1);
    let right = deployment.path("vendor");
    let aside = deployment.path("vendor-aside");
    std::fs::rename(&right, &aside).unwrap();
    let pinned = std::fs::read_to_string(deployment.path("subrosa.toml")).unwrap();
    let address = pinned.lines().filter(|l| l.starts_with("address")).nth(1).unwrap().split('"').nth(1).unwrap();
    let other = init(deployment.folder.path(), "vendor", Some(address));
    let print = |text: &str| text.lines().find(|l| l.starts_with("fingerprint")).unwrap().to_owned();
    let own = pinned.lines().filter(|l| l.starts_with("fingerprint")).nth(1).unwrap();
    // It believes to be the vendor; the others have the vendor's true key.
    let impostor = deployment.path("impostor.toml");
    std::fs::write(&impostor, pinned.replace(own, &print(&other))).unwrap();
    let honest = deployment.path("subrosa.toml");
    std::fs::rename(&honest, deployment.path("honest.toml")).unwrap();
    std::fs::copy(&impostor, &honest).unwrap();
    deployment.start(1);
    std::fs::copy(deployment.path("honest.toml"), &honest).unwrap();
    let check = deployment.clinic(&["party", "check"]).output().unwrap();
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check).contains("another key than was pinned"), "{}", text(&check));
    deployment.reap(1);
    std::fs::remove_dir_all(&right).unwrap();
    std::fs::rename(&aside, &right).unwrap();
    deployment.start(1);
    assert!(deployment.provision("mlp").status.success());
    // A stranger, whom nobody has in the configuration.
    init(deployment.folder.path(), "stranger", None);
    let mut command = deployment.run("mlp", 1);
    command.arg("--identity").arg(deployment.path("stranger"));
    let output = subrosa()
        .args(["party", "check", "--cluster"])
        .arg(&honest)
        .arg("--identity")
        .arg(deployment.path("stranger"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("nobody in the configuration has this identity's key"), "{}", text(&output));
    deployment.works("mlp");
}

/// A gateway before the parties, and its URL.
fn gateway(deployment: &Deployment, arguments: &[&str]) -> (Stopped, String) {
    let mut command = deployment.clinic(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(line.starts_with("mlp@1 via rep3 (shared) at http://"), "{line}");
    (Stopped(child), url)
}

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_gateway_answers_people_who_have_no_key() {
    let mut deployment = Deployment::started("deadline_s = 10");
    assert!(deployment.provision("mlp").status.success());
    let (gateway, url) = gateway(&deployment, &["mlp", "--via", "rep3", "--threads", "2"]);
    let nobody = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let mut command = subrosa();
        command.current_dir(nobody.path()).args(["run", "mlp", "--url", &url, "--images", "40", "--batch", "8"]);
        command.arg("--input").arg(asset("data/mnist/t10k-images-idx3-ubyte.gz"));
        command.arg("--labels").arg(asset("data/mnist/t10k-labels-idx1-ubyte.gz")).args(more);
        command.output().unwrap()
    };
    let cluster = deployment.path("subrosa.toml").display().to_string();
    let through = |more: &[&str]| run(&[&["--via", "rep3", "--cluster", &cluster, "--json"], more].concat());
    let output = through(&[]);
    assert!(output.status.success(), "{}", text(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(result["accuracy"].as_f64().unwrap() > 0.95, "{result}");
    assert_eq!((&result["output"]["via"], &result["output"]["samples"]), (&"rep3".into(), &40.into()));
    // Who the parties are is not for the gateway to say.
    let output = run(&["--via", "rep3"]);
    assert!(output.status.code() == Some(2) && text(&output).contains("give --cluster"), "{}", text(&output));
    let strangers = Deployment::new("");
    let output = run(&["--via", "rep3", "--cluster", &strangers.path("subrosa.toml").display().to_string()]);
    assert!(text(&output).contains("hospital does not vouch"), "{}", text(&output));
    let output = run(&["--via", "plain"]);
    assert!(text(&output).contains("sealed to the parties"), "{}", text(&output));
    let output = through(&["--receiver", "clinic"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    // A party that is killed and started anew: its keys are others, and the next run works.
    deployment.reap(1);
    let output = through(&[]);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{}", text(&output));
    deployment.start(1);
    std::thread::sleep(Duration::from_millis(1200));
    let output = through(&[]);
    assert!(output.status.success(), "{}", text(&output));
    drop(gateway);
    // What cannot be a gateway says why.
    let refused = |arguments: &[&str]| {
        let output = deployment.clinic(&[&["serve", "mlp", "--listen", "127.0.0.1:0"], arguments].concat()).output();
        let output = output.unwrap();
        assert!(!output.status.success());
        text(&output)
    };
    assert!(refused(&["--via", "rep4"]).contains("give --via rep3"));
    assert!(refused(&["--via", "fss"]).contains("rep3-malicious or rep4"));
    let missing = deployment.clinic(&["serve", "none", "--via", "rep3"]).output().unwrap();
    assert!(text(&missing).contains("no model 'none'"), "{}", text(&missing));
    let alone = subrosa().args(["serve", "mlp", "--via", "rep3"]).output().unwrap();
    assert!(text(&alone).contains("give --cluster subrosa.toml"), "{}", text(&alone));
}
