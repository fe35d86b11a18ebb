//! The boundary to tract: a large library written for well-meant models.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use tract_onnx::prelude::{TractError, TractResult};

/// Calls into tract. A panic in it becomes an error here: this is the one place where
/// that is done, and it is safe because the closure's results are dropped with it. The
/// error is a clause without the model's name.
pub(crate) fn guarded<T>(call: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    silence_guarded_panics();
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(one_line(&e)),
        Err(_) => Err("tract gave up on it".to_owned()),
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// A panic that is caught and reported as an error must not print a message of its own;
/// any other panic goes to the hook that was there.
fn silence_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                previous(info);
            }
        }));
    });
}

/// An error with its causes in one line.
fn one_line(error: &TractError) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_errors() {
        assert_eq!(guarded(|| Ok(1)), Ok(1));
        assert!(guarded::<()>(|| panic!("inside")).is_err());
        assert_eq!(guarded::<()>(|| Err(TractError::msg("a\nb").context("c"))), Err("c: a b".to_owned()));
        assert!(!GUARDED.get());
    }
}
