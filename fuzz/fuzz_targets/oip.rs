//! Any bytes as a request and as an answer of the Open Inference Protocol; the first two bytes say
//! where the JSON ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa::Port;
use subrosa::oip::{InferRequest, InferResponse};

fuzz_target!(|input: &[u8]| {
    let Some((length, body)) = input.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    for json in [None, Some(length)] {
        if let Ok(request) = InferRequest::decode(body, json) {
            let ports = [Port { name: "x".to_owned(), shape: vec![1, 2], batched: true }];
            let _ = request.wanted(&ports);
            if let Ok((values, samples)) = request.fit(&ports, 8) {
                assert_eq!(values[0].len(), 2 * samples);
            }
        }
        if let Ok(response) = InferResponse::decode(body, json) {
            let again = response.encode().unwrap();
            assert!(InferResponse::decode(&again.body, again.json).is_ok());
        }
    }
});
