//! Homomorphic encryption on one core: transforms, operations, whole models.
//! `ckks [--quick] [WORD...]` runs the lines whose name contains every word.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its table, or fails")]

use std::time::Instant;
use subrosa_graph::Model;
use subrosa_he::circuit::Circuit;
use subrosa_he::{Client, Plan, PlanOptions, Server};
use subrosa_lattice::coefficients::MatrixPacking;
use subrosa_lattice::modulus::primes_below;
use subrosa_lattice::{Attacker, EvaluationKeys, Modulus, NttTable, Params, ParamsLiteral, SecretKey, kernel};

fn main() {
    println!("kernels {}, one thread unless stated, best of several runs", kernel::isa().name());
    for log_n in [12, 13, 14, 15] {
        transform(log_n);
    }
    for (log_n, primes, bits) in [(13, 3, 48), (13, 4, 42), (14, 7, 48)] {
        operations(log_n, primes, bits);
    }
    matrix(128, 784, 37);
    for model in ["mlp_square", "cnn_square"] {
        latency(model);
    }
    for model in ["mlp_square", "cnn_square"] {
        throughput(model);
    }
    if !quick() {
        throughput("lenet_square");
        latency("lenet_square");
        latency("lenet5_square");
        latency("lenet5");
    }
}

fn quick() -> bool {
    std::env::args().any(|a| a == "--quick")
}

/// Whether the arguments ask for a line of this name.
fn wanted(name: &str) -> bool {
    std::env::args().skip(1).filter(|a| !a.starts_with('-')).all(|word| name.contains(&word))
}

/// Prints the least time of `runs` runs.
fn line(name: &str, runs: usize, mut work: impl FnMut()) {
    if !wanted(name) {
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..if quick() { runs.div_ceil(10) } else { runs } {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<52} {:>12.1} us", best * 1e6);
}

fn transform(log_n: u32) {
    let p = primes_below(log_n, 48, 1, &[]).unwrap()[0];
    let table = NttTable::new(Modulus::new(p).unwrap(), 1 << log_n).unwrap();
    let n = 1 << log_n;
    // Any polynomial's memory is aligned; a plain vector's is not.
    let params = ParamsLiteral {
        log_n,
        q: primes_below(log_n, 48, 1, &[]).unwrap(),
        special: primes_below(log_n, 40, 1, &[]).unwrap(),
        attacker: Attacker::Classical,
    };
    let mut x = Params::new(params).unwrap().zero(1, false);
    line(&format!("ntt/forward/n{n}"), 3000, || table.forward(x.row_mut(0)));
    line(&format!("ntt/inverse/n{n}"), 3000, || table.inverse(x.row_mut(0)));
}

fn operations(log_n: u32, level: usize, bits: u32) {
    let primes = primes_below(log_n, bits, level + 1, &[]).unwrap();
    let (q, special) = (primes[..level].to_vec(), primes[level..].to_vec());
    let params = Params::new(ParamsLiteral { log_n, q, special, attacker: Attacker::Classical }).unwrap();
    let secret = SecretKey::generate(&params).unwrap();
    let mut keys = EvaluationKeys::new();
    keys.set_relinearisation(secret.relinearisation_key(level).unwrap());
    keys.insert(5, secret.galois_key(5, level).unwrap());
    let mut message = params.from_signed(&vec![1 << 20; params.n()], level, false);
    params.forward(&mut message);
    let c = secret.encrypt(&message).unwrap().expand(&params);
    let name = |what: &str| format!("op/{what}/n{}/{level}+1x{bits}", params.n());
    line(&name("multiply-relinearise-rescale"), 200, || {
        let mut product = params.relinearise(params.tensor(&c, &c), &keys).unwrap();
        params.rescale(&mut product).unwrap();
    });
    line(&name("rotate"), 200, || drop(params.automorphism(&c, 5, &keys).unwrap()));
    let digits = params.decompose(&c.c1);
    let key = keys.galois(5, level).unwrap();
    line(&name("rotate-double-hoisted"), 200, || drop(params.automorphism_extended(&c, &digits, key)));
    line(&name("decompose"), 200, || drop(params.decompose(&c.c1)));
    line(&name("rescale"), 200, || params.rescale(&mut c.clone()).unwrap());
    line(&name("encrypt"), 100, || drop(secret.encrypt(&message).unwrap()));
    line(&name("decrypt"), 100, || drop(secret.decrypt(&c)));
}

/// A matrix of 12-bit weights times a vector of integers, N = 4096, 109 bits of modulus.
fn matrix(rows: usize, cols: usize, bits: u32) {
    let (q, special) = (primes_below(12, 44, 2, &[]).unwrap(), primes_below(12, 18, 1, &[]).unwrap());
    let params = Params::new(ParamsLiteral { log_n: 12, q, special, attacker: Attacker::Classical }).unwrap();
    let secret = SecretKey::generate(&params).unwrap();
    let packing = MatrixPacking::new(params.n(), rows, cols).unwrap();
    let weights: Vec<i64> = (0..rows * cols).map(|i| (i * 37 % 4096) as i64 - 2048).collect();
    let vector = packing.vector(&(0..cols as u64).collect::<Vec<_>>()).unwrap();
    let encrypt = |x: &Vec<u64>| secret.encrypt(&params.encode_integers(x, bits, 2)).unwrap().expand(&params);
    let x: Vec<_> = vector.iter().map(encrypt).collect();
    let packed = packing.matrix(&params, &weights, 2).unwrap();
    let name = |what: &str| {
        format!("coefficients/{what}/{rows}x{cols}/{bits} bits, {} in, {} out", packing.inputs(), packing.outputs())
    };
    line(&name("pack-weights"), 20, || drop(packing.matrix(&params, &weights, 2).unwrap()));
    line(&name("multiply"), 200, || drop(packed.times(&params, &x, bits).unwrap()));
    let product = packed.times(&params, &x, bits).unwrap();
    line(&name("decrypt"), 50, || product.iter().for_each(|c| drop(params.decode_integers(secret.decrypt(c), bits))));
}

fn path(name: &str) -> String {
    format!("{}/../../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"))
}

fn circuit(name: &str) -> (Circuit, PlanOptions, Vec<f32>) {
    let model = Model::from_bytes(&std::fs::read(path(name)).unwrap()).unwrap();
    let circuit = Circuit::import(model.graph()).unwrap();
    let pixels: Vec<f32> = (0..784 * 64).map(|i| ((i * 37 % 101) as f32 / 101.0 - 0.6).max(0.0)).collect();
    let samples = pixels.chunks(784).map(|d| d.iter().map(|&v| f64::from(v)).collect()).collect();
    let options = PlanOptions { input_range: (0.0, 1.0), samples, model: name.to_owned(), ..PlanOptions::default() };
    (circuit.approximated(&options.samples).unwrap().circuit, options, pixels)
}

/// Best time in the clear (seconds a sample), one thread, `batch` at once.
fn plain(name: &str, pixels: &[f32], batch: usize) -> f64 {
    let model = Model::from_bytes(&std::fs::read(path(name)).unwrap()).unwrap();
    let runner = model.plain(batch).unwrap();
    let input: Vec<f32> = pixels.iter().copied().cycle().take(784 * batch).collect();
    let run = || {
        let start = Instant::now();
        drop(runner.run(&[&input]).unwrap());
        start.elapsed().as_secs_f64()
    };
    (0..20).map(|_| run()).fold(f64::MAX, f64::min) / batch as f64
}

/// Time of an evaluation, a sample, with one thread and with two.
fn evaluation(whole: &str, server: &mut Server, plain: f64, samples: usize, mut evaluate: impl FnMut(&Server) -> f64) {
    let mut single = None;
    for threads in [1, 2] {
        server.set_threads(threads).unwrap();
        let runs = if quick() { 1 } else { 3 };
        let best = (0..runs).map(|_| evaluate(server)).fold(f64::MAX, f64::min) / samples as f64;
        let gain = *single.get_or_insert(best) / best;
        println!(
            "{:<52} {:>12.1} us a sample, {samples} at once, {threads} threads: x{gain:.2}; {:.0} times plain",
            format!("{whole}/evaluate"),
            best * 1e6,
            best / plain
        );
    }
}

fn latency(name: &str) {
    let whole = format!("model/latency/{name}");
    if !wanted(&whole) {
        return;
    }
    let (circuit, options, pixels) = circuit(name);
    let plan = Plan::latency(&circuit, &options).unwrap();
    let client = Client::new(plan.public.clone()).unwrap();
    let keys = client.evaluation_keys().unwrap();
    let mut server = Server::new(&plan).unwrap();
    let input = client.encrypt(&pixels[..784]).unwrap();
    line(&format!("{whole}/encrypt"), 20, || drop(client.encrypt(&pixels[..784]).unwrap()));
    evaluation(&whole, &mut server, plain(name, &pixels, 1), 1, |server| {
        let input = input.clone();
        let start = Instant::now();
        drop(server.evaluate(&keys, input).unwrap());
        start.elapsed().as_secs_f64()
    });
    let answer = server.evaluate(&keys, input).unwrap();
    line(&format!("{whole}/decrypt"), 20, || drop(client.decrypt(&answer).unwrap()));
    println!(
        "{:<52} {:>12.1} kB up, {:.1} kB down, keys {:.1} MB",
        format!("{whole}/bytes"),
        plan.public.upload_bytes() as f64 / 1e3,
        plan.public.answer_bytes() as f64 / 1e3,
        plan.public.key_bytes() as f64 / 1e6
    );
}

fn throughput(name: &str) {
    let whole = format!("model/throughput/{name}");
    if !wanted(&whole) {
        return;
    }
    let (circuit, options, pixels) = circuit(name);
    let plan = Plan::throughput(&circuit, &options).unwrap();
    let batch = plan.public.batch();
    let client = Client::new(plan.public.clone()).unwrap();
    let keys = client.evaluation_keys().unwrap();
    let mut server = Server::new(&plan).unwrap();
    let many: Vec<f32> = pixels.iter().copied().cycle().take(784 * batch).collect();
    evaluation(&whole, &mut server, plain(name, &pixels, 128), batch, |server| {
        let input = client.encrypt(&many).unwrap();
        let start = Instant::now();
        drop(server.evaluate(&keys, input).unwrap());
        start.elapsed().as_secs_f64()
    });
}
