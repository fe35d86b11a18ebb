//! Any bytes as a .csv file: an error or data, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = subrosa::Dataset::parse("x.csv", bytes);
});
