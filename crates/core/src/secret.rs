//! Values that must not be printed, compared, copied or left in memory.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A value that is wiped when dropped and that cannot be printed, compared or
/// serialised by accident: it has no `Debug`, `PartialEq`, `Clone` or `Serialize`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` into custody.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every use is a place to audit.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, to be changed in place.
    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
