#!/usr/bin/env python3
"""Reproduce the split and write the table that the breast_cancer models read.

    python data/breast_cancer/make_tables.py            # check the split, write standardised_test.csv
    python data/breast_cancer/make_tables.py --check    # exit 1 if either differs

Needs: numpy.
"""
import io
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
MEASURES = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave_points",
            "symmetry", "fractal_dimension"]
FEATURES = [f"{m}_{s}" for s in ("mean", "se", "worst") for m in MEASURES]
TRAINING_ROWS = 455


def main():
    stored = np.load(HERE / "breast_cancer_split.npz", allow_pickle=False)
    made = split()
    for key, values in made.items():
        if not np.array_equal(values, stored[key]):
            sys.exit(f"breast_cancer_split.npz: {key} is not what breast_cancer.csv gives")
    text = table(stored["x_test"], stored["y_test"])
    path = HERE / "standardised_test.csv"
    if "--check" in sys.argv[1:]:
        if not path.exists() or path.read_text() != text:
            sys.exit("standardised_test.csv is out of date, run data/breast_cancer/make_tables.py")
    else:
        path.write_text(text)
    print(f"split reproduced, {len(stored['y_test'])} test rows")


def split():
    """The stored split, from the raw table."""
    rows = np.loadtxt(HERE / "breast_cancer.csv", delimiter=",", skiprows=1)
    x, y = rows[:, :-1], rows[:, -1].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:TRAINING_ROWS], order[TRAINING_ROWS:]
    mean, std = x[train].mean(0), x[train].std(0)
    scaled = ((x - mean) / std).astype(np.float32)
    return {"x_train": scaled[train], "y_train": y[train], "x_test": scaled[test], "y_test": y[test],
            "mean": mean, "std": std}


def table(x, y):
    """A header, then 30 features and the label a row; seven significant digits."""
    out = io.StringIO()
    print(",".join([*FEATURES, "label"]), file=out)
    for features, label in zip(x, y):
        print(",".join([*(f"{v:.7g}" for v in features), str(label)]), file=out)
    return out.getvalue()


if __name__ == "__main__":
    main()
