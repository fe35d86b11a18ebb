//! Rates of the ring kernels: `cargo bench -p subrosa-bench --bench ring [-- [--quick] WORD...]`
//! measures the shapes whose name contains every word, each on every instruction set of
//! this processor. `--quick` only shows that everything runs; its rates mean little.
//!
//! A rate is of the best of many repetitions within a fraction of a second. The `f32` lines
//! are of the `gemm` crate on one thread on the same shape, measured just before; a
//! convolution is compared with the product that it is after unrolling, the unrolling
//! itself not counted. Each instruction set runs in a process of its own, because a process
//! chooses its kernels once.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::time::Instant;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{Prg, Seed};
use subrosa_ring::isa::ISA_VARIABLE;
use subrosa_ring::{
    BitPlanes, Isa, PackedKernels, PackedMatrix, Ring, Threads, Word, Z32, Z48, Z64, bits, conv2d_acc_over,
    conv2d_packed_acc, isa, matmul_acc_over, matmul_packed_acc, pack, unpack,
};

fn main() {
    if std::env::var_os(ISA_VARIABLE).is_some() {
        return tables();
    }
    println!("{}, {} cores; best of {} ms", cpu(), cores(), seconds() * 1e3);
    println!("rates in 10^9 multiply-adds a second; x f32: ratio to the gemm crate, both on one thread");
    println!("packed: one thread, right operand or kernels packed before; 2 threads: not packed");
    for isa in Isa::ALL.into_iter().filter(|i| i.is_available()) {
        let child = std::env::current_exe().and_then(|exe| {
            std::process::Command::new(exe).args(std::env::args_os().skip(1)).env(ISA_VARIABLE, isa.name()).status()
        });
        match child {
            Ok(status) if status.success() => (),
            Ok(status) => std::process::exit(status.code().unwrap_or(1)),
            Err(error) => println!("{isa}: {error}"),
        }
    }
}

fn tables() {
    println!(
        "\n{:<36} {:>5} {:<9} {:>8} {:>6} {:>8} {:>9}",
        "shape", "word", "path", "1 thread", "x f32", "packed", "2 threads"
    );
    for (m, k, n) in
        [(1024, 1024, 1024), (128, 784, 128), (128, 800, 500), (128, 128, 10), (1, 784, 128), (1, 800, 500)]
    {
        matmul(m, k, n);
    }
    convolution("lenet conv1", 128, &conv(1, 28, 20, 5, 1));
    convolution("lenet conv2", 128, &conv(20, 12, 50, 5, 1));
    convolution("lenet conv1", 1, &conv(1, 28, 20, 5, 1));
    convolution("lenet conv2", 1, &conv(20, 12, 50, 5, 1));
    convolution("depthwise 32 of 28x28, 3x3", 32, &conv(32, 28, 32, 3, 32));
    bit_slicing();
    packing();
}

/// Whether the command line asks for this line.
fn asked(name: &str) -> bool {
    std::env::args().skip(1).filter(|word| !word.starts_with('-')).all(|word| name.contains(&word))
}

fn matmul(m: usize, k: usize, n: usize) {
    let name = format!("matmul {m}x{k}x{n}");
    if asked(&name) && !(quick() && m * k * n > 1 << 28) {
        let float = float(&name, m, k, n);
        matmul_over::<Z32>(&name, float, m, k, n);
        matmul_over::<Z48>(&name, float, m, k, n);
        matmul_over::<Z64>(&name, float, m, k, n);
    }
}

fn matmul_over<R: Ring>(name: &str, float: f64, m: usize, k: usize, n: usize) {
    let dims = MatDims { groups: 1, m, k, n };
    let (a, b) = (words::<R::Word>(m * k), words::<R::Word>(k * n));
    let mut out = words::<R::Word>(m * n);
    let packed = PackedMatrix::<R>::new(dims, &b);
    let one = rate(m * k * n, || matmul_acc_over::<R>(dims, &a, &b, &mut out));
    let ready = rate(m * k * n, || matmul_packed_acc(dims, &a, &packed, &mut out));
    let two = on_two_threads(|| rate(m * k * n, || matmul_acc_over::<R>(dims, &a, &b, &mut out)));
    row::<R>(name, one, float, ready, two);
}

fn conv(c: usize, size: usize, o: usize, kernel: usize, groups: usize) -> ConvGeometry {
    let output = size - kernel + 1;
    ConvGeometry {
        c,
        input: (size, size),
        o,
        output: (output, output),
        kernel: (kernel, kernel),
        strides: (1, 1),
        dilations: (1, 1),
        pads: (0, 0),
        groups,
    }
}

fn convolution(what: &str, batch: usize, g: &ConvGeometry) {
    let name = format!("{what}, batch {batch}");
    if asked(&name) {
        let taps = g.c / g.groups * g.kernel.0 * g.kernel.1;
        // Of one group: many small products are nothing the crate is made for.
        let float = float(&name, g.o / g.groups, taps, batch * g.output.0 * g.output.1);
        convolution_over::<Z32>(&name, float, batch, g);
        convolution_over::<Z48>(&name, float, batch, g);
        convolution_over::<Z64>(&name, float, batch, g);
    }
}

fn convolution_over<R: Ring>(name: &str, float: f64, batch: usize, g: &ConvGeometry) {
    let taps = g.c / g.groups * g.kernel.0 * g.kernel.1;
    let outputs = batch * g.o * g.output.0 * g.output.1;
    let (x, w) = (words::<R::Word>(batch * g.c * g.input.0 * g.input.1), words::<R::Word>(g.o * taps));
    let mut out = words::<R::Word>(outputs);
    let packed = PackedKernels::<R>::new(g, &w);
    let one = rate(outputs * taps, || conv2d_acc_over::<R>(g, batch, &x, &w, &mut out));
    let ready = rate(outputs * taps, || conv2d_packed_acc(batch, &x, &packed, &mut out));
    let two = on_two_threads(|| rate(outputs * taps, || conv2d_acc_over::<R>(g, batch, &x, &w, &mut out)));
    row::<R>(name, one, float, ready, two);
}

/// Measures and prints the `gemm` crate's rate of an `[m, k] x [k, n]` product, added to
/// what is there, on one thread.
fn float(name: &str, m: usize, k: usize, n: usize) -> f64 {
    let (a, b, mut out) = (vec![0.5f32; m * k], vec![0.25f32; k * n], vec![0f32; m * n]);
    let (wide, deep) = (n as isize, k as isize);
    let rate = rate(m * k * n, || {
        let (out, a, b) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr());
        let one = gemm::Parallelism::None;
        // SAFETY: the pointers are to row-major matrices of these sizes, and `out` is no
        // other operand.
        unsafe {
            gemm::gemm(m, n, k, out, 1, wide, true, a, 1, deep, b, 1, wide, 1., 1., false, false, false, one);
        }
    });
    println!("{name:<36} {:>5} {:<9} {rate:>8.2} {:>6}", "f32", "gemm", 1);
    rate
}

fn row<R: Ring>(name: &str, one: f64, float: f64, packed: f64, two: f64) {
    let word = format!("2^{}", R::WIDTH.bits());
    let ratio = one / float;
    println!("{name:<36} {word:>5} {:<9} {one:>8.2} {ratio:>6.2} {packed:>8.2} {two:>9.2}", isa().name());
}

fn on_two_threads<T>(work: impl FnOnce() -> T) -> T {
    match Threads::new(2) {
        Ok(threads) => threads.enter(work),
        Err(error) => {
            println!("{error}");
            work()
        }
    }
}

fn bit_slicing() {
    const N: usize = 1 << 17;
    let (narrow, wide) = (words::<u32>(N), words::<u64>(N));
    for width in [8, 16, 32] {
        line::<u32, _>(&format!("words to {width} planes"), N, "Gword/s", || BitPlanes::from_words(&narrow, 0, width));
        let planes = BitPlanes::from_words(&narrow, 0, width);
        line::<u32, _>(&format!("{width} planes to words"), N, "Gword/s", || planes.to_words::<u32>());
    }
    line::<u64, _>("words to 64 planes", N, "Gword/s", || BitPlanes::from_words(&wide, 0, 64));
    let planes = BitPlanes::from_words(&wide, 0, 64);
    line::<u64, _>("64 planes to words", N, "Gword/s", || planes.to_words::<u64>());
    line::<u32, _>("bits expanded", N, "Gword/s", || bits::expand_bits::<u32>(planes.plane(0), N));
    line::<u64, _>("bits expanded", N, "Gword/s", || bits::expand_bits::<u64>(planes.plane(0), N));
    let (x, y, mut sum) = (words::<u64>(1 << 12), words::<u64>(1 << 12), words::<u64>(1 << 12));
    line::<u64, _>("sum ^= x & y", (1 << 12) * 24, "GB/s", || bits::and_xor_assign(&mut sum, &x, &y));
}

fn packing() {
    const N: usize = 1 << 17;
    let (narrow, wide) = (words::<u32>(N), words::<u64>(N));
    for bits in [1, 20, 32] {
        line::<u32, _>(&format!("pack {bits} bits"), N * 4, "GB/s", || pack(&narrow, bits));
        let bytes = pack(&narrow, bits);
        line::<u32, _>(&format!("unpack {bits} bits"), N * 4, "GB/s", || unpack::<u32>(&bytes, bits, N));
    }
    for bits in [33, 48, 64] {
        line::<u64, _>(&format!("pack {bits} bits"), N * 8, "GB/s", || pack(&wide, bits));
        let bytes = pack(&wide, bits);
        line::<u64, _>(&format!("unpack {bits} bits"), N * 8, "GB/s", || unpack::<u64>(&bytes, bits, N));
    }
}

/// Prints the rate of what is no product.
fn line<W: Word, T>(name: &str, amount: usize, unit: &str, work: impl FnMut() -> T) {
    if asked(name) {
        let rate = rate(amount, work);
        println!("{name:<36} {:>5} {:<9} {rate:>8.2} {unit}", W::BITS, isa().name());
    }
}

/// The rate at which `work` does `amount` operations, in 10^9 a second.
fn rate<T>(amount: usize, mut work: impl FnMut() -> T) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while best == f64::INFINITY || start.elapsed().as_secs_f64() < seconds() {
        let run = Instant::now();
        black_box(work());
        best = best.min(run.elapsed().as_secs_f64());
    }
    amount as f64 / best / 1e9
}

/// Time for each rate.
fn seconds() -> f64 {
    if quick() { 0.002 } else { 0.08 }
}

fn quick() -> bool {
    std::env::args().any(|word| word == "--quick")
}

fn words<W: Word>(n: usize) -> Vec<W> {
    let mut prg: Prg = Seed::from_bytes([7; 32]).stream("bench");
    prg.u64s(n).into_iter().map(W::from_u64).collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The processor's model name, where the system tells.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".into(), |(_, name)| name.to_owned())
}
