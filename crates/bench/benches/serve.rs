//! What a server adds to a model: mlp in the clear over loopback HTTP, one image a request, beside
//! the same model in the client's process, in one run: `serve [--quick]`.
//!
//! The server is in this process, with a thread for the model and tokio's for connections; its log
//! goes to standard error, so send that to a file. First one client on a connection that is kept,
//! in turn with the model alone, so that both meet the same machine; then many clients at once,
//! with and without computing together what waits together.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its table, or fails")]

mod wire;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use subrosa::{Dataset, Model, PlanOptions};
use subrosa_serve::{ApiKeys, Catalogue, Entry, Limits, NewKey, Server};
use wire::Wire;

/// A way to ask, and what asks once.
type Way = (&'static str, Box<dyn FnMut()>);

fn main() {
    let quick = std::env::args().any(|a| a == "--quick");
    let machine = subrosa::machine::machine();
    println!("{}, {} cores; mlp, one thread; loopback, connections kept", machine.cpu, machine.cores);
    let images = images();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    alone(&runtime, &images, if quick { 50 } else { 2000 });
    let time = if quick { Duration::from_millis(300) } else { Duration::from_secs(5) };
    for name in ["mlp", "lenet"] {
        for clients in [4, 64] {
            let [single, batched] = [1, 32].map(|batch| together(&runtime, name, &images, clients, batch, time));
            println!(
                "{name:<6}{clients:>3} clients: {single:>8.0} images/s one at a time, {batched:>8.0} in batches of up to 32"
            );
        }
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

fn mlp() -> Model {
    model("mlp")
}

fn model(name: &str) -> Model {
    Model::open(shipped(&format!("models/{name}.onnx"))).unwrap()
}

fn images() -> Vec<f32> {
    let mut samples =
        Dataset::read(shipped("data/mnist/t10k-images-idx3-ubyte.gz")).unwrap().fit(mlp().inputs()).unwrap();
    samples.keep(64);
    samples.inputs.remove(0)
}

/// A server that lives as long as the runtime, and its address.
fn serve(runtime: &tokio::runtime::Runtime, name: &str, limits: Limits, keys: Option<ApiKeys>) -> String {
    let mut catalogue = Catalogue::new(None);
    let entry = Entry { model: model(name), name: name.to_owned(), version: 1, policy: None, plans: Vec::new() };
    catalogue.add(entry, 1, &limits).unwrap();
    let server = runtime.block_on(Server::bind(catalogue, limits, "127.0.0.1:0", None)).unwrap();
    let address = server.address().unwrap().to_string();
    let server = match keys {
        Some(keys) => server.only_for(keys),
        None => server,
    };
    runtime.spawn(server.run(std::future::pending()));
    address
}

/// Each way in turn, `rounds` times, twenty requests at a time; medians.
fn alone(runtime: &tokio::runtime::Runtime, images: &[f32], rounds: usize) {
    let key = NewKey::make("bench").unwrap();
    let file = std::env::temp_dir().join(format!("subrosa-bench-serve-{}", std::process::id()));
    std::fs::write(&file, &key.line).unwrap();
    let keys = ApiKeys::read(&file, Some(1e6)).unwrap();
    std::fs::remove_file(&file).unwrap();
    let open = serve(runtime, "mlp", Limits::default(), None);
    let keyed = serve(runtime, "mlp", Limits::default(), Some(keys));
    let (image, authorization) = (&images[..784], format!("authorization: Bearer {}\r\n", key.key));
    let (name, shape) = (mlp().inputs()[0].name.clone(), mlp().inputs()[0].shape.clone());
    let mut session = mlp().plan(&PlanOptions::default()).unwrap().open().unwrap();
    let input = vec![image.to_vec()];
    let mut ways: Vec<Way> = vec![("in this process", Box::new(move || drop(session.run(&input).unwrap())))];
    for (way, address, request) in [
        ("HTTP, binary tensors", &open, wire::binary("mlp", &name, &shape, image, "")),
        ("HTTP, JSON", &open, wire::json("mlp", &name, &shape, image, "")),
        ("HTTP, binary tensors, API key", &keyed, wire::binary("mlp", &name, &shape, image, &authorization)),
    ] {
        let mut wire = Wire::connect(address).unwrap();
        let ask = move || {
            let answer = wire.ask(&request).unwrap().unwrap();
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.body));
        };
        ways.push((way, Box::new(ask)));
    }
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for ((_, ask), times) in ways.iter_mut().zip(&mut times) {
            for _ in 0..20 {
                let start = Instant::now();
                ask();
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    println!("{:<32}{:>10}{:>10}{:>12}", "one request", "p50 ms", "p95 ms", "p50 more ms");
    let mut least = None;
    for ((way, _), mut times) in ways.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let (p50, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
        let direct = *least.get_or_insert(p50);
        println!("{way:<32}{p50:>10.4}{p95:>10.4}{:>12.4}", p50 - direct);
    }
}

/// Images a second of so many clients, each with one request at a time.
fn together(
    runtime: &tokio::runtime::Runtime,
    name: &str,
    images: &[f32],
    clients: usize,
    batch: usize,
    time: Duration,
) -> f64 {
    let address = serve(runtime, name, Limits { batch, ..Limits::default() }, None);
    let (input, shape) = (model(name).inputs()[0].name.clone(), model(name).inputs()[0].shape.clone());
    let start = Instant::now();
    let done: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let image = &images[784 * (client % 64)..][..784];
                let request = wire::binary(name, &input, &shape, image, "");
                let address = &address;
                scope.spawn(move || {
                    let mut wire = Wire::connect(address).unwrap();
                    let mut done = 0;
                    while start.elapsed() < time {
                        done += usize::from(wire.ask(&request).unwrap().unwrap().status == 200);
                    }
                    done
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    done as f64 / start.elapsed().as_secs_f64()
}
