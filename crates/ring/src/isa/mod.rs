//! Which instruction set the kernels use: found at run time, the same result on each.
//!
//! This is the only module with `unsafe` in it. It holds the register tiles of
//! the blocked product written for each instruction set, and `run`, which compiles
//! an ordinary loop once for each of them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::fmt;
use std::sync::OnceLock;

/// An instruction set the kernels are compiled for, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Whatever the compiler's baseline for the target offers.
    Portable,
    /// AVX2.
    Avx2,
    /// AVX-512 F, DQ, BW and VL.
    Avx512,
}

/// The environment variable that forces an instruction set by its name.
pub const ISA_VARIABLE: &str = "SUBROSA_ISA";

impl Isa {
    /// Every instruction set, narrowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// `portable`, `avx2` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => has_avx2(),
            Self::Avx512 => has_avx512(),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The instruction set in use: the widest this processor has, or what [`ISA_VARIABLE`]
/// asks for if it has that.
pub fn isa() -> Isa {
    choice().0
}

/// The value of [`ISA_VARIABLE`] if it was ignored: unknown, or not on this processor.
pub fn ignored_request() -> Option<&'static str> {
    choice().1.as_deref()
}

fn choice() -> &'static (Isa, Option<String>) {
    static CHOICE: OnceLock<(Isa, Option<String>)> = OnceLock::new();
    CHOICE.get_or_init(|| choose(std::env::var_os(ISA_VARIABLE).map(|v| v.to_string_lossy().into_owned())))
}

fn choose(request: Option<String>) -> (Isa, Option<String>) {
    let available = || Isa::ALL.into_iter().rev().filter(|i| i.is_available());
    match available().find(|i| Some(i.name()) == request.as_deref()) {
        Some(forced) => (forced, None),
        None => (available().next().unwrap_or(Isa::Portable), request.filter(|r| !r.is_empty())),
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

/// A tile of a matrix product held in registers.
///
/// Invariant: `tile` may be called on this processor. Only [`Kernels::kernel`] makes
/// kernels, after asking the processor.
pub struct Kernel<W> {
    /// Rows of a tile.
    pub(crate) rows: usize,
    /// Columns of a tile.
    pub(crate) cols: usize,
    tile: TileFn<W>,
}

/// See [`Kernel::tile`].
type TileFn<W> = unsafe fn(a: &[&[W]], b: &[W], out: &mut [W]);

impl<W> Kernel<W> {
    /// Overwrites `out [rows, cols]` with the product of the rows `a [rows][k]` and
    /// `b [k, cols]`.
    pub(crate) fn tile(&self, a: &[&[W]], b: &[W], out: &mut [W]) {
        // SAFETY: by the invariant, the processor has what `tile` was compiled for; it
        // asks nothing else of its caller.
        unsafe { (self.tile)(a, b, out) }
    }
}

/// The rows of a tile, cut to the number of whole steps in `b`.
#[inline(always)]
fn steps<'a, W, const ROWS: usize, const COLS: usize>(a: &[&'a [W]], b: &[W]) -> [&'a [W]; ROWS] {
    std::array::from_fn(|i| &a[i][..b.len() / COLS])
}

/// Words that have a kernel for every instruction set.
pub trait Kernels: Sized {
    /// The kernel for `isa`, or the portable one if this processor lacks `isa`.
    fn kernel(isa: Isa) -> Kernel<Self>;
}

#[cfg(target_arch = "x86_64")]
macro_rules! kernels {
    ($word:ident) => {
        impl Kernels for $word {
            fn kernel(isa: Isa) -> Kernel<Self> {
                match isa {
                    Isa::Avx512 if isa.is_available() => avx512::$word(),
                    Isa::Avx2 if isa.is_available() => avx2::$word(),
                    Isa::Portable | Isa::Avx2 | Isa::Avx512 => portable::kernel(),
                }
            }
        }
    };
}

#[cfg(not(target_arch = "x86_64"))]
macro_rules! kernels {
    ($word:ident) => {
        impl Kernels for $word {
            fn kernel(_: Isa) -> Kernel<Self> {
                portable::kernel()
            }
        }
    };
}

kernels!(u32);
kernels!(u64);

/// A loop worth compiling for each instruction set. `run` must be `#[inline(always)]`,
/// and so must what it calls in its inner loop.
pub trait Loop {
    /// What the loop computes.
    type Out;
    /// Runs the loop.
    fn run(self) -> Self::Out;
}

/// Runs `body` as compiled for `isa`, or for the baseline if this processor lacks it.
#[cfg(target_arch = "x86_64")]
pub fn run<L: Loop>(isa: Isa, body: L) -> L::Out {
    match isa {
        // SAFETY: the processor was asked.
        Isa::Avx512 if isa.is_available() => unsafe { avx512::run(body) },
        // SAFETY: the processor was asked.
        Isa::Avx2 if isa.is_available() => unsafe { avx2::run(body) },
        Isa::Portable | Isa::Avx2 | Isa::Avx512 => body.run(),
    }
}

/// Runs `body` as compiled for the baseline, the only one on this target.
#[cfg(not(target_arch = "x86_64"))]
pub fn run<L: Loop>(_: Isa, body: L) -> L::Out {
    body.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_honoured_or_reported() {
        let best = Isa::ALL.into_iter().rfind(|i| i.is_available()).unwrap();
        assert_eq!(choose(None), (best, None));
        assert_eq!(choose(Some(String::new())), (best, None));
        assert_eq!(choose(Some("portable".into())), (Isa::Portable, None));
        assert_eq!(choose(Some("avx3".into())), (best, Some("avx3".into())));
    }
}
