//! Sixty-four clients for a while, and an end under load: `load [--seconds=N] [plain|ckks]`,
//! 5 seconds unless it is said.
//!
//! Against `target/release/subrosa serve`, in the clear and on ciphertexts, each for N seconds over
//! loopback, on connections that are kept. Fails unless
//! - every answer is whole, and its status is 200, 429 or 503;
//! - the server's memory at the end is within [`GROWTH`] of what it was after a fifth of the time, and
//!   some answers for each client;
//! - told to end (SIGTERM) while all ask, it answers what it accepted and says so: its log has as
//!   many requests of each status as the clients had answers.
#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a bench prints its table, or fails")]

mod wire;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use subrosa::ckks::roles;
use subrosa::{Dataset, Model};
use subrosa_serve::NewKey;
use wire::Wire;

const CLIENTS: usize = 64;

/// What memory may grow by: a share, and MB. The allocator's, not the server's.
const GROWTH: (f64, f64) = (1.10, 16.0);

/// Answers by status.
type Answers = BTreeMap<u16, usize>;

fn main() {
    let seconds = std::env::args().find_map(|a| a.strip_prefix("--seconds=").map(str::to_owned));
    let time = Duration::from_secs(seconds.map_or(5, |text| text.parse().unwrap()));
    let machine = subrosa::machine::machine();
    println!("{}, {} cores; {CLIENTS} clients, {} s each", machine.cpu, machine.cores, time.as_secs());
    let folder = std::env::temp_dir().join(format!("subrosa-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let wanted = |name: &str| std::env::args().skip(1).filter(|a| !a.starts_with('-')).all(|word| word == name);
    if wanted("plain") {
        plain(&folder, time);
    }
    if wanted("ckks") {
        ckks(&folder, time);
    }
    let _ = std::fs::remove_dir_all(&folder);
}

fn shipped(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

/// With fewer places than clients, and a rate that they reach: all three statuses come.
fn plain(folder: &Path, time: Duration) {
    let key = NewKey::make("load").unwrap();
    let file = folder.join("clients");
    std::fs::write(&file, &key.line).unwrap();
    let limits = ["--max-requests", "48", "--rate", "3000", "--api-keys", file.to_str().unwrap()];
    let server = Serving::start(folder, "mlp", &limits);
    let model = Model::open(shipped("models/mlp.onnx")).unwrap();
    let image = digit(&model);
    let authorization = format!("authorization: Bearer {}\r\n", key.key);
    let (name, shape) = (&model.inputs()[0].name, &model.inputs()[0].shape);
    let request = wire::binary("mlp", name, shape, &image, &authorization);
    server.load("plain", time, &request, |_| ());
}

/// One client's keys, and its request again and again.
fn ckks(folder: &Path, time: Duration) {
    let server = Serving::start(folder, "mlp_square", &["--via", "ckks"]);
    let at = |name: &str| folder.join(name);
    let mut wire = Wire::connect(&server.address).unwrap();
    let get = wire::request("GET", "/v2/models/mlp_square/encryption-plan", "", b"");
    std::fs::write(at("plan"), wire.ask(&get).unwrap().unwrap().body).unwrap();
    let written = roles::keygen(&at("plan"), &at("secret"), &at("keys")).unwrap();
    let model = Model::open(shipped("models/mlp_square.onnx")).unwrap();
    let mut samples = Dataset::read(shipped("examples/digit.png")).unwrap().fit(model.inputs()).unwrap();
    samples.keep(1);
    roles::encrypt(&at("secret"), &samples, &at("request")).unwrap();
    let put = wire::request("PUT", &format!("/v2/keys/{}", written.keys), "", &std::fs::read(at("keys")).unwrap());
    assert_eq!(wire.ask(&put).unwrap().unwrap().status, 201);
    let body = std::fs::read(at("request")).unwrap();
    let request = wire::request("POST", "/v2/models/mlp_square/encrypted-infer", "", &body);
    server.load("ckks", time, &request, |answer| {
        std::fs::write(at("answer"), answer).unwrap();
        assert_eq!(roles::decrypt(&at("secret"), &at("answer"), None).unwrap().samples, 1);
    });
}

fn digit(model: &Model) -> Vec<f32> {
    let mut samples = Dataset::read(shipped("examples/digit.png")).unwrap().fit(model.inputs()).unwrap();
    samples.keep(1);
    samples.inputs.remove(0)
}

/// A server in a process of its own.
struct Serving {
    process: Child,
    address: String,
    log: PathBuf,
}

impl Serving {
    fn start(folder: &Path, model: &str, arguments: &[&str]) -> Self {
        let log = folder.join(format!("{model}.log"));
        let mut process = Command::new(shipped("target/release/subrosa"))
            .args(["serve", "--listen", "127.0.0.1:0", "--model"])
            .arg(shipped(&format!("models/{model}.onnx")))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("//").next().unwrap().to_owned();
        assert!(!address.is_empty(), "{}", std::fs::read_to_string(&log).unwrap());
        Self { process, address, log }
    }

    /// Loads it for a while, tells it to end, and looks whether it kept its word. `check` gets one
    /// of the answers.
    fn load(mut self, name: &str, time: Duration, request: &[u8], check: impl FnOnce(&[u8])) {
        let mut wire = Wire::connect(&self.address).unwrap();
        let first = wire.ask(request).unwrap().unwrap();
        assert_eq!(first.status, 200, "{}", String::from_utf8_lossy(first.body));
        check(first.body);
        drop(wire);
        let start = Instant::now();
        let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (answers, warm, end) = std::thread::scope(|scope| {
            let ask = || client(&self.address, request, &over, &answered);
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
            std::thread::sleep(time / 5);
            while answered.load(Ordering::Relaxed) < 2 * CLIENTS {
                std::thread::sleep(Duration::from_millis(20));
            }
            let warm = self.memory();
            std::thread::sleep(time - time / 5);
            let end = self.memory();
            let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
            assert!(told.success());
            let ended = self.process.wait().unwrap();
            over.store(true, Ordering::Relaxed);
            assert!(
                ended.success(),
                "it did not answer all that it had accepted: {}",
                self.said("\"event\":\"ended\"")
            );
            let mut answers = Answers::from([(200, 1)]);
            for client in clients {
                client.join().unwrap().into_iter().for_each(|(status, n)| *answers.entry(status).or_default() += n);
            }
            (answers, warm, end)
        });
        let rate = answers[&200] as f64 / start.elapsed().as_secs_f64();
        println!("{name:<6}{rate:>8.0} images/s, memory {warm:.0} MB to {end:.0} MB, answers {answers:?}");
        assert!(answers.keys().all(|status| [200, 429, 503].contains(status)), "another status");
        assert!(end <= warm * GROWTH.0 + GROWTH.1, "memory grew");
        // A request that is refused at the door has no line.
        assert_eq!(self.logged(200), answers[&200], "an answer was lost");
        assert_eq!(self.logged(499), 0, "an answer was lost");
    }

    /// Resident, in MB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
    }

    /// Requests to compute that the log has with this status.
    fn logged(&self, status: u16) -> usize {
        let words = format!("\"status\":{status},");
        let log = BufReader::new(std::fs::File::open(&self.log).unwrap());
        log.lines().map(|line| line.unwrap()).filter(|line| line.contains("infer\"") && line.contains(&words)).count()
    }

    fn said(&self, words: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains(words)).collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks until the server closes the connection and `over` is said.
fn client(address: &str, request: &[u8], over: &AtomicBool, answered: &AtomicUsize) -> Answers {
    let mut answers = Answers::new();
    while !over.load(Ordering::Relaxed) {
        // Nobody listens any more: it ends.
        let Ok(mut wire) = Wire::connect(address) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        loop {
            let start = Instant::now();
            match wire.ask(request) {
                Ok(Some(answer)) => {
                    *answers.entry(answer.status).or_default() += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.status != 200 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                Ok(None) => break,
                // The rest of a refusal whose request was not read; a lost answer is missed at the end.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("after {:?}: {error}", start.elapsed()),
            }
        }
    }
    answers
}
