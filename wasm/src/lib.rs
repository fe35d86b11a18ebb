//! The client's role for a host without an operating system: a browser, or Node.
//!
//! The host asks [`input`] for room, writes bytes there, calls a function, and reads [`output_len`] bytes at
//! [`output`]: the result, or the error's text where the call did not return 0. Samples and results are
//! little-endian 32-bit floats.
//!
//! - [`keygen`], [`encrypt`], [`decrypt`]: on ciphertexts. Bytes are the files of `subrosa_he::files`. The
//!   secret key never leaves the module.
//! - [`share`], [`reconstruct`]: on shares, sealed to parties behind a gateway. Bytes are what
//!   `subrosa_mpc::relayed` describes. Whether the keys are the parties' is the host's to check.
//!
//! While keys are made, the host's `progress(made, of)` is called after each.
//!
//! **Randomness** comes from the host's `random(address, length)`, which is
//! `crypto.getRandomValues` and must return 0. Anything else is an error of the call that
//! needed it: there is no other source.

use std::cell::RefCell;
use subrosa_he::files::{Digest, answer_from_bytes, bundle_file, request_to_bytes};
use subrosa_he::{Client, PublicPlan};
use subrosa_mpc::relayed::{Asked, Outline};
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
    /// The last request on shares, until its answer is here.
    asked: Option<(Outline, Asked)>,
}

/// The text of any error.
struct Failed(String);

impl<E: std::fmt::Display> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
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
        let mut samples = numbers(bytes)?;
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

/// From a model's name, a protocol's name (empty: any will do), an outline and all parties' sealing keys (32
/// bytes each), before each of these its length (4 bytes, little-endian), and the inputs one after another, a
/// request. An outline of another model, protocol or number of parties is refused before an input is
/// looked at.
#[unsafe(no_mangle)]
pub extern "C" fn share() -> i32 {
    step(|state, bytes| {
        let cut = "the outline, the keys or the samples are cut off";
        let (model, rest) = piece(bytes).ok_or(cut)?;
        let (via, rest) = piece(rest).ok_or(cut)?;
        let (outline, rest) = piece(rest).ok_or(cut)?;
        let (keys, samples) = piece(rest).ok_or(cut)?;
        let outline = Outline::decode(outline)?;
        let of_protocol = via.is_empty() || outline.sharing.name().as_bytes() == via;
        if outline.model.as_bytes() != model || !of_protocol || keys.len() != 32 * outline.parties() {
            return Err("the gateway offers another model, protocol or number of parties than was asked for".into());
        }
        let mut samples = numbers(samples)?;
        let mut inputs = cut_up(&outline, &samples)?;
        samples.zeroize();
        let asked = outline.ask(keys.as_chunks().0, &inputs);
        inputs.zeroize();
        let (request, asked) = asked?;
        state.asked = Some((outline, asked));
        Ok(request)
    })
}

/// From a party's number (one byte), what the last request tells it of the first input: a byte an element,
/// the highest of each word.
#[unsafe(no_mangle)]
pub extern "C" fn told() -> i32 {
    step(|state, bytes| {
        let (outline, asked) = state.asked.as_ref().ok_or("nothing was shared yet")?;
        let party = bytes.first().ok_or("no party is named")?;
        Ok(asked.told(outline, usize::from(*party)))
    })
}

/// From the answer to the last request, the results. Once.
#[unsafe(no_mangle)]
pub extern "C" fn reconstruct() -> i32 {
    step(|state, bytes| {
        let (outline, asked) = state.asked.take().ok_or("nothing was shared, or its answer is here already")?;
        let mut results = asked.read(&outline, bytes)?;
        let bytes = results.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        results.zeroize();
        Ok(bytes)
    })
}

/// What comes after its length, and the rest.
fn piece(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// The inputs, from all of them one after another.
fn cut_up(outline: &Outline, samples: &[f32]) -> Result<Vec<Vec<f32>>, Failed> {
    let lens: Vec<usize> = outline.inputs.iter().map(|input| input.port.sample_len()).collect();
    let count = samples.len() / lens.iter().sum::<usize>().max(1);
    let mut rest = samples;
    let mut inputs = Vec::with_capacity(lens.len());
    for len in lens {
        let (now, later) = rest.split_at_checked(len * count).ok_or("the samples are cut off")?;
        inputs.push(now.to_vec());
        rest = later;
    }
    match rest {
        [] => Ok(inputs),
        _ => Err("the samples are not whole".into()),
    }
}

fn numbers(bytes: &[u8]) -> Result<Vec<f32>, Failed> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    match rest {
        [] => Ok(numbers.iter().map(|&b| f32::from_le_bytes(b)).collect()),
        _ => Err("the samples are not whole 32-bit numbers".into()),
    }
}

impl State {
    fn client(&self) -> Result<&(Client, Digest), Failed> {
        self.client.as_ref().ok_or_else(|| "there is no key yet".into())
    }
}

fn step(run: impl FnOnce(&mut State, &[u8]) -> Result<Vec<u8>, Failed>) -> i32 {
    STATE.with_borrow_mut(|state| {
        let mut input = std::mem::take(&mut state.input);
        state.output.zeroize();
        let result = run(state, &input);
        input.zeroize();
        let status = i32::from(result.is_err());
        state.output = result.unwrap_or_else(|Failed(text)| text.into_bytes());
        status
    })
}
