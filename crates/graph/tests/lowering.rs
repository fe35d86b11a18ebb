//! The shipped models, lowered: ring and fractions as documented, integer results close to
//! the plain ones, and nothing out of its proven range on real and on extreme inputs.

use flate2::read::GzDecoder;
use std::io::Read;
use subrosa_core::RingWidth;
use subrosa_graph::{InputRange, LowerOptions, Lowered, Model, Reveal, lower, oracle};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn model(name: &str) -> Model {
    Model::from_bytes(&std::fs::read(format!("{ROOT}/models/{name}.onnx")).unwrap()).unwrap()
}

/// The first 100 test images, pixel / 255.
fn images() -> Vec<f32> {
    let path = format!("{ROOT}/data/mnist/t10k-first100-images-idx3-ubyte.gz");
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes[16..].iter().map(|&b| f32::from(b) / 255.0).collect()
}

fn lowered(model: &Model, range: InputRange, reveal: Reveal) -> Lowered {
    lower(model.graph(), &LowerOptions { ring: None, inputs: vec![range], reveal }).unwrap()
}

const PIXELS: InputRange = InputRange { lo: 0.0, hi: 1.0 };

fn label(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

struct Expected {
    ring: RingWidth,
    max_abs_err: f32,
}

/// `(model, ring, largest difference to plain over the first 100 test images)`. The
/// tolerance is what these fraction bits give, with a margin of about two.
const MODELS: [(&str, Expected); 8] = [
    ("mlp", Expected { ring: RingWidth::W32, max_abs_err: 0.1 }),
    ("cnn", Expected { ring: RingWidth::W32, max_abs_err: 0.1 }),
    ("lenet", Expected { ring: RingWidth::W32, max_abs_err: 0.2 }),
    ("lenet5", Expected { ring: RingWidth::W32, max_abs_err: 0.2 }),
    ("mlp_square", Expected { ring: RingWidth::W48, max_abs_err: 0.2 }),
    ("cnn_square", Expected { ring: RingWidth::W48, max_abs_err: 0.2 }),
    ("lenet_square", Expected { ring: RingWidth::W64, max_abs_err: 0.2 }),
    ("lenet_poly", Expected { ring: RingWidth::W64, max_abs_err: 0.2 }),
];

#[test]
fn digits_agree_with_plain() {
    let images = images();
    for (name, expected) in MODELS {
        let model = model(name);
        let lowered = lowered(&model, PIXELS, Reveal::Logits);
        let encoded = lowered.encode(0, &images).unwrap();
        let time = std::time::Instant::now();
        let values = oracle::run(&lowered.program, &lowered.weights, &[encoded], 100).unwrap();
        let time = time.elapsed();
        let got = lowered.decode(0, &values[0]);
        let plain = model.plain(100).unwrap().run(&[&images]).unwrap().remove(0);
        let err = got.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let same = got.chunks(10).zip(plain.chunks(10)).filter(|(a, b)| label(a) == label(b)).count();
        println!(
            "{name}: {} err {err} same {same} ulps {:?} frac {} {time:?}",
            lowered.program.ring, lowered.output_ulps, lowered.program.insts[lowered.program.outputs[0]].frac
        );
        println!("{}", lowered.program);
        assert_eq!(lowered.program.ring, expected.ring, "{name}");
        assert!(same >= 99, "{name}: {same} of 100 labels agree");
        assert!(err <= expected.max_abs_err, "{name}: differs by {err}");
    }
}
