//! Digests of the bytes of everything that travels, from fixed seeds.
//!
//! **Origin:** computed by this crate on 2026-11-23, on the portable, AVX2 and AVX-512 paths
//! alike. They do not show that the scheme is right (`noise`, `exact` and
//! `tests/transform.rs` do); they show that neither it nor its wire format has changed. A
//! change of either needs a new version in `subrosa_he::files`.

use super::{message, params, seed};
use crate::wire::{Reader, Writer};
use crate::{EvaluationKeys, Params, SecretKey};

struct Owner {
    params: Params,
    secret: SecretKey,
}

fn owner() -> Owner {
    let params = params(12, &[36, 30], &[38]);
    let secret = SecretKey::from_stream(&params, &mut seed(1, 1).stream("secret key"));
    Owner { params, secret }
}

impl Owner {
    fn digest(&self, write: impl FnOnce(&Params, &mut Writer)) -> String {
        let mut w = Writer::new();
        write(&self.params, &mut w);
        let hex = blake3::hash(&w.into_bytes()).to_hex();
        hex[..32].to_owned()
    }
}

#[test]
fn parameters_keep_their_name() {
    let o = owner();
    assert_eq!(o.params.literal().q, [68_719_403_009, 1_073_692_673]);
    assert_eq!(o.params.literal().special, [274_877_816_833]);
    assert_eq!(blake3::Hash::from_bytes(*o.params.digest()).to_hex()[..32], *"365911cff740280e16bc9dc46fe0bdb5");
}

#[test]
fn keys_keep_their_bytes() {
    let o = owner();
    assert_eq!(o.digest(|_, w| w.bytes(o.secret.write().expose())), "76d845f0ff5e69f7327f1ef114b40688");
    let public = o.secret.public_key_from(&seed(1, 2), &seed(1, 3));
    assert_eq!(o.digest(|p, w| p.write_public_key(w, &public)), "a5b2c64e74187b2e50b81911d8f5c636");
    let relin = o.secret.relinearisation_key_from(2, &seed(1, 4), &seed(1, 5)).unwrap();
    assert_eq!(o.digest(|p, w| p.write_switch_key(w, &relin)), "bf26681de08712bc0ffee02c1b8d6064");
    let galois = o.secret.galois_key_from(5, 2, &seed(1, 6), &seed(1, 7)).unwrap();
    assert_eq!(o.digest(|p, w| p.write_galois_key(w, &galois)), "94f7e5d395b79d79726f0feaf9a82f9f");
}

#[test]
fn ciphertexts_and_what_is_computed_on_them_keep_their_bytes() {
    let o = owner();
    let params = &o.params;
    let fresh = o.secret.encrypt_from(&message(params, 1, 1000, 2).1, &seed(1, 8), &seed(1, 9));
    assert_eq!(o.digest(|p, w| p.write_seeded(w, &fresh)), "50f9d6f2676369931c248f7809f210b6");
    let mut c = fresh.expand(params);
    assert_eq!(o.digest(|p, w| p.write_ciphertext(w, &c)), "f61274186807d2059d8fd3d2dfd9d65d");

    let public = o.secret.public_key_from(&seed(1, 2), &seed(1, 3));
    public.rerandomise_from(params, &mut c, &seed(1, 10));
    assert_eq!(o.digest(|p, w| p.write_ciphertext(w, &c)), "219801bc4c7ed4d16c6d02e4913233fc");

    let mut keys = EvaluationKeys::new();
    keys.set_relinearisation(o.secret.relinearisation_key_from(2, &seed(1, 4), &seed(1, 5)).unwrap());
    keys.insert(5, o.secret.galois_key_from(5, 2, &seed(1, 6), &seed(1, 7)).unwrap());
    let turned = params.automorphism(&c, 5, &keys).unwrap();
    assert_eq!(o.digest(|p, w| p.write_ciphertext(w, &turned)), "b90963c2fec9689281639f0587e2570b");
    let mut product = params.relinearise(params.tensor(&c, &turned), &keys).unwrap();
    params.rescale(&mut product).unwrap();
    assert_eq!(o.digest(|p, w| p.write_ciphertext(w, &product)), "2883bb96cc83562faa94e2e9574a114c");
}

/// What is read back writes the same bytes.
#[test]
fn bytes_come_back() {
    let o = owner();
    let galois = o.secret.galois_key_from(5, 2, &seed(1, 6), &seed(1, 7)).unwrap();
    let mut w = Writer::new();
    o.params.write_galois_key(&mut w, &galois);
    let bytes = w.into_bytes();
    let again = o.params.read_galois_key(&mut Reader::new(&bytes, "key"), 5, 2).unwrap();
    assert_eq!(o.digest(|p, w| p.write_galois_key(w, &again)), "94f7e5d395b79d79726f0feaf9a82f9f");
}
