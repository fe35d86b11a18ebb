//! Which instruction set the kernels use: found at run time, the same result on each.
//!
//! This is the only module with `unsafe` in it. It holds the register tiles of
//! the blocked product written for each instruction set, the instructions of the tile
//! unit, and `run`, which compiles an ordinary loop once for each instruction set.

pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod clmul;
#[cfg(target_arch = "x86_64")]
mod gfni;
mod portable;

use crate::limbs;
use std::fmt;
use std::sync::OnceLock;

/// An instruction set the kernels are compiled for, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Whatever the compiler's baseline for the target offers.
    Portable,
    /// AVX2.
    Avx2,
    /// AVX-512 F, DQ, BW and VL; also IFMA for Z_2^48 where there is.
    Avx512,
    /// The AMX tile unit's products of bytes for wide products, AVX-512 for the rest.
    Amx,
}

/// The environment variable that forces an instruction set by its name.
pub const ISA_VARIABLE: &str = "SUBROSA_ISA";

impl Isa {
    /// Every instruction set, narrowest first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Amx];

    /// `portable`, `avx2`, `avx512` or `amx`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// Whether this processor has it and the system lets us use it. The tile unit must also
    /// have given the right answers, once in each process.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => has_avx2(),
            Self::Avx512 => has_avx512(),
            Self::Amx => has_avx512() && has_working_amx(),
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

/// Whether `isa` has products of bit matrices on this processor, which
/// [`bytes_to_planes`] and [`planes_to_bytes`] need.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_bit_matrices(isa: Isa) -> bool {
    isa >= Isa::Avx512 && gfni::is_available()
}

/// Replaces the bytes of 64 elements by eight planes of 64 bits: bit `j` of word `p` is bit
/// `p` of byte `j`. Words are little-endian.
///
/// **Panics** without bit matrices.
#[cfg(target_arch = "x86_64")]
pub(crate) fn bytes_to_planes(blocks: &mut [[u8; 64]]) {
    assert!(gfni::is_available(), "no bit matrices");
    // SAFETY: the processor was asked.
    unsafe { gfni::bytes_to_planes(blocks) }
}

/// The inverse of [`bytes_to_planes`].
///
/// **Panics** without bit matrices.
#[cfg(target_arch = "x86_64")]
pub(crate) fn planes_to_bytes(blocks: &mut [[u8; 64]]) {
    assert!(gfni::is_available(), "no bit matrices");
    // SAFETY: the processor was asked.
    unsafe { gfni::planes_to_bytes(blocks) }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn has_bit_matrices(_: Isa) -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn bytes_to_planes(_: &mut [[u8; 64]]) {}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn planes_to_bytes(_: &mut [[u8; 64]]) {}

/// [`crate::gf64::dot`] by the processor's carry-less product, if it has one.
#[cfg(target_arch = "x86_64")]
pub(crate) fn carryless_dot(a: &[u64], b: &[u64]) -> Option<u64> {
    // SAFETY: the processor was asked.
    has_carryless_product().then(|| unsafe { clmul::dot(a, b) })
}

/// [`crate::gf64::add_scaled`], if the processor has a carry-less product; whether it has.
#[cfg(target_arch = "x86_64")]
pub(crate) fn carryless_add_scaled(sum: &mut [u64], by: u64, x: &[u64]) -> bool {
    let there = has_carryless_product();
    if there {
        // SAFETY: the processor was asked.
        unsafe { clmul::add_scaled(sum, by, x) }
    }
    there
}

/// [`crate::gf64::products`], if the processor has a carry-less product; whether it has.
#[cfg(target_arch = "x86_64")]
pub(crate) fn carryless_products(x: &mut [u64], y: &[u64]) -> bool {
    let there = has_carryless_product();
    if there {
        // SAFETY: the processor was asked.
        unsafe { clmul::products(x, y) }
    }
    there
}

#[cfg(target_arch = "x86_64")]
fn has_carryless_product() -> bool {
    isa() >= Isa::Avx2 && clmul::is_available()
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn carryless_dot(_: &[u64], _: &[u64]) -> Option<u64> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn carryless_add_scaled(_: &mut [u64], _: u64, _: &[u64]) -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn carryless_products(_: &mut [u64], _: &[u64]) -> bool {
    false
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

fn has_working_amx() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| amx::Hardware::new().is_some_and(|mut tiles| limbs::answers_are_right(&mut tiles)))
}

/// Operands of one tile: `a` times `b` over as many steps as there are offsets.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, W> {
    /// Rows of the tile.
    pub(crate) rows: usize,
    /// Columns of the tile.
    pub(crate) cols: usize,
    /// Element `(i, p)` is `a[i * a_row + p * a_step]`.
    pub(crate) a: &'a [W],
    /// See `a`.
    pub(crate) a_row: usize,
    /// See `a`.
    pub(crate) a_step: usize,
    /// Element `(p, j)` is `b[offsets[p] + j]`.
    pub(crate) b: &'a [W],
    /// See `b`.
    pub(crate) offsets: Offsets<'a>,
    /// Row `i` of the result starts at word `i * out_row`.
    pub(crate) out_row: usize,
}

/// A table of offsets whose largest is known.
#[derive(Clone, Copy)]
pub(crate) struct Offsets<'a> {
    /// Invariant: none is larger than `largest`.
    table: &'a [usize],
    largest: usize,
}

impl<'a> Offsets<'a> {
    /// Reads the table once.
    pub(crate) fn new(table: &'a [usize]) -> Self {
        // Four chains of comparisons at a time.
        let (fours, rest) = table.as_chunks::<4>();
        let larger = |most: [usize; 4], four: &[usize; 4]| std::array::from_fn(|i| most[i].max(four[i]));
        let most = fours.iter().fold([0; 4], larger);
        Self { table, largest: most.iter().chain(rest).fold(0, |largest, &offset| largest.max(offset)) }
    }
}

/// The tiles of a matrix product that one instruction set holds in registers.
///
/// Invariant: its functions may be called on this processor. Only `z32`, `z48` and
/// `z64` make kernels, after asking the processor.
pub struct Kernel<W: 'static> {
    /// Words in a vector.
    pub(crate) lanes: usize,
    families: &'static [Family<W>],
}

/// Tiles of one width.
struct Family<W: 'static> {
    /// Vectors in a row of the tile.
    vectors: usize,
    /// The tile of `i + 1` rows.
    tiles: &'static [TileFn<W>],
}

/// Adds the product of the operands to `out`.
///
/// # Safety
/// The processor has what the function was compiled for. The operands' rows are those of
/// the tile and its columns no more; there is an element of `a` in every row and step,
/// there are `cols` words of `b` from every offset on, and `cols` words of `out`, nowhere
/// else referred to, in every row.
type TileFn<W> = unsafe fn(operands: &Operands<'_, W>, out: *mut W);

impl<W> Kernel<W> {
    /// Rows and columns of the tile that makes most of an `[m, n]` product; never zero.
    pub(crate) fn shape(&self, m: usize, n: usize) -> (usize, usize) {
        let useful = |f: &&Family<W>| (f.tiles.len().min(m) * (f.vectors * self.lanes).min(n), usize::MAX - f.vectors);
        let best = self.families.iter().max_by_key(useful).unwrap_or(&self.families[0]);
        (best.tiles.len(), best.vectors * self.lanes)
    }

    /// Adds the product of the operands to `out`.
    ///
    /// **Panics** if a slice does not hold what [`Operands`] says, or if no tile is that
    /// large: [`Kernel::shape`] gives the sizes.
    pub(crate) fn tile(&self, operands: &Operands<'_, W>, out: &mut [W]) {
        let Operands { rows, cols, a, a_row, a_step, b, offsets, out_row } = *operands;
        let (steps, last) = (offsets.table.len(), offsets.largest);
        if rows == 0 || cols == 0 || steps == 0 {
            return;
        }
        let tile = self.families.iter().find(|f| f.vectors * self.lanes >= cols && f.tiles.len() >= rows);
        let tile = tile.map(|family| family.tiles[rows - 1]);
        // Distances come from geometries of files: a sum that wraps must not pass for a small one.
        let last_a = end((rows - 1, a_row), (steps - 1).checked_mul(a_step));
        let ends = (last_a, last.checked_add(cols), end((rows - 1, out_row), Some(cols)));
        assert!(tile.is_some(), "no tile of {rows} x {cols}");
        assert!(ends.0.is_some_and(|last| last < a.len()), "left operand of a tile");
        assert!(ends.1.is_some_and(|end| end <= b.len()), "right operand of a tile");
        assert!(ends.2.is_some_and(|end| end <= out.len()), "result of a tile");
        // SAFETY: by the invariant, the processor has what the tile was compiled for. The
        // slices were just checked; `out` is borrowed for writing, so nothing else refers
        // to it.
        tile.into_iter().for_each(|tile| unsafe { tile(operands, out.as_mut_ptr()) });
    }
}

/// `rows * row + rest`, if there is such a number.
#[inline(always)]
fn end((rows, row): (usize, usize), rest: Option<usize>) -> Option<usize> {
    rows.checked_mul(row)?.checked_add(rest?)
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    use super::{Isa, Kernel, avx2, avx512, has_avx512, portable};

    /// Products of words modulo 2^32.
    pub(crate) fn z32(isa: Isa) -> Kernel<u32> {
        match isa {
            Isa::Avx512 | Isa::Amx if has_avx512() => avx512::u32(),
            Isa::Avx2 if isa.is_available() => avx2::u32(),
            Isa::Portable | Isa::Avx2 | Isa::Avx512 | Isa::Amx => portable::kernel(),
        }
    }

    /// Products of words modulo 2^64.
    pub(crate) fn z64(isa: Isa) -> Kernel<u64> {
        match isa {
            Isa::Avx512 | Isa::Amx if has_avx512() => avx512::u64(),
            Isa::Avx2 if isa.is_available() => avx2::u64(),
            Isa::Portable | Isa::Avx2 | Isa::Avx512 | Isa::Amx => portable::kernel(),
        }
    }

    /// Products of words that are right modulo 2^48 only.
    pub(crate) fn z48(isa: Isa) -> Kernel<u64> {
        match isa {
            Isa::Avx512 | Isa::Amx if has_avx512() && is_x86_feature_detected!("avx512ifma") => avx512::u52(),
            Isa::Portable | Isa::Avx2 | Isa::Avx512 | Isa::Amx => z64(isa),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod kernels {
    use super::{Isa, Kernel, portable};

    /// Products of words modulo 2^32.
    pub(crate) fn z32(_: Isa) -> Kernel<u32> {
        portable::kernel()
    }

    /// Products of words modulo 2^64.
    pub(crate) fn z64(_: Isa) -> Kernel<u64> {
        portable::kernel()
    }

    /// Products of words, right modulo 2^48.
    pub(crate) fn z48(isa: Isa) -> Kernel<u64> {
        z64(isa)
    }
}

pub(crate) use kernels::{z32, z48, z64};

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
        Isa::Avx512 | Isa::Amx if has_avx512() => unsafe { avx512::run(body) },
        // SAFETY: the processor was asked.
        Isa::Avx2 if isa.is_available() => unsafe { avx2::run(body) },
        Isa::Portable | Isa::Avx2 | Isa::Avx512 | Isa::Amx => body.run(),
    }
}

/// Runs `body` as compiled for the baseline, the only one on this target.
#[cfg(not(target_arch = "x86_64"))]
pub fn run<L: Loop>(_: Isa, body: L) -> L::Out {
    body.run()
}

/// What tests run on: every instruction set that is there, and the tile unit in any case, on
/// its model.
#[cfg(test)]
pub(crate) fn tested() -> impl Iterator<Item = Isa> {
    let run = |isa: Isa| {
        amx::MODELLED.set(isa == Isa::Amx && !isa.is_available());
        isa == Isa::Amx || isa.is_available()
    };
    Isa::ALL.into_iter().filter(move |&isa| run(isa)).chain(std::iter::from_fn(|| {
        amx::MODELLED.set(false);
        None
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::refusal;
    use crate::word::Word;

    #[test]
    fn requests_are_honoured_or_reported() {
        let best = Isa::ALL.into_iter().rfind(|i| i.is_available()).unwrap();
        assert_eq!(choose(None), (best, None));
        assert_eq!(choose(Some(String::new())), (best, None));
        assert_eq!(choose(Some("portable".into())), (Isa::Portable, None));
        assert_eq!(choose(Some("avx3".into())), (best, Some("avx3".into())));
    }

    /// A tile of three rows, two steps and one column, over three words each.
    fn check_refusals<W: Word>(kernel: &Kernel<W>) {
        let refused = |(a_row, a_step), offset, out_row| {
            let (words, table) = ([W::default(); 3], [0, offset]);
            let offsets = Offsets::new(&table);
            let operands = Operands { rows: 3, cols: 1, a: &words, a_row, a_step, b: &words, offsets, out_row };
            refusal(|| kernel.tile(&operands, &mut [W::default(); 3]))
        };
        let [left, right, out] = ["left operand of a tile", "right operand of a tile", "result of a tile"];
        // Two rows of this size wrap to nothing.
        let half = 1 << (usize::BITS - 1);
        for (found, expected) in [
            (refused((1, 0), 2, 1), None),
            (refused((1, 1), 2, 1), Some(left)),
            (refused((half, 0), 2, 1), Some(left)),
            (refused((1, usize::MAX), 2, 1), Some(left)),
            (refused((1, 0), 3, 1), Some(right)),
            (refused((1, 0), usize::MAX, 1), Some(right)),
            (refused((1, 0), 2, 2), Some(out)),
            (refused((1, 0), 2, half), Some(out)),
        ] {
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn a_tile_beyond_its_operands_is_refused_also_where_its_end_wraps() {
        for isa in Isa::ALL {
            check_refusals(&z32(isa));
            check_refusals(&z48(isa));
            check_refusals(&z64(isa));
        }
    }
}
