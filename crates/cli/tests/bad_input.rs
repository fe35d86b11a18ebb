//! Every mistake ends in one sentence on stderr that names the culprit and the remedy,
//! with exit code 1 (or 2 for the command line), no panic and no output file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::fs;
use std::path::Path;
use support::{onnx, shipped, subrosa};

/// Arguments, exit code, and what stderr must say.
type Case<'a> = (Vec<&'a str>, i32, &'a [&'a str]);

fn check(folder: &Path, cases: &[Case<'_>]) {
    let before = entries(folder);
    for (arguments, code, said) in cases {
        let ran = subrosa(folder, arguments);
        assert_eq!(ran.code, Some(*code), "{arguments:?}: {}", ran.stderr);
        for words in *said {
            assert!(ran.stderr.contains(words), "{arguments:?} does not say '{words}': {}", ran.stderr);
        }
        assert_eq!(ran.stdout, "", "{arguments:?} printed a result");
        assert!(ran.stderr.starts_with("error: ") || ran.stderr.starts_with("note: "), "{}", ran.stderr);
        if *code == 1 {
            let errors = ran.stderr.lines().filter(|l| l.starts_with("error: ")).count();
            assert_eq!(errors, 1, "{arguments:?}: one sentence is wanted: {}", ran.stderr);
        }
        assert_eq!(entries(folder), before, "{arguments:?} left a file");
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn command_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mlp = shipped("models/mlp.onnx");
    let mlp = mlp.as_str();
    let backends =
        "unknown backend 'rep5': choose one of plain, rep3, rep4, beaver, beaver3, beaver4, beaver5, ckks, tee";
    check(
        folder.path(),
        &[
            (vec!["plan", mlp, "--via", "rep5"], 2, &[backends]),
            (vec!["run", mlp, "--input", "x.npy", "--via", "rep5"], 2, &[backends]),
            (vec!["compare", "--via", "rep5"], 2, &[backends]),
            (vec!["frobnicate"], 2, &["unrecognized subcommand 'frobnicate'"]),
            (vec!["plan", mlp, "--frobnicate"], 2, &["unexpected argument '--frobnicate'"]),
            (vec!["plan", mlp, "--ring", "40"], 2, &["choose one of 32, 48, 64"]),
            (vec!["plan", mlp, "--batch", "0"], 2, &["a batch of 0 samples is not possible; choose 1 to"]),
            (vec!["plan", mlp, "--batch", "x"], 2, &["invalid value 'x'"]),
            (vec!["plan", mlp, "--input-range", "1,0"], 2, &["LO,HI with LO below HI"]),
            (vec!["plan", mlp, "--input-range", "nan,1"], 2, &["LO,HI with LO below HI"]),
            (vec!["plan", mlp, "--input-range", "0,1", "--calibrate", "x"], 2, &["cannot be used with"]),
            (vec!["plan", mlp, "--via", "plain", "--ring", "32"], 2, &["'plain' has neither"]),
            (vec!["run", mlp], 2, &["--input <FILE>"]),
            (vec!["run", mlp, "--input", "x.npy", "--verify", "--simulate"], 2, &["cannot be used with"]),
            (vec!["run", mlp, "--input", "x.npy", "--output", "y.txt"], 2, &["end its name in .npy, .json or .csv"]),
            (vec!["compare", "--threads", "0"], 2, &["choose 1 to 256"]),
            (vec!["compare", "--images", "0"], 2, &["invalid value '0'"]),
            (vec!["compare", "--labels", "x"], 2, &["--data <FILE>"]),
            (vec!["completions", "tcsh"], 2, &["invalid value 'tcsh'"]),
        ],
    );
}

#[test]
fn models() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let whole = fs::read(shipped("models/mlp.onnx")).unwrap();
    put("truncated.onnx", &whole[..whole.len() / 2]);
    put("start.onnx", &whole[..20]);
    put("empty.onnx", b"");
    put("text.onnx", b"this is no model\n");
    put("zeros.onnx", &[0; 4096]);
    fs::create_dir(folder.path().join("folder.onnx")).unwrap();
    for name in ["truncated.onnx", "start.onnx", "empty.onnx", "text.onnx", "zeros.onnx"] {
        check(
            folder.path(),
            &[
                (vec!["inspect", name], 1, &[name]),
                (vec!["plan", name], 1, &[name]),
                (vec!["run", name, "--input", "x.npy", "--output", "y.npy"], 1, &[name]),
                (vec!["compare", "--model", name], 1, &[name]),
            ],
        );
    }
    check(
        folder.path(),
        &[
            (vec!["inspect", "none.onnx"], 1, &["cannot read none.onnx: no such file or directory; check the path"]),
            (vec!["plan", "folder.onnx"], 2, &["folder.onnx is a directory; name an ONNX file in it"]),
        ],
    );
}

#[test]
fn hostile_models() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, content: Vec<u8>| fs::write(folder.path().join(name), content).unwrap();
    let add = [("plus", "Add", "x,w", "y")];
    put("huge.onnx", onnx::model(&add, &[("w", &[1 << 20, 1 << 20], &[1.0])]));
    put("overflow.onnx", onnx::model(&add, &[("w", &[i64::MAX, 4], &[1.0])]));
    put("negative.onnx", onnx::model(&add, &[("w", &[-4], &[1.0])]));
    put("nan.onnx", onnx::model(&add, &[("w", &[4], &[1.0, f32::NAN, 0.0, 0.0])]));
    put("infinite.onnx", onnx::model(&add, &[("w", &[4], &[1.0, f32::INFINITY, 0.0, 0.0])]));
    put("cycle.onnx", onnx::model(&[("a", "Add", "x,c", "b"), ("b", "Relu", "b", "c"), ("d", "Relu", "c", "y")], &[]));
    put("loose.onnx", onnx::model(&[("a", "Relu", "nowhere", "y")], &[]));
    for name in ["huge.onnx", "overflow.onnx", "negative.onnx", "nan.onnx", "infinite.onnx", "cycle.onnx", "loose.onnx"]
    {
        check(folder.path(), &[(vec!["plan", name], 1, &[name])]);
    }
}

#[test]
fn inputs() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let row = |value: &str| format!("{value}{}\n", ",0.5".repeat(29));
    put("good.csv", row("0.5").as_bytes());
    put("nan.csv", row("nan").as_bytes());
    put("infinite.csv", row("inf").as_bytes());
    put("far.csv", (row("0.5") + &row("7")).as_bytes());
    put("narrow.csv", b"1,2,3\n4,5,6\n");
    put("word.csv", row("five").as_bytes());
    put("ragged.csv", (row("1") + "1,2\n").as_bytes());
    put("empty.csv", b"");
    put("cut.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'");
    put("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    put("noise.bin", &[0xff, 0xfe, 0, 1, 2]);
    put("labels.csv", b"1\n0\n");
    let cancer = shipped("models/breast_cancer_mlp.onnx");
    let mlp = shipped("models/mlp.onnx");
    let run = |model: &'static str, input: &'static str| {
        vec!["run", model, "--input", input, "--input-range", "0,1", "--output", "y.npy"]
    };
    // Leaked so that the table below reads well.
    let (cancer, mlp): (&'static str, &'static str) = (cancer.leak(), mlp.leak());
    check(
        folder.path(),
        &[
            (run(cancer, "none.npy"), 1, &["cannot read none.npy", "check the path"]),
            (run(cancer, "nan.csv"), 1, &["sample 1, value 1 is NaN", "replace NaN and infinities"]),
            (run(cancer, "infinite.csv"), 1, &["sample 1, value 1 is inf", "replace NaN and infinities"]),
            (run(cancer, "far.csv"), 1, &["sample 2, value 1 is 7, outside the range [0, 1]", "--input-range LO,HI"]),
            (run(cancer, "narrow.csv"), 1, &["narrow.csv holds 3 columns", "takes [N, 30]"]),
            (run(cancer, "word.csv"), 1, &["line 1, column 1 is no number: 'five'"]),
            (run(cancer, "ragged.csv"), 1, &["line 2 has 2 columns where the first has 30"]),
            (run(cancer, "empty.csv"), 1, &["holds no numbers"]),
            (run(cancer, "cut.npy"), 1, &["cut.npy: not a readable NumPy array", "cut short"]),
            (run(mlp, "cut.png"), 1, &["cut.png: the PNG picture is damaged or cut short"]),
            (run(mlp, "noise.bin"), 1, &["noise.bin: it is in no known format; give .npy"]),
            (run(mlp, "good.csv"), 1, &["good.csv holds 30 columns", "takes [N, 1, 28, 28]"]),
            (vec!["run", cancer, "--input", "good.csv", "--labels", "labels.csv"], 1, &["2 labels were given for 1"]),
            (vec!["run", cancer, "--input", "good.csv", "--output", "none/y.npy"], 1, &["there is no folder none"]),
            (vec!["plan", cancer, "--calibrate", "nan.csv"], 1, &["calibration data is not finite"]),
            (vec!["compare", "--model", cancer], 2, &["MNIST images do not fit model 'breast_cancer_mlp'", "--data"]),
            (vec!["compare", "--html", "none/r.html"], 1, &["there is no folder none"]),
        ],
    );
}

#[test]
fn a_model_that_fits_no_ring_is_refused_with_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let mlp = shipped("models/mlp.onnx");
    check(folder.path(), &[(vec!["plan", &mlp, "--input-range", "-1e12,1e12"], 1, &["node '", "range"])]);
}

#[test]
fn a_model_that_mixes_the_samples_of_a_batch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = [("t", "Transpose", "x", "t"), ("a", "MatMul", "x,t", "a"), ("b", "MatMul", "a,x", "y")];
    fs::write(folder.path().join("mixing.onnx"), onnx::model(&nodes, &[])).unwrap();
    let range = ["--input-range", "-1,1"];
    let plan = |batch| [vec!["plan", "mixing.onnx", "--batch", batch], range.to_vec()].concat();
    check(folder.path(), &[(plan("2"), 1, &["mixes the samples"])]);
}
