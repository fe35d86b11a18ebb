//! Times of the operations a circuit is made of, one JSON line each: the least and the
//! median of many runs, in microseconds, on one thread.
//!
//! The first line names the primes.
//!
//! `cargo run --release -p subrosa-lattice --example timings -- LOG_N BITS,BITS,... SPECIAL_BITS,...`
#![expect(clippy::print_stdout, reason = "its result")]

use std::time::Instant;
use subrosa_lattice::kernel::isa;
use subrosa_lattice::modulus::primes_below;
use subrosa_lattice::{
    Attacker, Ciphertext, Combination, Error, EvaluationKeys, Modulus, NttTable, Params, ParamsLiteral, SecretKey,
};

/// Runs until the fastest is not likely to get faster.
const RUNS: usize = 400;
/// Sums of many multiples, as a matrix needs them.
const OPERANDS: usize = 64;
const ROWS: usize = 6;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, otherwise: &str| arguments.get(i).cloned().unwrap_or_else(|| otherwise.to_owned());
    let list = |text: String| text.split(',').filter_map(|b| b.parse().ok()).collect::<Vec<u32>>();
    let log_n = argument(0, "13").parse().unwrap_or(13);
    let params = params(log_n, &list(argument(1, "48,48,48")), &list(argument(2, "48")))?;
    println!(r#"{{"primes":{:?},"special":{:?}}}"#, params.literal().q, params.literal().special);
    let secret = SecretKey::generate(&params)?;
    let level = params.levels();
    let mut keys = EvaluationKeys::new();
    keys.set_relinearisation(secret.relinearisation_key(level)?);
    keys.insert(5, secret.galois_key(5, level)?);
    let mut message = params.from_signed(&vec![3; params.n()], level, false);
    params.forward(&mut message);
    let fresh = secret.encrypt(&message)?;
    let c = fresh.expand(&params);

    transforms(&params)?;
    time(&params, "add", || {
        let mut sum = c.clone();
        params.add(&mut sum.c0, &c.c0);
        params.add(&mut sum.c1, &c.c1);
        Ok(sum)
    })?;
    time(&params, "multiply_plain", || {
        let part = |x| params.dot(level, false, &[(x, &message)]);
        Ok(Ciphertext { c0: part(&c.c0), c1: part(&c.c1) })
    })?;
    time(&params, "rescale", || {
        let mut c = c.clone();
        params.rescale(&mut c)?;
        Ok(c)
    })?;
    time(&params, "multiply_relinearise_rescale", || {
        let mut product = params.relinearise(params.tensor(&c, &c), &keys)?;
        params.rescale(&mut product)?;
        Ok(product)
    })?;
    time(&params, "rotation", || params.automorphism(&c, 5, &keys))?;
    let weights: Vec<Vec<i64>> = (0..ROWS).map(|r| (0..OPERANDS).map(|k| (r * k) as i64 - 99).collect()).collect();
    let groups = [Combination { columns: (0..OPERANDS).collect(), weights }];
    time(&params, "combine_64_operands_into_6", || Ok(params.combine(&[&c.c0; OPERANDS], &groups, level)))?;
    let digits = params.decompose(&c.c1);
    let key = keys.galois(5, level)?;
    time(&params, "rotation_hoisted", || Ok(params.mod_down_pair(params.automorphism_extended(&c, &digits, key))))?;
    time(&params, "rotation_double_hoisted", || Ok(params.automorphism_extended(&c, &digits, key)))?;
    time(&params, "encrypt_secret_key", || secret.encrypt(&message))?;
    let public = secret.public_key()?;
    time(&params, "encrypt_public_key", || public.encrypt(&params, &message))?;
    time(&params, "decrypt", || Ok(secret.decrypt(&c)))
}

fn params(log_n: u32, q_bits: &[u32], special_bits: &[u32]) -> Result<Params, Error> {
    let mut taken = Vec::new();
    let mut pick = |bits: &[u32]| -> Result<Vec<u64>, Error> {
        let from = taken.len();
        for &b in bits {
            taken.extend(primes_below(log_n, b, 1, &taken)?);
        }
        Ok(taken[from..].to_vec())
    };
    let (q, special) = (pick(q_bits)?, pick(special_bits)?);
    Params::new(ParamsLiteral { log_n, q, special, attacker: Attacker::Classical })
}

fn transforms(params: &Params) -> Result<(), Error> {
    let table = NttTable::new(Modulus::new(params.modulus(0).value())?, params.n())?;
    let mut x: Vec<u64> = (0..params.n() as u64).collect();
    time(params, "ntt", || {
        table.forward(&mut x);
        Ok(())
    })?;
    time(params, "ntt_inverse", || {
        table.inverse(&mut x);
        Ok(())
    })
}

fn time<T>(params: &Params, what: &str, mut run: impl FnMut() -> Result<T, Error>) -> Result<(), Error> {
    let mut micros = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        let result = run()?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
        drop(std::hint::black_box(result));
    }
    micros.sort_by(f64::total_cmp);
    let (least, median) = (micros[0], micros[RUNS / 2]);
    let (n, primes, special, path) = (params.n(), params.levels(), params.special(), isa().name());
    println!(
        r#"{{"library":"subrosa","isa":"{path}","n":{n},"primes":{primes},"special":{special},"operation":"{what}","least_us":{least:.1},"median_us":{median:.1}}}"#
    );
    Ok(())
}
