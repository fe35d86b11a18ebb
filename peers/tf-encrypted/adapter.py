"""TF-Encrypted: its ABY3, three servers over replicated shares.

The model is written in its functions under `@tfe.function`, as its examples are; 64-bit fixed
point, its default. Each server is a process of the library's own (`tf_encrypted.player`), the
data owner and the model's owner is this one.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# As many threads as asked for, in the servers too.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from contract import Runs, Unavailable, free_ports, main, process_peak_mb, say, version_of
import graph

import numpy as np
import tensorflow as tf
import tf_encrypted as tfe

SERVERS = ["server0", "server1", "server2"]


def adapter(request, printer):
    network = graph.read(request.model_path)
    images = request.images(network.shape)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Servers(folder) as servers:
        tfe.set_config(servers.config)
        servers.config.connect_servers()
        tfe.set_protocol(tfe.protocol.ABY3())
        say("sharing the model")
        weights = {i: shared(layer) for i, layer in enumerate(network.layers) if hasattr(layer, "weight")}
        started_ms = (time.perf_counter() - start) * 1e3
        for batch, count in request.batches:
            batch = min(batch, count, len(images))
            infer, compile_ms = compiled(network, weights, batch)
            say(f"running batches of {batch}")
            runs = Runs(infer, images[:count], batch, request.seconds)
            printer.row(
                "tf-encrypted",
                runs,
                claim="three servers over replicated secret shares, no two of whom collude",
                setup_ms=started_ms + compile_ms,
                peak_rss_mb=max(process_peak_mb(p.pid) for p in servers.processes),
                parties=3,
                threshold=1,
                adversary="semi-honest",
                trust="majority",
                network="loopback, processes, no TLS",
                security_bits=128 if secure() else 0,
                insecure=[] if secure() else ["insecure-randomness"],
                preprocessing="in latency",
                parameters="ABY3, 64-bit ring, TF-Encrypted's default fixed point",
                version=f"tf-encrypted {version_of('tf-encrypted')}, tensorflow {version_of('tensorflow')}",
                unmeasured=["bytes_online", "bytes_offline", "rounds"],
            )


class Servers:
    """The three servers as processes, ended with the block."""

    def __init__(self, folder):
        path = os.path.join(folder, "config.json")
        ports = free_ports(len(SERVERS) + 1)
        # The first is this process: it owns the data and drives the others.
        hosts = {name: f"127.0.0.1:{port}" for name, port in zip(SERVERS, ports)}
        with open(path, "w") as file:
            json.dump(hosts, file)
        command = [sys.executable, "-m", "tf_encrypted.player", "--config", path]
        self.processes = [subprocess.Popen([*command, name], stdout=2) for name in SERVERS]
        self.config = tfe.RemoteConfig.load(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


def secure():
    """Whether the library found its kernel for secure randomness."""
    from tf_encrypted.operations import secure_random

    return secure_random.supports_seeded_randomness()


def shared(layer):
    bias = layer.bias[:, None, None] if isinstance(layer, graph.Conv) else layer.bias
    # TensorFlow's kernels are [height, width, in, out].
    weight = layer.weight.transpose(2, 3, 1, 0) if isinstance(layer, graph.Conv) else layer.weight
    return tuple(tfe.define_private_variable(tf.constant(v, dtype=tf.float64)) for v in (weight, bias))


def compiled(network, weights, batch):
    """The model as one graph over all servers, and the time it took to trace."""

    @tfe.function
    def model(image):
        x = tfe.define_private_input("server0", lambda: image)
        for index, layer in enumerate(network.layers):
            x = apply(layer, x, weights.get(index), batch)
        return x.reveal().to_native()

    start = time.perf_counter()
    infer = lambda part: model(tf.constant(part, dtype=tf.float64)).numpy()
    infer(np.zeros((batch,) + network.shape))
    return infer, (time.perf_counter() - start) * 1e3


def apply(layer, x, weights, batch):
    if isinstance(layer, graph.Dense):
        return tfe.matmul(x, weights[0]) + weights[1]
    if isinstance(layer, graph.Conv):
        if any(layer.pads):
            top, left, bottom, right = layer.pads
            x = tfe.pad(x, [[0, 0], [0, 0], [top, bottom], [left, right]])
        return tfe.conv2d(x, weights[0], layer.strides, "VALID") + weights[1]
    if isinstance(layer, graph.Pool):
        pool = tfe.maxpool2d if layer.largest else tfe.avgpool2d
        return pool(x, layer.kernel, layer.strides, "VALID")
    if isinstance(layer, graph.Flatten):
        return tfe.reshape(x, [batch, -1])
    if isinstance(layer, graph.Relu):
        return tfe.relu(x)
    if isinstance(layer, graph.Square):
        return x * x
    if isinstance(layer, graph.Sigmoid):
        return tfe.sigmoid(x)
    raise Unavailable(f"the adapter has no {type(layer).__name__} for TF-Encrypted")


if __name__ == "__main__":
    main(adapter, ["tf-encrypted"])
