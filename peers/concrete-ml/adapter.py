"""Concrete ML: TFHE; one server computes on ciphertexts, each activation by a programmable bootstrap.

The ONNX file goes through Concrete ML's own `compile_onnx_model`: weights and activations are
quantised after training, on the first images of the data, with the bits, the rounding of
accumulators and the error probability of its own deep-learning example. Images go
one by one: the library has no batches. The circuit runs encrypted (`fhe="execute"`); nothing is
simulated.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from contract import Runs, Unavailable, main, say, version_of

import numpy as np
import onnx.version_converter
import torch
from concrete.fhe import Configuration
from concrete.ml.torch.compile import compile_onnx_model

OPSET = 14
BITS = 4
ROUNDING = {"n_bits": 6, "method": "approximate"}
# How often a bootstrap may be off by one: the figure of Concrete ML's deep-learning example.
P_ERROR = 0.1
CALIBRATION = 100


def adapter(request, printer):
    torch.set_num_threads(request.threads)
    # The version that it reads; nothing in dense and convolutional layers changed since.
    model = onnx.version_converter.convert_version(onnx.load(request.model_path), OPSET)
    shape = tuple(axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim)[1:]
    images = request.images(shape)
    for batch, count in request.batches:
        if batch > 1:
            printer.unavailable(
                "concrete-ml", f"batch {batch}: Concrete ML computes encrypted images one by one, see batch 1"
            )
            continue
        start = time.perf_counter()
        say("compiling")
        # One image at a time on this machine's threads: the program has no parties.
        configuration = Configuration(dataflow_parallelize=False, loop_parallelize=request.threads > 1)
        try:
            module = compile_onnx_model(
                model,
                images[:CALIBRATION],
                n_bits=BITS,
                rounding_threshold_bits=ROUNDING,
                p_error=P_ERROR,
                configuration=configuration,
            )
        except (AssertionError, ValueError, NotImplementedError, RuntimeError) as error:
            raise Unavailable(f"compile_onnx_model: {' '.join(str(error).split())[:300]}") from error
        say("making keys")
        circuit = module.fhe_circuit
        circuit.keygen()
        setup_ms = (time.perf_counter() - start) * 1e3
        say("running")
        traffic = {}

        def infer(part):
            encrypted = circuit.encrypt(module.quantize_input(part))
            result = circuit.run(encrypted)
            if not traffic:
                traffic.update(up=size(encrypted), down=size(result))
            return module.dequantize_output(circuit.decrypt(result))

        runs = Runs(infer, images[:count], 1, request.seconds)
        keys = len(circuit.client.evaluation_keys.serialize())
        printer.encrypted(
            "concrete-ml",
            runs,
            claim="one server computes on TFHE ciphertexts that only the client can open",
            setup_ms=setup_ms,
            up=traffic["up"],
            down=traffic["down"],
            bytes_keys=keys,
            parameters=f"{BITS}-bit weights and activations, accumulators rounded to {ROUNDING['n_bits']} bits, p_error {P_ERROR}, at most {circuit.graph.maximum_integer_bit_width()} bits; the server knows the weights",
            version=f"concrete-ml {version_of('concrete-ml')}",
        )


def size(values):
    """Bytes of one or several encrypted values."""
    return sum(len(v.serialize()) for v in (values if isinstance(values, tuple) else (values,)))


if __name__ == "__main__":
    main(adapter, ["concrete-ml"])
