//! Trusted execution on one core: evidence verified; lenet computed directly, behind a server in
//! the clear, and behind the attested channel, over loopback HTTP in one process.
//!
//! `tee [--quick]`. There is no trusted hardware where this runs, so the channel's lines need the
//! feature `simulation`: `cargo bench -p subrosa-cli -p subrosa-bench --features
//! subrosa-bench/simulation --bench tee`. The channel's work is the same; memory encryption and the
//! cost of leaving an enclave are not measured.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its table, or fails")]

use std::path::{Path, PathBuf};
use std::time::Instant;
use subrosa_tee::{Stapled, authenticate};

fn main() {
    println!("one client, one thread a model, best and median of several runs");
    for (name, evidence, collateral, at) in [
        ("sgx", "dcap/sgx_quote", Some("dcap/sgx_quote_collateral.json"), 1_750_400_000),
        ("tdx 1.0", "dcap/tdx_quote", Some("dcap/tdx_quote_collateral.json"), 1_750_400_000),
        ("tdx 1.5", "dcap/tdx_quote_td15ex", Some("dcap/tdx_quote_td15ex_collateral.json"), 1_791_500_000),
        ("snp", "snp/report_milan.hex", Some("snp/vcek_milan.der"), 1_750_000_000),
        ("nitro", "nitro/document.cose", None, 1_736_179_625),
    ] {
        let read = |name: &str| std::fs::read(shipped("crates/tee/vectors").join(name)).unwrap();
        let stapled = Stapled::import(&read(evidence), collateral.map(read).as_deref(), None).unwrap();
        line(&format!("verify/{name}"), 200, || {
            authenticate(&stapled.evidence, &stapled.collateral, at).unwrap();
        });
    }
    #[cfg(feature = "simulation")]
    served::lines();
    #[cfg(not(feature = "simulation"))]
    println!("channel: not measured: this build has no simulation (--features subrosa-bench/simulation)");
}

fn shipped(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

/// Prints the least and the median time of `runs` runs, and gives them (milliseconds).
fn line(name: &str, runs: usize, mut work: impl FnMut()) -> (f64, f64) {
    let runs = if std::env::args().any(|a| a == "--quick") { runs.div_ceil(10) } else { runs };
    let mut times: Vec<f64> = (0..runs.max(3))
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[times.len() / 2]);
    println!("{name:<40} {best:>9.3} ms {median:>9.3} ms");
    (best, median)
}

#[cfg(feature = "simulation")]
mod served {
    use super::{line, shipped};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;
    use subrosa::attest::{self, Attester, Enclave, Expected, Inquiry, Trust};
    use subrosa::client::{Client, ServedModel, Way};
    use subrosa::oip::{InferRequest, Tensor};
    use subrosa::{Model, PlanOptions};
    use subrosa_serve::{Catalogue, Entry, Limits, Server};

    pub(super) fn lines() {
        let folder = std::env::temp_dir().join(format!("subrosa-bench-tee-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let trust = trust(&folder);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (plain, sealed) = (serve(&runtime, None), serve(&runtime, Some(&folder)));
        let (client, sealed_client) = (client(&plain), client(&sealed));
        let served = client.model("lenet", None).unwrap();
        let expected = Expected { model: "lenet".to_owned(), ..Expected::default() };
        let verified = || {
            let inquiry = Inquiry::fresh(&trust).unwrap();
            sealed_client.verify(inquiry, &expected, &trust).unwrap().1
        };
        line("serve/evidence asked for and verified", 50, || drop(verified()));
        let attested = Way::Attested(Box::new(verified()));
        for (batch, runs) in [(1, 1000), (128, 200)] {
            let request = request(&served, batch);
            let model = Model::open(shipped("models/lenet.onnx")).unwrap();
            let options = PlanOptions { batch, ..PlanOptions::default() };
            let mut session = model.plan(&options).unwrap().open().unwrap();
            let inputs = vec![request.inputs[0].values.clone()];
            line(&format!("lenet/{batch}/direct"), runs, || drop(session.run(&inputs).unwrap()));
            let ask = |client: &Client, way: &Way| drop(client.infer(&served, way, &request).unwrap());
            // Turn and turn about, so that both meet the same machine.
            let (mut clear, mut hidden) = (Vec::new(), Vec::new());
            for _ in 0..5 {
                clear.push(line(&format!("lenet/{batch}/served"), runs / 5, || ask(&client, &Way::Plain)));
                hidden.push(line(&format!("lenet/{batch}/attested"), runs / 5, || ask(&sealed_client, &attested)));
            }
            let least = |times: &[(f64, f64)]| times.iter().map(|t| t.1).fold(f64::MAX, f64::min);
            let (clear, hidden) = (least(&clear), least(&hidden));
            let (ms, share) = (hidden - clear, (hidden / clear - 1.0) * 100.0);
            println!("lenet/{batch}: the channel adds {ms:.3} ms, {share:.1} % (least of 5 medians)");
        }
        let _ = std::fs::remove_dir_all(&folder);
    }

    fn trust(folder: &Path) -> Trust {
        let at = |name: &str| folder.join(name);
        std::fs::write(at("simulator.key"), [9; 32]).unwrap();
        std::fs::write(at("owner.key"), [5; 32]).unwrap();
        let simulator = attest::simulator_public_key(&at("simulator.key")).unwrap();
        let policy = format!(
            "version = 1\nname = \"bench\"\nserial = 1\nallow_simulated = true\nsimulators = [\"{simulator}\"]\n"
        );
        std::fs::write(at("policy.toml"), policy).unwrap();
        let signer = attest::sign_policy(&at("policy.toml"), &at("owner.key"), &at("signed.toml")).unwrap();
        Trust::read(&at("signed.toml"), &[signer], 0, true).unwrap()
    }

    /// A server of lenet that lives as long as the process, and its URL.
    fn serve(runtime: &tokio::runtime::Runtime, simulator: Option<&Path>) -> String {
        let attester = simulator.map(|folder| Attester::simulated(&folder.join("simulator.key")).unwrap());
        let mut catalogue = Catalogue::new(attester.map(|a| Enclave::start(Arc::new(a), "bench").unwrap()));
        let model = Model::open(shipped("models/lenet.onnx")).unwrap();
        let limits = Limits::default();
        catalogue
            .add(Entry { model, name: "lenet".to_owned(), version: 1, policy: None, plans: Vec::new() }, 1, &limits)
            .unwrap();
        let server = runtime.block_on(Server::bind(catalogue, limits, "127.0.0.1:0", None)).unwrap();
        let url = format!("http://{}", server.address().unwrap());
        runtime.spawn(server.run(std::future::pending()));
        url
    }

    fn client(url: &str) -> Client {
        Client::new(url, None, Duration::from_secs(60)).unwrap()
    }

    fn request(served: &ServedModel, batch: usize) -> InferRequest {
        let port = &served.inputs[0];
        let values = (0..batch * port.sample_len()).map(|i| (i % 97) as f32 / 97.0).collect();
        let shape = [&[batch], &port.shape[1..]].concat();
        let inputs = vec![Tensor { name: port.name.clone(), shape, values }];
        InferRequest { inputs, binary: true, ..InferRequest::default() }
    }
}
