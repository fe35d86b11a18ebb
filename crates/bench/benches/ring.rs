//! Rates of the ring kernels on one core: `ring [WORD...]` runs the lines whose name
//! contains every word. Each instruction set runs in a process of its own, because a
//! process chooses its kernels once.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::time::Instant;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{Prg, Seed};
use subrosa_ring::isa::ISA_VARIABLE;
use subrosa_ring::{BitPlanes, Isa, Word, bits, conv2d_acc, isa, matmul_acc, pack, unpack};

fn main() {
    if std::env::var_os(ISA_VARIABLE).is_some() {
        return table();
    }
    println!("{}, one core, best of several runs", cpu());
    println!("{:<44} {:>4}  {:<9} {:>10}", "what", "word", "isa", "rate");
    for isa in Isa::ALL.into_iter().filter(|i| i.is_available()) {
        let child = std::env::current_exe().and_then(|exe| {
            std::process::Command::new(exe).args(std::env::args_os().skip(1)).env(ISA_VARIABLE, isa.name()).status()
        });
        if let Err(error) = child {
            println!("{isa}: {error}");
        }
    }
}

fn table() {
    for (m, k, n) in [
        (1024, 1024, 1024),
        (128, 784, 128),
        (128, 128, 10),
        (1024, 784, 10),
        (1, 784, 128),
        (2, 784, 128),
        (4, 784, 128),
        (20, 25, 73728),
        (500, 800, 128),
    ] {
        product::<u32>(m, k, n);
        product::<u64>(m, k, n);
    }
    let lenet = (conv(1, 28, 20, 5, 1), conv(20, 12, 50, 5, 1));
    for (batch, g) in [(1, &lenet.0), (128, &lenet.0), (1, &lenet.1), (128, &lenet.1), (32, &conv(32, 28, 32, 3, 32))] {
        convolution::<u32>(batch, g);
        convolution::<u64>(batch, g);
    }
    bit_slicing();
    packing();
}

fn product<W: Word>(m: usize, k: usize, n: usize) {
    let dims = MatDims { groups: 1, m, k, n };
    let (a, b) = (words::<W>(m * k), words::<W>(k * n));
    let mut out = words::<W>(m * n);
    line::<W, _>(&format!("matmul {m} x {k} x {n}"), m * k * n, "GMAC/s", || matmul_acc(dims, &a, &b, &mut out));
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

fn convolution<W: Word>(batch: usize, g: &ConvGeometry) {
    let taps = g.c / g.groups * g.kernel.0 * g.kernel.1;
    let outputs = batch * g.o * g.output.0 * g.output.1;
    let (x, w) = (words::<W>(batch * g.c * g.input.0 * g.input.1), words::<W>(g.o * taps));
    let mut out = words::<W>(outputs);
    let name = format!(
        "conv {} {}x{} -> {}, {}x{}, groups {}, batch {batch}",
        g.c, g.input.0, g.input.1, g.o, g.kernel.0, g.kernel.1, g.groups
    );
    line::<W, _>(&name, outputs * taps, "GMAC/s", || conv2d_acc(g, batch, &x, &w, &mut out));
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
}

fn packing() {
    const N: usize = 1 << 17;
    let (narrow, wide) = (words::<u32>(N), words::<u64>(N));
    for bits in [1, 20, 32] {
        line::<u32, _>(&format!("pack {bits} bits"), N * 4, "GB/s", || pack(&narrow, bits));
        let bytes = pack(&narrow, bits);
        line::<u32, _>(&format!("unpack {bits} bits"), N * 4, "GB/s", || unpack::<u32>(&bytes, bits, N));
    }
    for bits in [33, 48, 52, 64] {
        line::<u64, _>(&format!("pack {bits} bits"), N * 8, "GB/s", || pack(&wide, bits));
        let bytes = pack(&wide, bits);
        line::<u64, _>(&format!("unpack {bits} bits"), N * 8, "GB/s", || unpack::<u64>(&bytes, bits, N));
    }
}

/// Prints the rate at which `work` does `amount` operations, in 10^9 a second.
fn line<W: Word, T>(name: &str, amount: usize, unit: &str, mut work: impl FnMut() -> T) {
    if !std::env::args().skip(1).filter(|word| !word.starts_with('-')).all(|word| name.contains(&word)) {
        return;
    }
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed().as_secs_f64() < SECONDS {
        let run = Instant::now();
        black_box(work());
        best = best.min(run.elapsed().as_secs_f64());
    }
    let rate = amount as f64 / best / 1e9;
    println!("{name:<44} {:>4}  {:<9} {rate:>8.2} {unit}", W::BITS, isa().name());
}

/// Seconds spent on each line.
const SECONDS: f64 = 0.15;

fn words<W: Word>(n: usize) -> Vec<W> {
    let mut prg: Prg = Seed::from_bytes([7; 32]).stream("bench");
    prg.u64s(n).into_iter().map(W::from_u64).collect()
}

/// The processor's model name, where the system tells.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".into(), |(_, name)| name.to_owned())
}
