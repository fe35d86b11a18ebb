//! A protocol between three processes over mutual TLS on the loopback interface, beside plain in
//! the same run: `parties [--via=rep3|fss] [--quick] [--json] [--network=SHAPE] [--soak=SECONDS] [WORD...]`,
//! `rep3` unless another is named. The third process is `fss`'s dealer.
//!
//! Each party is a process of its own (this program, started again), with one thread; they
//! share this machine's cores with one another and with the client. Online is from sharing
//! the input to reading the output, at the client; offline is the preprocessing, made
//! afresh for every batch. Medians; plain is tract on one thread.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use serde_json::json;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use subrosa::deploy::{Cluster, ClusterConfig, Identity, OpenOptions, PartyOptions, PartyServer, Remote, Validity};
use subrosa::{InputSpec, Model, Network, Plan, PlanOptions, Via};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MODELS: [&str; 4] = ["mlp", "cnn", "lenet", "lenet5"];
const BATCHES: [usize; 2] = [1, 128];
const PARTIES: [&str; 3] = ["hospital", "vendor", "regulator"];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, folder, ..] = args.as_slice()
        && flag == "--be-party"
    {
        return be_party(name, Path::new(folder));
    }
    let value = |name: &str| args.iter().find_map(|a| a.strip_prefix(name)).map(str::to_owned);
    let network: Option<Network> = value("--network=").map(|n| n.parse()).transpose()?;
    let bench = Bench {
        effort: if args.iter().any(|a| a == "--quick") { Duration::from_millis(200) } else { Duration::from_secs(3) },
        json: args.iter().any(|a| a == "--json"),
        network,
        via: value("--via=").map_or(Ok(Via::Rep3), |via| via.parse())?,
    };
    let words: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    bench.head();
    for name in MODELS.into_iter().filter(|m| words.is_empty() || words.iter().any(|w| w == m)) {
        match value("--soak=") {
            Some(seconds) => bench.soak(name, Duration::from_secs(seconds.parse()?))?,
            None => BATCHES.into_iter().try_for_each(|batch| bench.line(name, batch))?,
        }
    }
    Ok(())
}

struct Bench {
    effort: Duration,
    json: bool,
    network: Option<Network>,
    via: Via,
}

impl Bench {
    fn head(&self) {
        let machine = subrosa::machine::machine();
        if self.json {
            let (command, date) = ("cargo bench -p subrosa-bench --bench parties", subrosa::report_html::utc_now());
            let head = json!({
                "cpu": machine.cpu, "cores": machine.cores, "isa": machine.isa, "command": command, "date": date,
            });
            println!("{head}");
            return;
        }
        let network = self.network.map_or_else(|| "not shaped".to_owned(), |n| n.to_string());
        println!("{}, {} cores, kernels {}", machine.cpu, machine.cores, machine.isa);
        println!(
            "{}: three processes, one thread each, mutual TLS 1.3 on loopback, {network}; semi-honest, 128 bit",
            self.via
        );
        println!(
            "{:<8}{:>6}{:>10}{:>10}{:>10}{:>9}{:>9}{:>8}{:>12}{:>11}{:>9}",
            "model",
            "batch",
            "plain ms",
            "online",
            "offline",
            "x online",
            "x both",
            "rounds",
            "kB/img on",
            "kB/img off",
            "peak MB"
        );
    }

    fn line(&self, name: &str, batch: usize) -> Result<()> {
        let plain = self.plain(name, batch)?;
        let (mut parties, cluster) = start(self.via)?;
        let mut remote = self.open(&cluster, name, batch)?;
        let input = images(batch)?;
        let (mut online, mut offline) = (Vec::new(), Vec::new());
        let mut last = None;
        remote.run_watched(&input, &mut |_, _| ())?;
        let start = Instant::now();
        while online.len() < 3 || start.elapsed() < self.effort {
            let output = remote.run_watched(&input, &mut |_, _| ())?;
            let record = output.batches.first().copied().ok_or("no batch")?;
            online.push(record.online.ms);
            offline.push(record.offline.ms);
            last = Some(record);
        }
        let record = last.ok_or("no batch")?;
        let (online, offline) = (median(online), median(offline));
        let peak = remote.peak_bytes() as f64 / 1e6;
        drop(remote);
        parties.iter_mut().for_each(stop);
        let per_image = |bytes: u64| bytes as f64 / batch as f64 / 1e3;
        let (on, off) = (per_image(record.online.cost.bytes), per_image(record.offline.cost.bytes));
        let rounds = record.online.cost.rounds;
        if self.json {
            let row = json!({
                "model": name, "via": self.via, "batch": batch, "plain_ms": plain, "online_ms": online, "offline_ms": offline,
                "rounds": rounds, "online_kb_per_image": on, "offline_kb_per_image": off, "peak_mb": peak,
                "network": self.network.map(|n| n.to_string()),
            });
            println!("{row}");
        } else {
            println!(
                "{name:<8}{batch:>6}{plain:>10.3}{online:>10.2}{offline:>10.2}{:>9.1}{:>9.1}{rounds:>8}{on:>12.1}{off:>11.1}{peak:>9.0}",
                online / plain,
                (online + offline) / plain
            );
        }
        Ok(())
    }

    /// The same batch again and again, with a line for each tenth of the time.
    fn soak(&self, name: &str, time: Duration) -> Result<()> {
        let batch = 128;
        let (mut parties, cluster) = start(self.via)?;
        let mut remote = self.open(&cluster, name, batch)?;
        let input = images(batch)?;
        for part in 1..=10 {
            let (start, mut count) = (Instant::now(), 0);
            while start.elapsed() < time / 10 {
                remote.run_watched(&input, &mut |_, _| ())?;
                count += batch;
            }
            let rate = count as f64 / start.elapsed().as_secs_f64();
            println!(
                "{name} soak {part}/10: {rate:.0} images/s, largest party {:.0} MB",
                remote.peak_bytes() as f64 / 1e6
            );
        }
        drop(remote);
        parties.iter_mut().for_each(stop);
        Ok(())
    }

    fn open(&self, cluster: &Cluster, name: &str, batch: usize) -> Result<Remote> {
        let options = OpenOptions { batch, network: self.network, ..OpenOptions::default() };
        cluster.provision(&plan(name, self.via, batch)?, name)?;
        Ok(cluster.open(name, None, &options)?)
    }

    fn plain(&self, name: &str, batch: usize) -> Result<f64> {
        let mut session = plan(name, Via::Plain, batch)?.open()?;
        let input = images(batch)?;
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < 5 || start.elapsed() < self.effort / 4 {
            let output = session.run(&input)?;
            times.extend(output.batches.iter().map(subrosa::output::Batch::ms));
        }
        Ok(median(times))
    }
}

fn plan(name: &str, via: Via, batch: usize) -> Result<Plan> {
    let model = Model::open(format!("{}/../../models/{name}.onnx", env!("CARGO_MANIFEST_DIR")))?;
    let input = InputSpec::given(0.0, 1.0)?;
    Ok(model.plan(&PlanOptions { via, batch, input, ..PlanOptions::default() })?)
}

/// The first images of the test set.
fn images(batch: usize) -> Result<Vec<Vec<f32>>> {
    let data = format!("{}/../../data/mnist/t10k-images-idx3-ubyte.gz", env!("CARGO_MANIFEST_DIR"));
    let model = Model::open(format!("{}/../../models/mlp.onnx", env!("CARGO_MANIFEST_DIR")))?;
    let mut samples = subrosa::Dataset::read(data)?.fit(model.inputs())?;
    samples.keep(batch);
    Ok(samples.inputs)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Three fresh parties and a client.
fn start(via: Via) -> Result<(Vec<Child>, Cluster)> {
    let folder = std::env::temp_dir().join(format!("subrosa-bench-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let mut config = format!("backend = \"{via}\"\n");
    let listeners = PARTIES.map(|_| std::net::TcpListener::bind("127.0.0.1:0"));
    for (name, listener) in PARTIES.iter().zip(listeners) {
        let identity = Identity::create(name, Validity::days(1))?;
        identity.save(&folder.join(name), false)?;
        let (address, print) = (listener?.local_addr()?, identity.fingerprint());
        config += &format!("[[party]]\nname = \"{name}\"\naddress = \"{address}\"\nfingerprint = \"{print}\"\n");
    }
    let client = Identity::create("clinic", Validity::days(1))?;
    let roles = "[\"model-owner\", \"data-owner\", \"receiver\"]";
    config += &format!("[[client]]\nname = \"clinic\"\nroles = {roles}\nfingerprint = \"{}\"\n", client.fingerprint());
    std::fs::write(folder.join("subrosa.toml"), &config)?;
    let me = std::env::current_exe()?;
    let mut parties = Vec::new();
    for name in PARTIES {
        let mut child = Command::new(&me).args(["--be-party", name]).arg(&folder).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        parties.push(child);
    }
    Ok((parties, Cluster::new(ClusterConfig::parse(&config)?, client)?))
}

fn stop(party: &mut Child) {
    let _ = party.kill();
    let _ = party.wait();
}

fn be_party(name: &str, folder: &Path) -> Result<()> {
    let config = ClusterConfig::read(folder.join("subrosa.toml"))?;
    let options = PartyOptions {
        listen: None,
        state: folder.join(format!("{name}-state")),
        store_key: None,
        keys: None,
        threads: 1,
        traces: None,
        log: Box::new(|_| ()),
    };
    let server = PartyServer::bind(config, Identity::load(&folder.join(name))?, options)?;
    println!("{} listens", server.name());
    Ok(server.run()?)
}
