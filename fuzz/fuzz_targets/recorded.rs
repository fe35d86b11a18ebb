//! Any bytes as a file of a dealer's keys, and each byte of its payload read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::{Seek, Write};
use subrosa_net::{Link, Opening, recorded_bytes};

fuzz_target!(|bytes: &[u8]| {
    let Some((seal, bytes)) = bytes.split_first() else { return };
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).and_then(|()| file.rewind()).expect("written");
    let Ok(opening) = Opening::read(file, "keys", usize::from(*seal)) else { return };
    assert_eq!(
        recorded_bytes(opening.head().len(), opening.payload(), usize::from(*seal)),
        bytes.len() as u64,
        "a file has the length that it says"
    );
    let Ok(mut recording) = opening.complete() else { return };
    while let Ok(Some(frame)) = recording.poll(Some(100)) {
        if frame.payload.is_empty() {
            return;
        }
    }
});
