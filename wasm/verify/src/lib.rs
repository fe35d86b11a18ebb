//! The verdict on each of many pieces of evidence, genuine and damaged, as one text: to see that a
//! browser's verifier decides as the native one does.
//!
//! Verification takes no randomness, and here there is none.

mod cases;

pub use cases::verdicts;

use std::cell::RefCell;

thread_local! {
    static TEXT: RefCell<String> = RefCell::default();
}

/// Makes the text; its length, bytes.
#[unsafe(no_mangle)]
pub extern "C" fn make() -> usize {
    TEXT.with_borrow_mut(|text| {
        *text = verdicts();
        text.len()
    })
}

/// Where the text is.
#[unsafe(no_mangle)]
pub extern "C" fn text() -> *const u8 {
    TEXT.with_borrow(|text| text.as_ptr())
}

#[cfg(target_arch = "wasm32")]
mod no_randomness {
    /// # Safety
    ///
    /// Nothing is written.
    #[unsafe(no_mangle)]
    unsafe extern "Rust" fn __getrandom_v03_custom(_: *mut u8, _: usize) -> Result<(), getrandom::Error> {
        Err(getrandom::Error::UNSUPPORTED)
    }

    fn none(_: &mut [u8]) -> Result<(), getrandom_02::Error> {
        Err(getrandom_02::Error::UNSUPPORTED)
    }
    getrandom_02::register_custom_getrandom!(none);
}
