//! Encrypts two vectors, adds, multiplies and rotates them, and prints the decrypted slots
//! as JSON lines, for comparison with another library (`scripts/tenseal_compare.py`).
//!
//! `operations LOG_N PRIME,PRIME,... SPECIAL SCALE_BITS`; slot `i` of the vectors holds
//! `sin(i)` and `cos(3 i)`. The scale is the last prime for a product to come back to it.
#![expect(clippy::print_stdout, reason = "its result")]

use std::error::Error;
use subrosa_he::encoder::Encoder;
use subrosa_lattice::{Attacker, Ciphertext, EvaluationKeys, Params, ParamsLiteral, SecretKey};

struct Owner {
    params: Params,
    secret: SecretKey,
    encoder: Encoder,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [log_n, primes, special, scale_bits] = &arguments[..] else {
        return Err("LOG_N PRIME,PRIME,... SPECIAL SCALE_BITS".into());
    };
    let q = primes.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let literal =
        ParamsLiteral { log_n: log_n.parse()?, q, special: vec![special.parse()?], attacker: Attacker::Classical };
    let params = Params::new(literal)?;
    let scale = f64::from(scale_bits.parse::<u16>()?).exp2();
    let owner =
        Owner { secret: SecretKey::generate(&params)?, encoder: Encoder::new(params.n()), params: params.clone() };

    let level = params.levels();
    let rotate = owner.encoder.rotation(1);
    let mut keys = EvaluationKeys::new();
    keys.set_relinearisation(owner.secret.relinearisation_key(level)?);
    keys.insert(rotate, owner.secret.galois_key(rotate, level)?);

    let slots = owner.encoder.slots();
    let x: Vec<f64> = (0..slots).map(|i| (i as f64).sin()).collect();
    let y: Vec<f64> = (0..slots).map(|i| (3.0 * i as f64).cos()).collect();
    let (x, y) = (owner.encrypt(&x, scale)?, owner.encrypt(&y, scale)?);
    owner.print("fresh", &x, scale);
    let mut sum = x.clone();
    params.add(&mut sum.c0, &y.c0);
    params.add(&mut sum.c1, &y.c1);
    owner.print("sum", &sum, scale);
    owner.print("rotation", &params.automorphism(&x, rotate, &keys)?, scale);
    let mut product = params.relinearise(params.tensor(&x, &y), &keys)?;
    params.rescale(&mut product)?;
    owner.print("product", &product, scale * scale / params.modulus(level - 1).value() as f64);
    Ok(())
}

impl Owner {
    fn encrypt(&self, values: &[f64], scale: f64) -> Result<Ciphertext, Box<dyn Error>> {
        let message = self.encoder.encode(&self.params, values, scale, self.params.levels(), false)?;
        Ok(self.secret.encrypt(&message)?.into_expanded(&self.params))
    }

    fn print(&self, what: &str, c: &Ciphertext, scale: f64) {
        let mut message = self.secret.decrypt(c);
        self.params.inverse(&mut message);
        // Coefficients are below four times the scale, and so below half of the first prime.
        let first = self.params.modulus(0);
        let coefficients: Vec<f64> = message.row(0).iter().map(|&v| first.centred(v) as f64).collect();
        let slots = self.encoder.slots_of(&coefficients, scale);
        println!(r#"{{"operation":"{what}","slots":{slots:?}}}"#);
    }
}
