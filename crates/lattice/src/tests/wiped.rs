//! What secrets leave in the pool of buffers.

use super::{params, seed};
use crate::kernel::buffer::freed;
use crate::{Ciphertext, SecretKey};

#[test]
fn secrets_leave_nothing_in_the_pool() {
    // Seven rows: no other test makes polynomials of this length.
    let params = params(13, &[24; 7], &[24]);
    let len = params.n() * params.levels();
    let left = |what: &str| {
        let words = freed(len);
        assert!(!words.is_empty() && words.iter().all(|&word| word == 0), "{what}");
    };
    let x: Vec<u64> = (0..params.n() as u64).collect();
    let message = params.encode_integers(&x, 16, params.levels());
    assert_eq!(params.decode_integers(message, 16), x);
    left("decoding");

    // Key and ciphertext are public, and kept until the end.
    let secret = SecretKey::from_stream(&params, &mut seed(1, 1).stream("secret key"));
    let public = secret.public_key_from(&seed(1, 2), &seed(1, 3));
    left("a public key");
    let zero = params.zero(params.levels(), false);
    let mut c = Ciphertext { c0: zero.clone(), c1: zero };
    public.rerandomise_from(&params, &mut c, &seed(1, 4));
    left("encryption under a public key");
    drop((public, c));
}
