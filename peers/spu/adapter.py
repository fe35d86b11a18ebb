"""SPU (SecretFlow): three protocols behind one compiler.

The model is written in JAX, as SPU's own examples are, and compiled once for each batch size;
weights and inputs are secret. 64-bit ring and 18 fraction bits: the library's defaults.
SEMI2K's triples come from party 0 ("trusted first party", its default): the server for a dealer
apart is not in the package.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from contract import Runs, main, say, version_of
import graph

import jax
import jax.numpy as jnp
import numpy as np
from parties import Parties
from spu import libspu
import spu.api as api
import spu.utils.frontend as frontend

SEMI_HONEST = {"adversary": "semi-honest", "preprocessing": "in latency"}
PROTOCOLS = {
    "spu-semi2k": {
        "kind": libspu.ProtocolKind.SEMI2K,
        "parties": 2,
        "trust": "one-dealing-party",
        "claim": "two servers over secret shares; the first also deals the triples",
        "insecure": ["first-party-deals"],
        # A dealer that knows all randomness opens every masked value.
        "threshold": 0,
        "security_bits": 0,
    },
    "spu-aby3": {
        "kind": libspu.ProtocolKind.ABY3,
        "parties": 3,
        "trust": "majority",
        "claim": "three servers over replicated secret shares, no two of whom collude",
        "insecure": [],
        "threshold": 1,
        "security_bits": 128,
    },
    "spu-cheetah": {
        "kind": libspu.ProtocolKind.CHEETAH,
        "parties": 2,
        "trust": "one-party",
        "claim": "two servers by homomorphic encryption and oblivious transfer, no dealer",
        "insecure": [],
        "threshold": 1,
        "security_bits": 128,
    },
}


def adapter(request, printer):
    about = dict(PROTOCOLS[request.backend])
    network = graph.read(request.model_path)
    images = request.images(network.shape)
    config = libspu.RuntimeConfig(about.pop("kind"), libspu.FieldType.FM64)
    config.max_concurrency = request.threads
    weights = [w.astype(np.float32) for w in parameters(network)]
    io = api.Io(about["parties"], config)
    for batch, count in request.batches:
        batch = min(batch, count, len(images))
        start = time.perf_counter()
        say(f"compiling for batches of {batch}")
        executable = compiled(network, weights, images[:batch])
        parties = Parties(about["parties"], config, executable)
        for index, weight in enumerate(weights):
            parties.set(f"w{index}", io.make_shares(weight, libspu.Visibility.VIS_SECRET))
        setup_ms = (time.perf_counter() - start) * 1e3
        share = lambda part: io.make_shares(np.asarray(part), libspu.Visibility.VIS_SECRET)
        say(f"running batches of {batch}")
        runs = Runs(
            lambda part: io.reconstruct(parties.run("x", share(part), "y")), images[:count], batch, request.seconds
        )
        between, messages = parties.traffic("x", share(images[:batch]))
        sharing = (
            sum(len(c) for s in share(images[:batch]) for c in s.share_chunks)
            + 8 * about["parties"] * batch * network.classes
        )
        printer.row(
            request.backend,
            runs,
            **SEMI_HONEST | about,
            setup_ms=setup_ms,
            bytes_online=between + sharing,
            rounds=messages,
            peak_rss_mb=parties.peak_rss_mb(),
            network="loopback, processes, no TLS",
            parameters=f"{request.backend.split('-')[1].upper()}, 64-bit ring, 18 fraction bits; rounds: messages of the busiest party",
            version=f"spu {version_of('spu')}",
        )
        parties.stop()


def parameters(network):
    kept = (graph.Dense, graph.Conv)
    return [w for layer in network.layers if isinstance(layer, kept) for w in (layer.weight, layer.bias)]


def compiled(network, weights, example):
    """The model as a program of SPU."""

    def infer(weights, x):
        left = iter(weights)
        for layer in network.layers:
            x = apply(layer, x, left)
        return x

    names = [f"w{index}" for index in range(len(weights))] + ["x"]
    secret = [libspu.Visibility.VIS_SECRET] * len(names)
    executable, _ = frontend.compile(frontend.Kind.JAX, infer, [weights, example], {}, names, secret, lambda _: ["y"])
    return executable


def apply(layer, x, weights):
    if isinstance(layer, graph.Dense):
        return x @ next(weights) + next(weights)
    if isinstance(layer, graph.Conv):
        top, left, bottom, right = layer.pads
        product = jax.lax.conv_general_dilated(x, next(weights), layer.strides, [(top, bottom), (left, right)])
        return product + next(weights)[None, :, None, None]
    if isinstance(layer, graph.Pool):
        window, strides = (1, 1) + layer.kernel, (1, 1) + layer.strides
        if layer.largest:
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, "VALID")
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, strides, "VALID") / (
            layer.kernel[0] * layer.kernel[1]
        )
    if isinstance(layer, graph.Relu):
        return jax.nn.relu(x)
    if isinstance(layer, graph.Sigmoid):
        return jax.nn.sigmoid(x)
    return graph.apply(layer, x, jnp)


if __name__ == "__main__":
    main(adapter, list(PROTOCOLS))
