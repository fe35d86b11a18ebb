#!/usr/bin/env python3
"""Write models/README.md and models/cards/*.md from the model files.

    python models/make_cards.py            # write
    python models/make_cards.py --check    # exit 1 if a card or a recorded fact is out of date

Needs: onnx, numpy.  Shapes, parameters and sha256 are computed from the .onnx files and
must agree with accuracy.json; accuracy is quoted from there.  The accuracy of the
breast_cancer models is measured here too, because their test set is small.
"""
import argparse
import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TRAIN = (HERE / "train.py").read_text()

SUMMARY = {
    "mlp": "Two hidden layers of 128 with ReLU: network A of the private-inference literature.",
    "cnn": "One strided convolution and two dense layers with ReLU: network D of the literature.",
    "lenet": "LeNet as in Caffe (20 and 50 channels), max-pooling: network C of the literature.",
    "lenet5": "The classic LeNet-5 (6-16-120-84-10) with ReLU and average pooling.",
    "mlp_square": "`mlp` with squares in place of ReLU: additions and multiplications only.",
    "cnn_square": "`cnn` with squares in place of ReLU: additions and multiplications only.",
    "lenet_square": "`lenet` with average pooling and squares: additions and multiplications only.",
    "lenet_poly": "`lenet` with average pooling and a learned `a x^2 + b x + c` a layer: additions and "
    "multiplications only.",
    "lenet5_square": "`lenet5` with squares in place of ReLU (batch norms folded): additions and multiplications only.",
    "breast_cancer_mlp": "A small dense network with ReLU on 30 tabular features.",
    "breast_cancer_logreg": "Logistic regression (one dense layer, two logits) on 30 tabular features.",
}
NAMES = list(SUMMARY)
HEAD = "<!-- Written by models/make_cards.py; do not edit. -->\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    records = json.loads((HERE / "accuracy.json").read_text())
    if set(records) != set(NAMES) or {p.stem for p in HERE.glob("*.onnx")} != set(NAMES):
        sys.exit("models/: the .onnx files, accuracy.json and make_cards.py name different models")
    facts = {name: examine(name, records[name]) for name in NAMES}
    pages = {f"cards/{name}.md": card(name, facts[name], records[name]) for name in NAMES}
    pages["README.md"] = index(facts, records)
    stale = [path for path, text in pages.items() if not same(HERE / path, text)]
    if check and stale:
        sys.exit(f"out of date, run models/make_cards.py: {', '.join(stale)}")
    for path in stale:
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_text(pages[path])
    print(f"{len(pages)} pages {'checked' if check else 'written or unchanged'}")


def same(path, text):
    return path.exists() and path.read_text() == text


def examine(name, record):
    """Facts computed from the file; exits where accuracy.json says otherwise."""
    path = HERE / f"{name}.onnx"
    raw = path.read_bytes()
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(raw), strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    shapes = {v.name: dims(v) for v in [*model.graph.value_info, *model.graph.input, *model.graph.output]}
    layers = [layer(node, weights, shapes) for node in model.graph.node if node.op_type != "Constant"]
    facts = {
        "bytes": len(raw),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "parameters": int(sum(w.size for w in weights.values() if w.dtype == np.float32)),
        "opset": model.opset_import[0].version,
        "input": (model.graph.input[0].name, shapes[model.graph.input[0].name]),
        "output": (model.graph.output[0].name, shapes[model.graph.output[0].name]),
        "layers": layers,
        "macs": sum(row[4] for row in layers),
    }
    for key in ("sha256", "parameters", "opset", "bytes"):
        if key in record and record[key] != facts[key]:
            sys.exit(f"{name}: {key} is {facts[key]}, accuracy.json says {record[key]}")
    if name.startswith("breast_cancer"):
        measure_table(name, raw, record)
    return facts


def measure_table(name, raw, record):
    split = np.load(ROOT / "data/breast_cancer/breast_cancer_split.npz", allow_pickle=False)
    logits = ReferenceEvaluator(onnx.load_from_string(raw)).run(None, {"input": split["x_test"]})[0]
    correct = int((logits.argmax(1) == split["y_test"]).sum())
    if correct != record["correct"]:
        sys.exit(f"{name}: {correct} test rows right, accuracy.json says {record['correct']}")


def dims(value):
    return "[" + ", ".join(d.dim_param or str(d.dim_value) for d in value.type.tensor_type.shape.dim) + "]"


def layer(node, weights, shapes):
    """(operator, output shape, weights, attributes in words, multiply-adds per sample)."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    own = [f"`{i}` {list(weights[i].shape)}" for i in node.input if i in weights]
    words = [f"{k} {v}" for k, v in attributes.items() if k not in DEFAULTS or v != DEFAULTS[k]]
    out = shapes[node.output[0]]
    macs = 0
    if node.op_type in ("Gemm", "Conv"):
        w = weights[node.input[1]]
        positions = np.prod([int(d) for d in out.strip("[]").split(", ")[2:]] or [1])
        macs = int(w.size * positions)
    return node.op_type, out, ", ".join(own), ", ".join(words), macs


# Attribute values not worth a reader's time.
DEFAULTS = {"alpha": 1.0, "beta": 1.0, "transB": 1, "axis": 1, "group": 1, "ceil_mode": 0, "count_include_pad": 1,
            "dilations": [1, 1], "pads": [0, 0, 0, 0]}


def card(name, facts, record):
    rows = "\n".join(f"| {i} | {op} | {out} | {own} | {words} |"
                     for i, (op, out, own, words, _) in enumerate(facts["layers"]))
    return f"""{HEAD}# {name}

{SUMMARY[name]}

| | |
|---|---|
| File | [`models/{name}.onnx`](../{name}.onnx), {facts['bytes']:,} bytes, opset {facts['opset']} |
| sha256 | `{facts['sha256']}` |
| Licence | MIT |
| Input | `{facts['input'][0]}`: float32 {facts['input'][1]}, {input_words(name)} |
| Output | `{facts['output'][0]}`: float32 {facts['output'][1]}, logits{classes(record)} |
| Parameters | {facts['parameters']:,} |
| Multiply-adds per sample | {facts['macs']:,} |
| Accuracy | {accuracy(record)} |

## Architecture

`N` is the batch.

| | Operator | Output | Weights | Attributes |
|---|---|---|---|---|
{rows}

{numbers(record)}## How it was trained

{training(name, record)}
"""


def input_words(name):
    if name.startswith("breast_cancer"):
        return "each feature standardised as `(x - mean) / std` with the mean and deviation of the training rows"
    return "pixel / 255, no mean or deviation shift"


def classes(record):
    return f"; classes {', '.join(record['classes'])}" if "classes" in record else " for the digits 0 to 9"


def accuracy(record):
    total = record.get("test_images") or record["test_samples"]
    what = "test images of MNIST" if "test_images" in record else "test rows"
    return f"{100 * record['accuracy_float32_onnxruntime']:.2f} % ({record['correct']:,} of {total:,} {what}, ONNX Runtime, float32)"


def numbers(record):
    text = ""
    if "accuracy_fixed_point_by_fraction_bits" in record:
        cells = record["accuracy_fixed_point_by_fraction_bits"]
        text += ("## Accuracy in fixed point\n\nWeights and every layer's output rounded to that many fraction bits, test set.\n\n"
                 f"| Fraction bits | {' | '.join(cells)} |\n|---|{'---|' * len(cells)}\n"
                 f"| Accuracy | {' | '.join(f'{100 * v:.2f} %' for v in cells.values())} |\n\n")
    if "max_abs_after_layer_on_test_set" in record:
        cells = record["max_abs_after_layer_on_test_set"]
        text += ("## Largest magnitude after each layer\n\nOver the test set; layers as in the training script.\n\n"
                 "| Layer | max abs |\n|---|---|\n" + "".join(f"| {k} | {v} |\n" for k, v in cells.items()) + "\n")
    if "confusion_true_by_predicted" in record:
        (a, b), (c, d) = record["confusion_true_by_predicted"]
        text += ("## Confusion on the test rows\n\n| true \\ predicted | malignant | benign |\n|---|---|---|\n"
                 f"| malignant | {a} | {b} |\n| benign | {c} | {d} |\n\n")
    return text


def training(name, record):
    if name.startswith("breast_cancer"):
        return TABLE_TRAINING
    row = re.search(rf'"{name}": \((lambda: .*), (\d+), (\d+), (\S+), (\d), (\S+)\),', TRAIN)
    build, seed, epochs, rate, shift, decay = row.groups()
    if (int(seed), int(epochs)) != (record["seed"], record["epochs"]):
        sys.exit(f"{name}: train.py and accuracy.json name another seed or number of epochs")
    folded = ("The network was trained with a BatchNorm after each linear layer but the last; they are folded into the "
              "weights before export.\n\n") if "lenet_bn" in build else ""
    return f"""{folded}On the 60,000 training images of MNIST with [`train.py`](../train.py): seed {seed}, {epochs} epochs, batch 128, AdamW
with weight decay {decay}, one-cycle learning rate with peak {rate}, gradient norm clipped to 1, random shifts of at most
{shift} pixel{'' if shift == '1' else 's'} each way (one shift a mini-batch), cross-entropy; PyTorch {record['torch']}, {record['train_seconds']:.0f} s on CPU.

    python models/train.py --data DIR --out models --only {name}

needs `torch`, `onnx`, `onnxruntime`, `numpy` and the full MNIST in `DIR`; this repository ships only its test set. The
seed fixes the run on one version of PyTorch and one kind of processor; elsewhere expect small differences."""


TABLE_TRAINING = """On the 455 training rows of the Wisconsin diagnostic data, split and standardised as
[`data/breast_cancer`](../../data/breast_cancer/README.md) describes and its script reproduces.

**Not reproducible from this repository.** `train.py` does not train this model, and its optimiser, seed and number of
epochs were not recorded. Known from the file itself: it was exported by PyTorch 2.6.0. The accuracy above is measured
again whenever `make_cards.py` runs."""


def index(facts, records):
    rows = "\n".join(
        f"| [{n}](cards/{n}.md) | {facts[n]['input'][1]} | {facts[n]['parameters']:,} | {facts[n]['macs']:,} "
        f"| {100 * records[n]['accuracy_float32_onnxruntime']:.2f} % | {SUMMARY[n]} |" for n in NAMES)
    return f"""{HEAD}# Models

Trained by this project; licence MIT. Each has a card with its architecture, sha256 and training.

| Model | Input | Parameters | Multiply-adds | Accuracy | |
|---|---|---|---|---|---|
{rows}

- Digits: float32 `[N, 1, 28, 28]`, pixel / 255; ten logits; accuracy on the 10,000 test images of MNIST
  ([`data/mnist`](../data/mnist/README.md)).
- `breast_cancer_*`: float32 `[N, 30]`, standardised; two logits; accuracy on 114 test rows
  ([`data/breast_cancer`](../data/breast_cancer/README.md)). A demonstration, not a medical device.
- `accuracy.json` holds what was measured at training time with ONNX Runtime.
- `train.py` trained the digit models. `make_cards.py` writes these pages from the files; `--check` verifies them.
"""


if __name__ == "__main__":
    main()
