//! The tile unit: eight registers of 16 rows of 64 bytes, and products of bytes.
//!
//! What uses the unit is generic over [`Tiles`], so that packing, order and recombination
//! are tested on every machine against a model of the instructions, after the *Intel 64
//! and IA-32 Architectures Software Developer's Manual*, volume 2. Only the one-line
//! functions of [`Hardware`] need the unit itself.

/// Bytes of a tile register.
pub(crate) const TILE: usize = 1024;

/// Contents of a tile register: 16 rows of 64 bytes.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub(crate) [u8; TILE]);

/// Sixteen by sixteen sums.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct TileSums(pub(crate) [u32; 256]);

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
pub(crate) struct Config([u8; 64]);

impl Config {
    /// Eight tiles of 16 rows of 64 bytes: palette 1, then from byte 16 on the bytes of a
    /// row of each tile in 16 bits, from byte 48 on the rows of each tile.
    pub(crate) const FULL: Self = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            bytes[16 + 2 * tile] = 64;
            bytes[48 + tile] = 16;
            tile += 1;
        }
        Self(bytes)
    };
}

/// The instructions of the tile unit. Tiles are numbered 0 to 7.
pub(crate) trait Tiles {
    /// `ldtilecfg`: sizes of all tiles, which are then zero.
    fn configure(&mut self, config: &Config);
    /// `tilezero`
    fn zero<const T: usize>(&mut self);
    /// `tileloadd` of contiguous rows.
    fn load<const T: usize>(&mut self, from: &Tile);
    /// `tdpbuud`: adds to each 32-bit element `(m, n)` of `C` the sum over `k` and `t < 4` of
    /// byte `4 k + t` of row `m` of `A` times byte `4 n + t` of row `k` of `B`, all
    /// unsigned, modulo 2^32.
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self);
    /// `tilestored` of contiguous rows.
    fn store<const T: usize>(&self, to: &mut TileSums);
    /// `tilerelease`
    fn release(&mut self);
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use hardware::Hardware;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod hardware {
    use super::{Config, Tile, TileSums, Tiles};
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// The processor's own tiles, of the calling thread.
    ///
    /// Invariant: this process may use them; only [`Hardware::new`] makes one, after asking.
    /// The compiler never keeps anything in a tile, and every block below declares that it
    /// changes them, so what one leaves there the next one finds.
    pub(crate) struct Hardware(());

    impl Hardware {
        /// The tiles, if there are any and the kernel permits their use.
        pub(crate) fn new() -> Option<Self> {
            static PERMITTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
            PERMITTED.get_or_init(|| has_tiles() && permitted()).then_some(Self(()))
        }
    }

    macro_rules! tile_asm {
        ($($arg:tt)*) => {
            asm!($($arg)*, out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack))
        };
    }

    impl Tiles for Hardware {
        #[inline(always)]
        fn configure(&mut self, config: &Config) {
            // SAFETY: by the invariant; reads the 64 bytes of `config`.
            unsafe { tile_asm!("ldtilecfg [{}]", in(reg) std::ptr::from_ref(config)) }
        }

        #[inline(always)]
        fn zero<const T: usize>(&mut self) {
            // SAFETY: by the invariant.
            unsafe { tile_asm!("tilezero tmm{}", const T) }
        }

        #[inline(always)]
        fn load<const T: usize>(&mut self, from: &Tile) {
            // SAFETY: by the invariant; reads 16 rows 64 bytes apart, which `from` is.
            unsafe {
                tile_asm!("tileloadd tmm{}, [{} + {}*1]", const T, in(reg) std::ptr::from_ref(from), in(reg) 64usize)
            }
        }

        #[inline(always)]
        fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
            // SAFETY: by the invariant.
            unsafe { tile_asm!("tdpbuud tmm{}, tmm{}, tmm{}", const C, const A, const B) }
        }

        #[inline(always)]
        fn store<const T: usize>(&self, to: &mut TileSums) {
            // SAFETY: by the invariant; writes 16 rows 64 bytes apart, which `to` is.
            unsafe {
                tile_asm!("tilestored [{} + {}*1], tmm{}", in(reg) std::ptr::from_mut(to), in(reg) 64usize, const T)
            }
        }

        #[inline(always)]
        fn release(&mut self) {
            // SAFETY: by the invariant.
            unsafe { tile_asm!("tilerelease") }
        }
    }

    /// Whether the processor has tiles of bytes of the size used here, and the system saves
    /// them.
    #[allow(unused_unsafe, reason = "safe functions since a later compiler than the oldest supported")]
    fn has_tiles() -> bool {
        const OSXSAVE: u32 = 1 << 27;
        const AMX_TILE_AND_INT8: u32 = 0b11 << 24;
        // SAFETY: every x86-64 processor has `cpuid`, and leaves are asked for only after
        // leaf 0 said that they exist.
        unsafe {
            if __cpuid(0).eax < 0x1d || __cpuid(1).ecx & OSXSAVE == 0 || !saves_tiles() {
                return false;
            }
            let palette = __cpuid_count(0x1d, 1);
            __cpuid_count(7, 0).edx & AMX_TILE_AND_INT8 == AMX_TILE_AND_INT8
                && palette.eax >> 16 == 1024
                && palette.ebx == 8 << 16 | 64
                && palette.ecx & 0xffff == 16
        }
    }

    /// Whether the system switches tile configuration and data with threads.
    ///
    /// # Safety
    /// The system uses `xsave`.
    unsafe fn saves_tiles() -> bool {
        #[target_feature(enable = "xsave")]
        fn enabled() -> u64 {
            // SAFETY: register 0 exists wherever the instruction does.
            unsafe { _xgetbv(0) }
        }
        const TILE_CONFIG_AND_DATA: u64 = 0b11 << 17;
        // SAFETY: the caller's promise.
        unsafe { enabled() & TILE_CONFIG_AND_DATA == TILE_CONFIG_AND_DATA }
    }

    /// Asks the kernel for the tiles' state, for this process: `arch_prctl(2)`; see the
    /// kernel's `Documentation/arch/x86/xstate.rst`.
    fn permitted() -> bool {
        const ARCH_PRCTL: isize = 158;
        const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
        const XFEATURE_XTILEDATA: usize = 18;
        let mut result = ARCH_PRCTL;
        // SAFETY: a system call that touches no memory of ours; it changes rax, rcx, r11.
        unsafe {
            asm!("syscall", inout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _, out("r11") _, options(nostack));
        }
        result == 0
    }
}

/// No tiles: this target has none.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) enum Hardware {}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Hardware {
    pub(crate) fn new() -> Option<Self> {
        None
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Tiles for Hardware {
    fn configure(&mut self, _: &Config) {
        match *self {}
    }
    fn zero<const T: usize>(&mut self) {
        match *self {}
    }
    fn load<const T: usize>(&mut self, _: &Tile) {
        match *self {}
    }
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        match *self {}
    }
    fn store<const T: usize>(&self, _: &mut TileSums) {
        match *self {}
    }
    fn release(&mut self) {
        match *self {}
    }
}

/// What kernels use: the hardware, which was checked.
#[cfg(not(test))]
pub(crate) fn unit(pays: bool) -> Option<impl Tiles> {
    (pays && super::Isa::Amx.is_available()).then(Hardware::new).flatten()
}

/// What kernels use in tests: the model if this thread asked for it, then for every shape;
/// else the hardware.
#[cfg(test)]
pub(crate) fn unit(pays: bool) -> Option<Unit> {
    match MODELLED.get() {
        true => Some(Unit::Model(Box::new(Model::new()))),
        false => (pays && super::Isa::Amx.is_available()).then(Hardware::new).flatten().map(Unit::Hardware),
    }
}

#[cfg(test)]
pub(crate) enum Unit {
    Hardware(Hardware),
    Model(Box<Model>),
}

#[cfg(test)]
macro_rules! either {
    ($self:ident, $tiles:ident => $call:expr) => {
        match $self {
            Unit::Hardware($tiles) => $call,
            Unit::Model($tiles) => $call,
        }
    };
}

#[cfg(test)]
impl Tiles for Unit {
    fn configure(&mut self, config: &Config) {
        either!(self, tiles => tiles.configure(config));
    }
    fn zero<const T: usize>(&mut self) {
        either!(self, tiles => tiles.zero::<T>());
    }
    fn load<const T: usize>(&mut self, from: &Tile) {
        either!(self, tiles => tiles.load::<T>(from));
    }
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        either!(self, tiles => tiles.dot::<C, A, B>());
    }
    fn store<const T: usize>(&self, to: &mut TileSums) {
        either!(self, tiles => tiles.store::<T>(to));
    }
    fn release(&mut self) {
        either!(self, tiles => tiles.release());
    }
}

#[cfg(test)]
thread_local! {
    /// Whether kernels on this thread use the model.
    pub(crate) static MODELLED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The instructions in plain Rust.
#[cfg(test)]
pub(crate) struct Model {
    tiles: [Tile; 8],
    /// Rows and bytes of a row of each tile; `None` before `ldtilecfg`.
    sizes: Option<[(usize, usize); 8]>,
}

#[cfg(test)]
impl Model {
    pub(crate) fn new() -> Self {
        Self { tiles: std::array::from_fn(|_| Tile([0; TILE])), sizes: None }
    }

    fn size(&self, tile: usize) -> (usize, usize) {
        self.sizes.expect("a tile is used without configuration")[tile]
    }

    fn sum(&self, tile: usize, m: usize, n: usize) -> u32 {
        let at = m * 64 + n * 4;
        u32::from_le_bytes(self.tiles[tile].0[at..at + 4].try_into().unwrap())
    }
}

#[cfg(test)]
impl Tiles for Model {
    fn configure(&mut self, Config(bytes): &Config) {
        assert_eq!(bytes[0], 1, "palette");
        assert!(bytes[1..16].iter().chain(&bytes[32..48]).chain(&bytes[56..]).all(|&b| b == 0), "reserved bytes");
        let size = |t: usize| (usize::from(bytes[48 + t]), usize::from(bytes[16 + 2 * t]));
        let sizes = std::array::from_fn(size);
        assert!(sizes.iter().all(|&(rows, bytes)| rows <= 16 && bytes <= 64 && bytes % 4 == 0));
        *self = Self { sizes: Some(sizes), ..Self::new() };
    }

    fn zero<const T: usize>(&mut self) {
        self.size(T);
        self.tiles[T] = Tile([0; TILE]);
    }

    fn load<const T: usize>(&mut self, from: &Tile) {
        let (rows, bytes) = self.size(T);
        self.tiles[T] = Tile([0; TILE]);
        for row in 0..rows {
            self.tiles[T].0[row * 64..][..bytes].copy_from_slice(&from.0[row * 64..][..bytes]);
        }
    }

    fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        let ((rows, c_bytes), (a_rows, a_bytes), (b_rows, b_bytes)) = (self.size(C), self.size(A), self.size(B));
        assert!(C != A && C != B && A != B && rows == a_rows && c_bytes == b_bytes && b_rows * 4 == a_bytes);
        for m in 0..rows {
            let mut sums: [u32; 16] = std::array::from_fn(|n| self.sum(C, m, n));
            for (k, t) in (0..b_rows).flat_map(|k| (0..4).map(move |t| (k, t))) {
                let a = u32::from(self.tiles[A].0[m * 64 + 4 * k + t]);
                let b = self.tiles[B].0[k * 64..].iter().skip(t).step_by(4).take(c_bytes / 4);
                sums.iter_mut().zip(b).for_each(|(sum, &b)| *sum = sum.wrapping_add(a * u32::from(b)));
            }
            let row = self.tiles[C].0[m * 64..].as_chunks_mut::<4>().0;
            row.iter_mut().zip(&sums[..c_bytes / 4]).for_each(|(to, sum)| *to = sum.to_le_bytes());
        }
    }

    fn store<const T: usize>(&self, to: &mut TileSums) {
        let (rows, bytes) = self.size(T);
        for (m, n) in (0..rows).flat_map(|m| (0..bytes / 4).map(move |n| (m, n))) {
            to.0[m * 16 + n] = self.sum(T, m, n);
        }
    }

    fn release(&mut self) {
        *self = Self::new();
    }
}
