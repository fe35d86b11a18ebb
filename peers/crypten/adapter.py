"""CrypTen: two parties over additive shares, triples from a dealer in a process of its own.

The ONNX file is read by CrypTen's own `from_onnx`, the model encrypted, the input encrypted by
its owner. The provider is "TTP": its default, "TFP", lets the first party deal for all, who can
then open everything. Precision 16 bits, 64-bit ring: the defaults.
"""

import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from contract import Runs, Unavailable, main, peak_rss_mb, say, version_of

import crypten
import crypten.communicator as comm
import crypten.mpc as mpc
import numpy as np
import onnx
import torch

PARTIES = 2


def adapter(request, printer):
    crypten.cfg.mpc.provider = "TTP"
    shape, names = looks(request.model_path)
    read(request.model_path)
    images = request.images(shape)
    for batch, count in request.batches:
        # CrypTen waits for its processes before it reads what they return, which must be little.
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "answers.npy")
            measured = launch(lambda: party(request, images[:count], batch, path))
            if measured is None:
                raise RuntimeError("a party ended without a result; its words are above")
            first = measured[0]
            first["runs"].answers = np.load(path)
        printer.row(
            "crypten",
            first["runs"],
            claim="two parties compute on shares; a third process deals triples and sees no data",
            setup_ms=first["setup_ms"],
            bytes_online=sum(m["bytes"] for m in measured),
            rounds=max(m["rounds"] for m in measured),
            peak_rss_mb=max(m["peak"] for m in measured),
            parties=PARTIES,
            threshold=1,
            adversary="semi-honest",
            trust="dealer",
            network="loopback, processes, no TLS",
            # PyTorch's generator is a Mersenne Twister: what it masks can be foretold.
            security_bits=0,
            insecure=["mersenne-twister"],
            preprocessing="in latency",
            parameters="64-bit ring, 16 fraction bits, provider TTP; bytes: as CrypTen's parties count them",
            version=f"crypten {version_of('crypten')}, torch {version_of('torch')}",
        )


def launch(work):
    """The parties and the dealer as CrypTen launches them; their results by rank."""
    torch.set_num_threads(1)
    return mpc.run_multiprocess(world_size=PARTIES)(work)()


def looks(path):
    """The shape of one sample, and the input's name."""
    graph = onnx.load(path).graph
    constants = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise Unavailable("the adapter reads models of one input")
    return tuple(axis.dim_value for axis in inputs[0].type.tensor_type.shape.dim)[1:], inputs[0].name


def read(path):
    try:
        with open(path, "rb") as file:
            return crypten.nn.from_onnx(file)
    except Exception as error:
        raise Unavailable(f"crypten.nn.from_onnx: {type(error).__name__}: {error}") from error


def party(request, images, batch, path):
    """What each party runs; both know the images here, only the first one's count."""
    torch.set_num_threads(request.threads)
    start = time.perf_counter()
    model = read(request.model_path).encrypt(src=0)
    model.eval()
    setup_ms = (time.perf_counter() - start) * 1e3

    def infer(part):
        x = crypten.cryptensor(torch.from_numpy(part), src=0)
        return model(x).get_plain_text().numpy()

    if comm.get().get_rank() == 0:
        say(f"running batches of {batch}")
    runs = Lockstep(infer, images, batch, request.seconds)
    if comm.get().get_rank() == 0:
        np.save(path, runs.answers)
    runs.answers = None
    crypten.cfg.communicator.verbose = True
    comm.get().reset_communication_stats()
    infer(images[:batch])
    stats = comm.get().get_communication_stats()
    return {
        "runs": runs,
        "setup_ms": setup_ms,
        "bytes": int(stats["bytes"]),
        "rounds": int(stats["rounds"]),
        "peak": peak_rss_mb(),
    }


class Lockstep(Runs):
    """Runs of which every party does as many: whether to go on is the first one's word."""

    def enough(self, began, seconds):
        over = torch.tensor([int(time.perf_counter() - began >= seconds)])
        return bool(comm.get().broadcast(over, 0).item())


if __name__ == "__main__":
    main(adapter, ["crypten"])
