"""The native half, and what crosses to it: options and arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from . import _subrosa as native
from ._subrosa import (
    Error,
    InputError,
    IoError,
    MisuseError,
    ModelError,
    PeerError,
    PlanError,
    __version__,
)

__all__ = [
    "Error",
    "Feed",
    "InputError",
    "IoError",
    "MisuseError",
    "ModelError",
    "ModelLike",
    "NodeArg",
    "Options",
    "PeerError",
    "PlanError",
    "__version__",
    "arrays",
    "native",
    "open_model",
    "ports",
    "shaped",
]

ModelLike = Union[str, "os.PathLike[str]", bytes]
"""An ONNX file's path, or its bytes."""

Feed = Union[np.ndarray, Sequence[np.ndarray], Mapping[str, np.ndarray]]
"""Inputs: by name, in order, or the only one."""


@dataclass(frozen=True)
class NodeArg:
    """An input or output of a model."""

    name: str
    shape: list[int | str]
    """As ONNX writes it: the axis of samples is "N"."""
    type: str = "tensor(float)"

    @property
    def sample_len(self) -> int:
        """Values in one sample."""
        return int(np.prod([d for d in self.shape if isinstance(d, int)], dtype=np.int64))


def ports(described: list[dict[str, Any]]) -> list[NodeArg]:
    """Ports as the native half describes them."""

    def shape(port: dict[str, Any]) -> list[int | str]:
        return ["N", *port["shape"][1:]] if port["batched"] else list(port["shape"])

    return [NodeArg(port["name"], shape(port)) for port in described]


def open_model(model: ModelLike, name: str = "model") -> Any:
    """A model from a path or from bytes."""
    if isinstance(model, bytes):
        return native.Model.from_bytes(name, model)
    return native.Model.open(os.fspath(model))


def arrays(feed: Feed, inputs: Sequence[NodeArg]) -> tuple[list[np.ndarray], int]:
    """One array of 32-bit floats an input, `[samples, values]`, and the number of samples."""
    if isinstance(feed, Mapping):
        unknown = [name for name in feed if name not in {i.name for i in inputs}]
        missing = [i.name for i in inputs if i.name not in feed]
        if unknown or missing:
            names = ", ".join(i.name for i in inputs)
            raise InputError(f"the model's inputs are {names}; given were {', '.join(feed) or 'none'}")
        given = [feed[i.name] for i in inputs]
    elif isinstance(feed, np.ndarray) or len(inputs) == 1:
        given = [feed]
    else:
        given = list(feed)
    if len(given) != len(inputs):
        raise InputError(f"{len(given)} inputs were given to a model of {len(inputs)}")
    rows = [_rows(array, port) for array, port in zip(given, inputs)]
    counts = {len(r) for r in rows}
    if len(counts) > 1:
        raise InputError(f"the inputs have different numbers of samples: {sorted(counts)}")
    return rows, counts.pop()


def _rows(array: Any, port: NodeArg) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise InputError(f"input '{port.name}' takes numbers, not {array.dtype}")
    length = max(port.sample_len, 1)
    if array.size == 0 or array.size % length:
        raise InputError(
            f"input '{port.name}' takes {port.shape}, but an array of shape {list(array.shape)} was given"
        )
    return np.ascontiguousarray(array, dtype="<f4").reshape(-1, length)


def shaped(given: Sequence[tuple[bytes, list[int]]]) -> list[np.ndarray]:
    """Outputs as the native half gives them, as arrays of their own."""
    return [np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(dims) for raw, dims in given]


class Options:
    """What may be chosen of a plan; the native half reads the attributes."""

    def __init__(
        self,
        inputs: Sequence[NodeArg],
        via: str = "rep3",
        *,
        batch: int | None = None,
        threads: int = 1,
        calibrate: Feed | None = None,
        input_range: tuple[float, float] | None = None,
        reveal: str = "logits",
        ring: int | None = None,
        public_weights: bool = False,
        exact: bool = False,
        insecure_self_dealer: bool = False,
        network: str | None = None,
        publish: int | None = None,
    ) -> None:
        self.via = via
        self.batch = batch if batch is not None else (1 if via == "ckks" else 128)
        self.threads = threads
        self.input_range = input_range
        self.calibrate = None
        if calibrate is not None:
            rows, count = arrays(calibrate, inputs)
            self.calibrate = ([r.tobytes() for r in rows], count)
        self.reveal = reveal
        self.ring = ring
        self.public_weights = public_weights
        self.exact = exact
        self.insecure_self_dealer = insecure_self_dealer
        self.network = network
        self.publish = publish
