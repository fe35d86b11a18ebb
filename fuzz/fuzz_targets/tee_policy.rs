//! Any text as a policy, signed or not, and as a Gramine manifest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa_tee::Policy;
use subrosa_tee::gramine::lint;
use subrosa_tee::policy::{Draft, OwnerKey};

fuzz_target!(|text: &str| {
    let key = OwnerKey::from_bytes(&[5; 32]);
    let _ = Policy::open(text, &[key.public()]);
    if let Ok(draft) = Draft::read(text) {
        let id = Policy::open(&draft.sign(&key), &[key.public()]).map(|policy| policy.id());
        assert!(id.is_ok(), "what can be read can be signed and read again");
    }
    let _ = lint(text);
});
