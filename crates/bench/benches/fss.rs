//! Comparison keys of `fss`, one thread: `fss [--quick]`. Dealing and evaluating 1,024 of them again and again, the
//! best of many times; keys are in the cache. "relu" keys carry three numbers, "sign" keys one.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::time::{Duration, Instant};
use subrosa_core::Seed;
use subrosa_mpc::fss::{FIELDS, Form, Hash, Keys, Secrets, Trees};
use subrosa_ring::{isa, mask};

const N: usize = 1 << 10;

fn main() {
    let effort = Duration::from_millis(if std::env::args().any(|a| a == "--quick") { 20 } else { 1000 });
    println!("{}, kernels {}; AES-128 of the crate aes, 128-bit seeds", subrosa::machine::machine().cpu, isa());
    println!("{:<8}{:>6}{:>8}{:>10}{:>14}{:>14}", "gate", "ring", "bits", "bytes", "M dealt/s", "M evals/s");
    for (name, ring, width) in
        [("relu", 48, 32), ("relu", 32, 32), ("relu", 48, 21), ("sign", 48, 32), ("relu", 64, 64)]
    {
        let form = if name == "relu" { Form::triple(width - 1, ring) } else { Form::bit(width - 1, ring) };
        let (deal, eval) = rates(form, width - 1, effort);
        let bytes = 8 * form.words() + 16;
        println!("{name:<8}{ring:>6}{width:>8}{bytes:>10}{deal:>14.2}{eval:>14.2}");
    }
}

/// Millions a second.
fn rates(form: Form, bits: u32, effort: Duration) -> (f64, f64) {
    let mut prg = Seed::from_bytes([1; 32]).stream("bench");
    let hash = Hash::new([2; 16]);
    let roots = [0, 1].map(|_| prg.u64s(2 * N).as_chunks().0.to_vec());
    let mut numbers = || prg.u64s(N).into_iter().map(|x| x & mask(bits)).collect::<Vec<u64>>();
    let (alpha, x) = (numbers(), numbers());
    let beta = [0; FIELDS].map(|_| numbers());
    let trees = Trees { hash: &hash, form, first: 0 };
    let mut words = vec![0; N * form.words()];
    let roots_of = roots.each_ref().map(Vec::as_slice);
    let beta_of = beta.each_ref().map(Vec::as_slice);
    let deal =
        best(effort, || trees.deal(isa(), Secrets { roots: roots_of, alpha: &alpha, beta: beta_of }, &mut words));
    let mut out = [0; FIELDS].map(|_| vec![0; N]);
    let keys = Keys { party: 1, roots: roots_of[1], words: &words };
    let eval = best(effort, || {
        let [p, q, c] = &mut out;
        trees.eval(isa(), keys, &x, [p, q, c]);
    });
    (N as f64 / deal / 1e6, N as f64 / eval / 1e6)
}

fn best(effort: Duration, mut work: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < effort {
        let once = Instant::now();
        work();
        best = best.min(once.elapsed().as_secs_f64());
    }
    best
}
