//! Any bytes as a file of samples, in each format: an error or samples, never a panic.
//! The first byte chooses the format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::{Dataset, Port};

const NAMES: [&str; 6] = ["a.npy", "a.npz", "a.png", "a.idx", "a.csv", "a.csv.gz"];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, content)) = bytes.split_first() else { return };
    let Some(name) = NAMES.get(usize::from(*first) % NAMES.len()) else { return };
    let Ok(data) = Dataset::parse(name, content) else { return };
    let port = Port { name: "x".into(), shape: vec![1, 1, 2, 2], batched: true };
    let _ = data.labels();
    if let Ok(samples) = data.fit(&[port]) {
        assert_eq!(samples.inputs[0].len(), samples.count * 4);
    }
});
