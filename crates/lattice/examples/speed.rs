use std::time::Instant;
use subrosa_lattice::modulus::primes_below;
use subrosa_lattice::*;
fn best(mut f: impl FnMut(), n: usize) -> f64 {
    let mut b = f64::MAX;
    for _ in 0..n {
        let t = Instant::now();
        f();
        b = b.min(t.elapsed().as_secs_f64() * 1e6);
    }
    b
}
fn main() {
    for log_n in [12u32, 13, 14] {
        let p = primes_below(log_n, 48, 1, &[]).unwrap()[0];
        let t = NttTable::new(Modulus::new(p).unwrap(), 1 << log_n).unwrap();
        let v: Vec<[u64; 8]> = vec![[5; 8]; (1 << log_n) / 8];
        let mut x = v.as_flattened().to_vec();
        println!(
            "ntt {log_n}: {:.2} us  inv {:.2}",
            best(|| t.forward(&mut x), 2000),
            best(|| t.inverse(&mut x), 2000)
        );
    }
    for (log_n, l, bits) in [(13u32, 3usize, 48u32), (13, 4, 43), (14, 7, 48)] {
        let q = primes_below(log_n, bits, l + 1, &[]).unwrap();
        let params = Params::new(ParamsLiteral {
            log_n,
            q: q[..l].to_vec(),
            special: q[l..].to_vec(),
            attacker: Attacker::Classical,
        })
        .unwrap();
        let key = SecretKey::generate(&params).unwrap();
        let mut keys = EvaluationKeys::new();
        let t = Instant::now();
        keys.set_relinearisation(key.relinearisation_key(l).unwrap());
        println!("keygen {:.2} ms", t.elapsed().as_secs_f64() * 1e3);
        keys.insert(5, key.galois_key(5, l).unwrap());
        let mut m = params.from_signed(&vec![1000; params.n()], l, false);
        params.forward(&mut m);
        let c = key.encrypt(&m).unwrap().expand(&params);
        println!(
            "{log_n} {l}+1: mul+relin+rescale {:.0} us",
            best(
                || {
                    let mut c = params.relinearise(params.tensor(&c, &c), &keys).unwrap();
                    params.rescale(&mut c).unwrap();
                },
                200
            )
        );
        println!(
            "  rotation {:.0} us, tensor {:.0}, decompose {:.0}, switch {:.0}, rescale {:.0}",
            best(
                || {
                    params.automorphism(&c, 5, &keys).unwrap();
                },
                200
            ),
            best(
                || {
                    params.tensor(&c, &c);
                },
                200
            ),
            best(
                || {
                    params.decompose(&c.c1);
                },
                200
            ),
            {
                let d = params.decompose(&c.c1);
                best(
                    || {
                        params.switch(&d, keys.relinearisation(l).unwrap());
                    },
                    200,
                )
            },
            best(
                || {
                    let mut c = c.clone();
                    params.rescale(&mut c).unwrap();
                },
                200
            )
        );
        println!(
            "  encrypt {:.0} us decrypt {:.0}",
            best(
                || {
                    key.encrypt(&m).unwrap();
                },
                100
            ),
            best(
                || {
                    key.decrypt(&c);
                },
                100
            )
        );
    }
}
