//! Servers as processes, with keys that were dealt ahead of time: killed while they use them up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PARTIES: [&str; 3] = ["hospital", "vendor", "regulator"];
/// The last of them deals.
const DEALER: usize = 2;
const BATCH: &str = "4";
const BATCHES: usize = 120;

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

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    output
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn init(folder: &Path, name: &str, address: Option<&str>) -> String {
    let mut command = subrosa();
    command.args(["party", "init", "--name", name, "--identity"]).arg(folder.join(name));
    command.args(address.map(|a| ["--address", a]).into_iter().flatten());
    String::from_utf8(done(&mut command).stdout).unwrap()
}

impl Deployment {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listeners = PARTIES.map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let mut config = "backend = \"fss\"\ndealer = \"offline\"\n".to_owned();
        for (name, listener) in PARTIES.iter().zip(&listeners) {
            config += &init(folder.path(), name, Some(&listener.local_addr().unwrap().to_string()));
        }
        config += &init(folder.path(), "clinic", None);
        std::fs::write(folder.path().join("subrosa.toml"), format!("{config}[limits]\ndeadline_s = 10\n")).unwrap();
        for server in PARTIES.iter().take(DEALER) {
            std::fs::create_dir_all(folder.path().join("keys").join(server)).unwrap();
        }
        Self { folder, parties: PARTIES.map(|_| None).into() }
    }

    fn path(&self, of: &str) -> PathBuf {
        self.folder.path().join(of)
    }

    fn keys(&self, server: usize) -> PathBuf {
        self.path("keys").join(PARTIES[server])
    }

    fn start(&mut self, party: usize) {
        let name = PARTIES[party];
        let log = File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap();
        let mut command = subrosa();
        command.args(["party", "run", "--cluster"]).arg(self.path("subrosa.toml"));
        command.arg("--identity").arg(self.path(name)).arg("--state").arg(self.path(&format!("{name}-state")));
        if party != DEALER {
            command.arg("--keys").arg(self.keys(party));
        }
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listens at"), "{name}: {line}");
        self.parties[party] = Some(child);
    }

    /// By SIGKILL.
    fn kill(&mut self, party: usize) {
        if let Some(mut child) = self.parties[party].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn as_client(&self, name: &str, args: &[&str]) -> Command {
        let mut command = subrosa();
        command.args(args).arg("--cluster").arg(self.path("subrosa.toml")).arg("--identity").arg(self.path(name));
        command
    }

    fn run(&self, images: usize) -> Command {
        let data = asset("data/mnist/t10k-images-idx3-ubyte.gz");
        let labels = asset("data/mnist/t10k-labels-idx1-ubyte.gz");
        let mut command = self.as_client("clinic", &["run", "mlp", "--input", &data, "--labels", &labels]);
        command.args(["--images", &images.to_string(), "--batch", BATCH, "--json"]);
        command
    }

    fn files(&self, server: usize) -> BTreeSet<String> {
        std::fs::read_dir(self.keys(server)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Names of the keys that a server has used, in the order of its logs.
    fn used(&self, server: usize) -> Vec<String> {
        let log = std::fs::read_to_string(self.path(&format!("{}.log", PARTIES[server]))).unwrap();
        let name = |line: &str| Some(line.split_once(" keys ")?.1.strip_suffix(": used up")?.to_owned());
        log.lines().filter_map(name).collect()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        (0..PARTIES.len()).for_each(|party| self.kill(party));
    }
}

#[test]
fn a_server_killed_while_it_uses_keys_goes_on_with_later_ones() {
    let mut deployment = Deployment::new();
    (0..PARTIES.len()).for_each(|party| deployment.start(party));
    let model = asset("models/mlp.onnx");
    done(&mut deployment.as_client("clinic", &["party", "provision", &model, "--input-range", "0,1"]));
    deployment.kill(DEALER);

    let mut deal = deployment.as_client(PARTIES[DEALER], &["dealer", "deal", "mlp", "--batch", BATCH, "--json"]);
    deal.args(["--count", &BATCHES.to_string()]).arg("--state").arg(deployment.path("regulator-state"));
    let dealt = json(&done(deal.arg("--out").arg(deployment.path("keys"))));
    let plan = ["plan", &model, "--via", "fss", "--input-range", "0,1", "--batch", BATCH, "--json"];
    let planned = json(&done(subrosa().args(plan)));
    for server in 0..DEALER {
        assert_eq!(deployment.files(server).len(), BATCHES);
        assert_eq!(dealt["servers"][server]["bytes"], planned["fixed"]["keys"][server]);
        for file in deployment.files(server) {
            let length = std::fs::metadata(deployment.keys(server).join(file)).unwrap().len();
            assert_eq!(Some(length), planned["fixed"]["keys"][server].as_u64());
        }
    }

    for server in [0, 1, 1] {
        let before = deployment.files(server).len();
        let mut running = deployment.run(10_000);
        let mut running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while deployment.files(server).len() + 3 > before {
            assert!(running.try_wait().unwrap().is_none(), "{}", text(&running.wait_with_output().unwrap()));
            std::thread::sleep(Duration::from_millis(1));
        }
        deployment.kill(server);
        let output = running.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(output.stdout.is_empty() && text(&output).contains(PARTIES[server]), "{}", text(&output));
        deployment.start(server);
        let result = json(&done(&mut deployment.run(8)));
        assert!(result["accuracy"].as_f64().unwrap() > 0.85, "{result}");
    }

    let used = [0, 1].map(|server| deployment.used(server));
    for (server, used) in used.iter().enumerate() {
        let once: BTreeSet<&String> = used.iter().collect();
        assert_eq!(once.len(), used.len(), "{} used keys twice: {used:?}", PARTIES[server]);
        assert!(deployment.files(server).iter().all(|file| !once.contains(file)), "what was used is gone");
    }
    assert!(used.iter().all(|used| used.len() < BATCHES), "none were left to use twice: deal more");
}

#[test]
fn keys_are_asked_for_where_they_are_needed_and_nowhere_else() {
    let deployment = Deployment::new();
    let party = |name: &str, keys: bool| {
        let mut command = deployment.as_client(name, &["party", "run"]);
        command.arg("--state").arg(deployment.path("state"));
        command.args(keys.then_some("--keys")).args(keys.then(|| deployment.keys(0))).output().unwrap()
    };
    for (name, keys, why) in [("hospital", false, "has no keys"), ("regulator", true, "uses no keys")] {
        let output = party(name, keys);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(why), "{}", text(&output));
    }
    let dealt = deployment.as_client("hospital", &["dealer", "deal", "mlp", "--batch", "4"]).output().unwrap();
    assert_eq!(dealt.status.code(), Some(2), "{}", text(&dealt));
    assert!(text(&dealt).contains("the dealer's, who is regulator"), "{}", text(&dealt));
}
