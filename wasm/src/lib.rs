//! The client's role for a host without an operating system: a browser, or Node.
//!
//! The host asks [`input`] for room, writes bytes there, calls [`keygen`], [`encrypt`] or
//! [`decrypt`], and reads [`output_len`] bytes at [`output`]: the result, or the error's
//! text where the call did not return 0. Bytes are the files of `subrosa_he::files`; samples
//! and results are little-endian 32-bit floats. The secret key never leaves the module.
//!
//! While keys are made, the host's `progress(made, of)` is called after each.
//!
//! **Randomness** comes from the host's `random(address, length)`, which is
//! `crypto.getRandomValues` and must return 0. Anything else is an error of the call that
//! needed it: there is no other source.

use std::cell::RefCell;
use subrosa_he::files::{Digest, answer_from_bytes, bundle_file, request_to_bytes};
use subrosa_he::{Client, Error, PublicPlan};
use zeroize::Zeroize;

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    /// Fills memory with random bytes; 0 if it did.
    fn random(address: *mut u8, length: usize) -> i32;
    /// So many evaluation keys of so many are made.
    safe fn progress(made: usize, of: usize);
}

/// What `getrandom` calls.
///
/// # Safety
///
/// `length` bytes at `address` can be written: `getrandom` says so.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(address: *mut u8, length: usize) -> Result<(), getrandom::Error> {
    // SAFETY: the host writes these bytes and no others.
    match unsafe { random(address, length) } {
        0 => Ok(()),
        _ => Err(getrandom::Error::UNEXPECTED),
    }
}

#[derive(Default)]
struct State {
    input: Vec<u8>,
    output: Vec<u8>,
    client: Option<(Client, Digest)>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Room for `length` bytes of input.
#[unsafe(no_mangle)]
pub extern "C" fn input(length: usize) -> *mut u8 {
    STATE.with_borrow_mut(|state| {
        state.input.zeroize();
        state.input.resize(length, 0);
        state.input.as_mut_ptr()
    })
}

/// Where the last call left its result.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    STATE.with_borrow(|state| state.output.as_ptr())
}

/// And how many bytes it has.
#[unsafe(no_mangle)]
pub extern "C" fn output_len() -> usize {
    STATE.with_borrow(|state| state.output.len())
}

/// From a plan, a fresh key; the result is the file of evaluation keys for the server.
#[unsafe(no_mangle)]
pub extern "C" fn keygen() -> i32 {
    step(|state, plan| {
        let client = Client::new(PublicPlan::from_bytes(plan)?)?;
        let (bundle, digest) = bundle_file(&client, |made, of| progress(made, of))?;
        state.client = Some((client, digest));
        Ok(bundle)
    })
}

/// The name of the key: the digest of its evaluation keys, in hexadecimal digits.
#[unsafe(no_mangle)]
pub extern "C" fn key_id() -> i32 {
    step(|state, _| {
        let (_, digest) = state.client()?;
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes())
    })
}

/// From samples, the file of a request.
#[unsafe(no_mangle)]
pub extern "C" fn encrypt() -> i32 {
    step(|state, bytes| {
        let (client, digest) = state.client()?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(Error::Input("the samples are not whole 32-bit numbers".to_owned()));
        }
        let mut samples: Vec<f32> = numbers.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let input = client.encrypt(&samples);
        samples.zeroize();
        Ok(request_to_bytes(client.plan(), digest, &input?))
    })
}

/// From the file of an answer, the results.
#[unsafe(no_mangle)]
pub extern "C" fn decrypt() -> i32 {
    step(|state, bytes| {
        let (client, digest) = state.client()?;
        let results = client.decrypt(&answer_from_bytes(client.plan(), digest, bytes)?)?;
        Ok(results.into_iter().flat_map(f32::to_le_bytes).collect())
    })
}

impl State {
    fn client(&self) -> Result<&(Client, Digest), Error> {
        self.client.as_ref().ok_or_else(|| Error::Input("there is no key yet".to_owned()))
    }
}

fn step(run: impl FnOnce(&mut State, &[u8]) -> Result<Vec<u8>, Error>) -> i32 {
    STATE.with_borrow_mut(|state| {
        let mut input = std::mem::take(&mut state.input);
        state.output.zeroize();
        let result = run(state, &input);
        input.zeroize();
        let status = i32::from(result.is_err());
        state.output = result.unwrap_or_else(|error| error.to_string().into_bytes());
        status
    })
}
