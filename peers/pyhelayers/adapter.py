"""HElayers (IBM): CKKS over Microsoft SEAL, in packings that its optimiser chooses.

The ONNX file is read by HElayers; `HeModel.compile` picks parameters and tile layout for the
batch size. The server knows the weights (`set_model_encrypted(False)`), as with the other
homomorphic libraries here. Its licence is IBM's community edition: non-commercial use only.
"""

import os
import pathlib
import sys
import time

# Before its own threads start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from contract import Runs, Unavailable, main, say, version_of
import graph

import numpy as np
import pyhelayers


def adapter(request, printer):
    network = graph.read(request.model_path)
    for layer in network.layers:
        if isinstance(layer, (graph.Relu, graph.Sigmoid)) or getattr(layer, "largest", False):
            what = "the largest value of a window" if isinstance(layer, graph.Pool) else type(layer).__name__
            raise Unavailable(f"CKKS computes polynomials, and {what} is none")
    images = request.images(network.shape).astype(np.float64)
    plain = pyhelayers.PlainModel.create(pyhelayers.PlainModelHyperParams(), [request.model_path])
    for batch, count in request.batches:
        batch = min(batch, count, len(images))
        start = time.perf_counter()
        say(f"planning for batches of {batch}")
        wanted = pyhelayers.HeRunRequirements()
        wanted.set_he_context_options([pyhelayers.HeContext.create(["SEAL_CKKS"])])
        wanted.set_model_encrypted(False)
        wanted.optimize_for_batch_size(batch)
        profile = pyhelayers.HeModel.compile(plain, wanted)
        say("making keys and encoding the model")
        context = pyhelayers.HeModel.create_context(profile)
        model = plain.get_empty_he_model(context)
        model.encode(plain, profile)
        coder = model.create_model_io_encoder()
        setup_ms = (time.perf_counter() - start) * 1e3
        traffic = {}

        def infer(part):
            sent, received = pyhelayers.EncryptedData(context), pyhelayers.EncryptedData(context)
            coder.encode_encrypt(sent, [part])
            model.predict(received, sent)
            if not traffic:
                traffic.update(up=len(sent.save_to_buffer()), down=len(received.save_to_buffer()))
            return np.asarray(coder.decrypt_decode_output(received)).reshape(batch, network.classes)

        say(f"running batches of {batch}")
        runs = Runs(infer, images[:count], batch, request.seconds)
        printer.encrypted(
            "helayers",
            runs,
            claim="one server computes on CKKS ciphertexts that only the client can open",
            setup_ms=setup_ms,
            up=traffic["up"],
            down=traffic["down"],
            bytes_keys=len(context.save_to_buffer()),
            parameters=f"{described(profile)}; the server knows the weights; non-commercial licence",
            version=f"pyhelayers {version_of('pyhelayers')}",
        )


def described(profile):
    """What the optimiser chose."""
    need = profile.get_he_config_requirement()
    return f"N = {2 * need.num_slots}, depth {need.multiplication_depth}, tiles {' '.join(str(profile.get_tile_layout()).split())}"


if __name__ == "__main__":
    main(adapter, ["helayers"])
