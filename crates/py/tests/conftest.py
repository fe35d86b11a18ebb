"""Models and data of the repository."""

import gzip
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


def idx(path: Path) -> np.ndarray:
    raw = gzip.decompress(path.read_bytes())
    dims = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


@pytest.fixture(scope="session")
def model():
    """The path of a shipped model by its name."""
    return lambda name: ROOT / "models" / f"{name}.onnx"


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """A hundred test images and their labels."""
    folder = ROOT / "data" / "mnist"
    images = idx(folder / "t10k-first100-images-idx3-ubyte.gz").reshape(-1, 1, 28, 28)
    labels = idx(folder / "t10k-first100-labels-idx1-ubyte.gz")
    return (images / 255).astype(np.float32), labels.astype(np.int64)


@pytest.fixture(scope="session")
def patients():
    """The split on which the breast_cancer models were trained."""
    return np.load(ROOT / "data" / "breast_cancer" / "breast_cancer_split.npz")
