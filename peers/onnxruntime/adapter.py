"""ONNX Runtime, the plain reference: whoever computes sees everything."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from contract import Runs, Unavailable, main, version_of

import numpy as np
import onnxruntime


def adapter(request, printer):
    start = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(request.model_path, options, providers=["CPUExecutionProvider"])
    if len(session.get_inputs()) != 1:
        raise Unavailable("the adapter reads models of one input")
    port = session.get_inputs()[0]
    setup_ms = (time.perf_counter() - start) * 1e3
    images = request.images([axis for axis in port.shape[1:] if isinstance(axis, int)])

    def infer(part):
        if not isinstance(port.shape[0], int) or port.shape[0] == len(part):
            return session.run(None, {port.name: part})[0]
        return np.concatenate([session.run(None, {port.name: one[None]})[0] for one in part])

    for batch, count in request.batches:
        # The whole set again and again until the clock has something to show.
        runs = Runs(infer, images[:count], batch, request.seconds)
        repeat(runs, infer, images[:count])
        printer.row(
            "onnxruntime",
            runs,
            claim="one machine computes in the clear: no protection, the fastest plain engine",
            setup_ms=setup_ms,
            parties=1,
            threshold=0,
            adversary="none",
            trust="machine",
            network="none",
            security_bits=0,
            preprocessing="none",
            parameters="32-bit floating point, all graph optimisations",
            version=f"onnxruntime {version_of('onnxruntime')}",
        )


def repeat(runs, infer, images, seconds=0.2):
    """Full batches again: single ones are too short to time."""
    began = time.perf_counter()
    full = [images[at : at + runs.batch] for at in range(0, len(images) - runs.batch + 1, runs.batch)]
    while time.perf_counter() - began < seconds:
        for part in full:
            start = time.perf_counter()
            infer(part)
            runs.times.append((time.perf_counter() - start) * 1e3)
            runs.timed += len(part)


if __name__ == "__main__":
    main(adapter, ["onnxruntime"])
