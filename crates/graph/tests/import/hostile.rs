//! Files made to break the importer: each is one clear sentence, quickly.

use crate::build::Onnx;
use crate::build::Setting::{Float, Int, Ints, Text};
use crate::evaluator::Noise;
use prost::Message;
use std::time::{Duration, Instant};
use subrosa_graph::{Error, Model};

/// The message of a model that must be malformed, which comes at once.
fn refused(bytes: &[u8]) -> String {
    let start = Instant::now();
    let error = match Model::from_bytes(bytes) {
        Err(Error::Malformed(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("imported"),
    };
    assert!(start.elapsed() < Duration::from_secs(2), "{error}");
    assert!(!error.contains('\n') && error.chars().count() < 400, "{error}");
    error
}

fn names(model: Onnx, parts: &[&str]) {
    let error = refused(&model.bytes());
    parts.iter().for_each(|part| assert!(error.contains(part), "'{part}' is not in: {error}"));
}

fn x() -> Onnx {
    Onnx::new(17).input("x", &[0, 3])
}

#[test]
fn other_files() {
    assert!(refused(b"").contains("empty"));
    assert!(refused(b"PK\x03\x04....").contains("torch.onnx.export"));
    assert!(refused(b"{\"a\": 1}").contains("text"));
    assert!(refused(&[0x5a; 1000]).contains("not an ONNX model"));
    assert!(refused(&x().model.encode_to_vec()).contains("no outputs"));
}

#[test]
fn broken_graphs() {
    names(x().node("Relu", "b", "a", &[]).node("Relu", "a", "b", &[]).output("b"), &["'a'", "'b'", "cyclic"]);
    names(x().node("Relu", "a", "a", &[]).output("a"), &["cyclic"]);
    names(x().node("Relu", "ghost", "y", &[]).output("y"), &["'ghost'", "nothing makes"]);
    names(x().node("Relu", "x", "y", &[]).node("Abs", "x", "y", &[]).output("y"), &["'y'", "twice"]);
    names(x().output("y"), &["'y'"]);
    names(x().input("x", &[3]).output("x"), &["'x'"]);
    names(x().node("Relu", "_", "y", &[]).output("y"), &["input 0"]);
    names(x().node("Relu", "", "y", &[]).output("y"), &["input 0"]);
    names(x().weight("w", &[1], &[1.0]).weight("w", &[1], &[1.0]).output("x"), &["'w'"]);
}

#[test]
fn bad_inputs() {
    names(Onnx::new(17).input("x", &[0, 3, 0]).output("x"), &["axis 2", "'x'"]);
    names(Onnx::new(17).input("x", &[1 << 20, 1 << 20]).output("x"), &["'x'"]);
    names(Onnx::new(17).input("x", &[1 << 30]).output("x"), &["'x'"]);
    names(Onnx::new(5).input("x", &[0, 3]).output("x"), &["operator set 5"]);
    let mut integer = x().output("x");
    let tract_onnx::pb::type_proto::Value::TensorType(t) =
        integer.graph().input[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
    t.elem_type = 7;
    names(integer, &["'x'", "INT64"]);
}

#[test]
fn bad_weights() {
    let with = |dims: &[i64], values: &[f32]| x().weight("w", dims, values).node("Add", "x w", "y", &[]).output("y");
    names(with(&[3], &[1.0, f32::NAN, 1.0]), &["'w'", "NaN"]);
    names(with(&[3], &[1.0, f32::INFINITY, 1.0]), &["'w'", "inf"]);
    names(with(&[3], &[1.0]), &["'w'", "12 bytes"]);
    names(with(&[-3], &[1.0]), &["'w'", "negative"]);
    names(with(&[1 << 40], &[1.0]), &["'w'"]);
    names(with(&[i64::MAX, i64::MAX], &[1.0]), &["'w'"]);
    names(with(&[0], &[]), &["'y'"]);
    names(with(&[2], &[1.0, 2.0]), &["'y'", "do not fit"]);
    let zero = x().weight("w", &[], &[0.0]).node("Div", "x w", "y", &[]).output("y");
    names(zero, &["'y'", "divides", "0"]);
}

#[test]
fn explosions() {
    let huge = [1i64 << 20, 1 << 20];
    names(x().ints("s", &huge).node("ConstantOfShape", "s", "y", &[]).output("y"), &["'y'", "elements"]);
    names(x().ints("s", &[i64::MAX]).node("Expand", "x s", "y", &[]).output("y"), &["'y'"]);
    names(x().ints("s", &[1 << 24, 3]).node("Expand", "x s", "y", &[]).output("y"), &["'y'"]);
    names(x().ints("p", &[0, 1 << 40, 0, 0]).node("Pad", "x p", "y", &[]).output("y"), &["'y'", "pads"]);
    names(x().ints("p", &[0, i64::MIN, 0, 0]).node("Pad", "x p", "y", &[]).output("y"), &["'y'", "pads"]);
    names(x().ints("s", &[i64::MIN, -1]).node("Reshape", "x s", "y", &[]).output("y"), &["'y'", "reshape"]);
    names(x().ints("a", &[i64::MIN]).node("Unsqueeze", "x a", "y", &[]).output("y"), &["'y'", "axis"]);
    let image = || Onnx::new(17).input("x", &[0, 1, 4, 4]);
    let window = |k: &'static [i64]| image().node("MaxPool", "x", "y", &[("kernel_shape", Ints(k))]).output("y");
    names(window(&[i64::MAX, 2]), &["'y'", "kernel_shape"]);
    names(window(&[0, 2]), &["'y'", "kernel_shape"]);
    names(window(&[5, 5]), &["'y'", "does not fit"]);
    let pads: &[i64] = &[1 << 20, 1 << 20, 1 << 20, 1 << 20];
    let padded = image().weight("w", &[1, 1, 1, 1], &[1.0]).node("Conv", "x w", "y", &[("pads", Ints(pads))]);
    names(padded.output("y"), &["'y'"]);
    let mut doubling = x();
    let mut last = "x".to_owned();
    for i in 0..40 {
        doubling = doubling.node("Concat", &format!("{last} {last}"), &format!("c{i}"), &[("axis", Int(1))]);
        last = format!("c{i}");
    }
    names(doubling.output("c39"), &["one sample takes more than"]);
}

/// A small file that uses one weight again and again must not grow with each use.
#[test]
fn repeated_weights_stay_in_proportion() {
    let weights = Noise(2).floats(512 * 512);
    let square = Onnx::new(17).input("x", &[0, 512]).weight("w", &[512, 512], &weights);
    let mut model = square.clone();
    let mut last = "x".to_owned();
    for i in 0..200 {
        model = model.node("Gemm", &format!("{last} w"), &format!("g{i}"), &[("alpha", Float(0.5))]);
        last = format!("g{i}");
    }
    names(model.output("g199"), &["'w'", "outgrow the file"]);
    let mut model = square.weight("f", &[], &[1.01]).node("MatMul", "x w", "m", &[]);
    let mut last = "m".to_owned();
    for i in 0..200 {
        model = model.node("Mul", &format!("{last} f"), &format!("f{i}"), &[]);
        last = format!("f{i}");
    }
    let model = Model::from_bytes(&model.output("f199").bytes()).unwrap();
    assert!(model.graph().nodes.len() > 100, "factors absorbed without end");
}

#[test]
fn names_from_the_file_are_fit_to_print() {
    let long = "n".repeat(100_000);
    assert!(refused(&x().node("Relu", &long, "y", &[]).output("y").bytes()).contains("nnn…"));
    assert!(refused(&x().node("Relu", "\x1b[2J", "y", &[]).output("y").bytes()).contains("\u{fffd}[2J"));
    names(x().node("Relu", "x", "y\x07", &[]).output("y\x07"), &["unreadable"]);
    let inspection = Model::inspect(&x().node("\x1b\n", "x", "y", &[]).output("y").bytes()).unwrap();
    assert_eq!(inspection.ops[0].0, "\u{fffd}\u{fffd}");
    assert_eq!(inspection.unsupported[0].op, "\u{fffd}\u{fffd}");
}

#[test]
fn ranks_are_bounded() {
    names(Onnx::new(17).input("x", &[1; 1000]).output("x"), &["rank 1000"]);
    names(x().weight("w", &[1; 1000], &[1.0]).node("Add", "x w", "y", &[]).output("y"), &["'w'", "1000 dimensions"]);
    names(x().ints("s", &[1; 1000]).node("Reshape", "x s", "y", &[]).output("y"), &["'y'"]);
}

#[test]
fn long_chains_do_not_overflow_the_stack() {
    let mut model = x();
    for i in 0..20_000 {
        let (from, to) = (if i == 0 { "x".to_owned() } else { format!("n{}", i - 1) }, format!("n{i}"));
        model = model.node("Relu", &from, &to, &[]);
    }
    assert_eq!(Model::from_bytes(&model.output("n19999").bytes()).unwrap().graph().nodes.len(), 20_001);
}

/// A factor behind many sums would be pushed through each of them.
#[test]
fn a_factor_behind_many_sums_does_not_overflow_the_stack() {
    let mut model = Onnx::new(17).input("x", &[3, 3]).weight("c", &[3, 1], &[1.0; 3]).weight("r", &[1, 3], &[2.0; 3]);
    let mut last = "x".to_owned();
    for i in 0..10_000 {
        model = model.node("Add", &format!("{last} {}", ["c", "r"][i % 2]), &format!("n{i}"), &[]);
        last = format!("n{i}");
    }
    let model = model.weight("f", &[], &[3.0]).node("Mul", &format!("{last} f"), "y", &[]).output("y");
    let bytes = model.bytes();
    let small = std::thread::Builder::new().stack_size(1 << 20);
    small.spawn(move || Model::from_bytes(&bytes).map(drop).unwrap()).unwrap().join().unwrap();
}

/// What a small file says of sizes takes no memory before somebody has looked at it.
#[test]
fn gathered_numbers_are_bounded() {
    let one = || Onnx::new(17).input("x", &[0, 1, 1, 1]);
    let most = i64::from(i32::MAX);
    let tall: &[i64] = &[most, 1];
    let pads: &[i64] = &[most - 1, 0, 0, 0];
    for op in ["MaxPool", "AveragePool"] {
        let model = one().node(op, "x", "y", &[("kernel_shape", Ints(tall)), ("pads", Ints(pads))]).output("y");
        names(model, &["'y'", "gathers"]);
    }
    let both = Onnx::new(17)
        .input("x", &[1024, 1, 1, 1024])
        .ints("s", &[1, 1024, 1024, 1])
        .node("Reshape", "x s", "t", &[])
        .node("MatMul", "x t", "y", &[])
        .output("y");
    names(both, &["'y'", "gathers"]);
    let wide = vec![1i64; 30];
    let all = vec![1i64 << 24; 60];
    let edge = Onnx::new(17).input("x", &wide).ints("p", &all).node("Pad", "x p", "y", &[("mode", Text("edge"))]);
    names(edge.output("y"), &["'y'"]);
}

/// Damaged copies of a valid model: any result but a panic, a hang or a huge allocation.
#[test]
fn damaged_files_never_panic() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/");
    let seeds: Vec<Vec<u8>> =
        vec![std::fs::read(format!("{models}breast_cancer_mlp.onnx")).unwrap(), small_model().bytes()];
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut noise = Noise(seed);
    let start = Instant::now();
    let mut tried = 0;
    while tried < 6000 && start.elapsed() < Duration::from_secs(8) {
        let mut bytes = seeds[tried % seeds.len()].clone();
        for _ in 0..=noise.word() % 4 {
            damage(&mut bytes, &mut noise);
        }
        let _ = Model::from_bytes(&bytes);
        tried += 1;
    }
    assert!(tried > 500, "only {tried} files in {:?}", start.elapsed());
    if let Some(peak) = peak_memory_mb() {
        assert!(peak < 1024, "the process took {peak} MiB");
    }
}

/// Largest resident memory of this process so far, where the system tells it.
fn peak_memory_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// One of the changes that parsers trip over.
fn damage(bytes: &mut Vec<u8>, noise: &mut Noise) {
    if bytes.is_empty() {
        return;
    }
    let at = noise.word() as usize % bytes.len();
    match noise.word() % 6 {
        0 => bytes[at] = noise.word() as u8,
        1 => bytes[at] ^= 1 << (noise.word() % 8),
        2 => bytes.truncate(at),
        3 => drop(bytes.remove(at)),
        4 => bytes.insert(at, [0x00, 0x7f, 0x80, 0xff][noise.word() as usize % 4]),
        _ => {
            let end = bytes.len().min(at + 1 + noise.word() as usize % 40);
            let run = bytes[at..end].to_vec();
            bytes.splice(at..at, run);
        }
    }
}

/// A little of everything that has parameters.
fn small_model() -> Onnx {
    let mut noise = Noise(9);
    let model = Onnx::new(13).input("x", &[0, 2, 6, 6]).weight("w", &[3, 2, 3, 3], &noise.floats(54));
    let model = model.node("Conv", "x w", "c", &[("pads", Ints(&[1, 1, 1, 1])), ("strides", Ints(&[1, 2]))]);
    let model =
        model.node("MaxPool", "c", "p", &[("kernel_shape", Ints(&[2, 2]))]).ints("pads", &[0, 0, 0, 1, 0, 0, 1, 0]);
    let model = model.node("Pad", "p pads", "q", &[]).ints("s", &[0]).ints("e", &[2]).ints("a", &[2]);
    let model = model.node("Slice", "q s e a", "r", &[]).node("Shape", "r", "sh", &[]).ints("i", &[0]).ints("m", &[-1]);
    let model = model.node("Gather", "sh i", "n", &[]).node("Concat", "n m", "to", &[("axis", Int(0))]);
    let model = model.node("Reshape", "r to", "f", &[]).node("Transpose", "f", "t", &[("perm", Ints(&[0, 1]))]);
    model.node("Softmax", "t", "sm", &[]).node("ReduceSum", "sm a2", "y", &[]).ints("a2", &[1]).output("y")
}
