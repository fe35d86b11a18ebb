//! Any bytes as a sealed model, a message to a broker, what evidence is about, and a Nitro image.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa_tee::broker::Ask;
use subrosa_tee::seal::{ModelKey, header};
use subrosa_tee::{Bound, EifMeasurement};

fuzz_target!(|bytes: &[u8]| {
    let _ = header(bytes);
    let _ = ModelKey::from_bytes(&[7; 32]).open(bytes, 0);
    let _ = EifMeasurement::of(bytes);
    if let Ok(ask) = Ask::from_bytes(bytes) {
        assert_eq!(ask.to_bytes(), bytes, "one spelling");
    }
    if let Some(bound) = bytes.first_chunk().and_then(Bound::from_bytes) {
        assert_eq!(bound.to_bytes()[..], bytes[..Bound::BYTES], "one spelling");
    }
});
