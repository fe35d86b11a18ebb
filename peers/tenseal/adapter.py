"""TenSEAL: CKKS over Microsoft SEAL; one server computes on ciphertexts.

A batch of one follows TenSEAL's tutorial 4: the image is one ciphertext, a convolution is
`conv2d_im2col` over an image the client laid out in windows (so there can be one, and first),
a dense layer is `mm` by rotations. Larger batches are a `CKKSTensor` with `batch=True`: one
ciphertext a value, one slot an image, no rotations. Tutorial 4's parameters: N = 8192, moduli
of 31, 6 x 26 and 31 bits, scale 2^26, which is 128-bit security by SEAL's table.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from contract import Runs, Unavailable, main, say, version_of
import graph

import numpy as np
import tenseal as ts

BITS, SCALE = 26, 2.0**26
ENDS = 31
# Bits of modulus that 128-bit security leaves (homomorphicencryption.org, ternary secrets).
LIMITS = {8192: 218, 16384: 438}


def adapter(request, printer):
    network = graph.read(request.model_path)
    depth, convolutions = check(network)
    images = request.images(network.shape)
    for batch, count in request.batches:
        way = Vectors if batch == 1 else Tensors
        if way is Tensors and convolutions:
            printer.unavailable(
                "tenseal",
                f"batch {batch}: TenSEAL's batched tensors have no convolution; images go one by one, see batch 1",
            )
            continue
        start = time.perf_counter()
        say(f"making keys for batches of {batch}")
        model = way(network, depth, request.threads)
        setup_ms = (time.perf_counter() - start) * 1e3
        say(f"running batches of {batch}")
        runs = Runs(model.infer, images[:count], batch, request.seconds)
        printer.encrypted(
            "tenseal",
            runs,
            claim="one server computes on CKKS ciphertexts that only the client can open",
            setup_ms=setup_ms,
            up=model.up,
            down=model.down,
            bytes_keys=model.keys,
            parameters=f"N = {model.degree}, moduli of {ENDS}, {depth + 1} x {BITS} and {ENDS} bits; {way.__doc__}; the server knows the weights",
            version=f"tenseal {version_of('tenseal')}",
        )


def check(network):
    """Levels that the model takes, and its convolutions; refuses what TenSEAL cannot express."""
    convolutions = depth = 0
    for index, layer in enumerate(network.layers):
        if isinstance(layer, (graph.Relu, graph.Sigmoid)):
            raise Unavailable(f"CKKS computes polynomials, and {type(layer).__name__} is none")
        if isinstance(layer, graph.Pool):
            raise Unavailable(
                "CKKS computes polynomials, and the largest value of a window is none"
                if layer.largest
                else "TenSEAL has no pooling over encrypted images: only a first convolution"
            )
        if isinstance(layer, graph.Conv):
            convolutions += 1
            if convolutions > 1 or index or layer.weight.shape[1] != 1 or len(set(layer.strides)) > 1:
                raise Unavailable("TenSEAL computes one convolution, the first layer, of one channel: conv2d_im2col")
        depth += isinstance(layer, (graph.Conv, graph.Dense, graph.Square))
    return depth, convolutions


def context(degree, depth, threads, rotations):
    bits = [ENDS] + [BITS] * (depth + 1) + [ENDS]
    if sum(bits) > LIMITS[degree]:
        raise Unavailable(
            f"{depth} levels of {BITS} bits take a modulus of {sum(bits)} bits: 128-bit security does not allow it at N = {degree}"
        )
    made = ts.context(ts.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=bits, n_threads=threads)
    made.global_scale = SCALE
    if rotations:
        made.generate_galois_keys()
    return made


def key_bytes(made):
    """What the client sends the server once: everything but the secret key."""
    return len(made.serialize(save_public_key=True, save_secret_key=False, save_galois_keys=True, save_relin_keys=True))


class Vectors:
    """one image a ciphertext"""

    def __init__(self, network, depth, threads):
        self.layers = network.layers
        first = self.layers[0]
        windows = 0
        if isinstance(first, graph.Conv):
            side = [
                network.shape[1 + i] + first.pads[i] + first.pads[i + 2] - first.weight.shape[2 + i] for i in (0, 1)
            ]
            windows = (side[0] // first.strides[0] + 1) * (side[1] // first.strides[1] + 1)
        taps = int(np.prod(first.weight.shape[2:])) if windows else 1
        # Windows by taps, each rounded up to a power of two, in one ciphertext.
        slots = power(windows) * power(taps) if windows else 0
        self.degree = 16384 if slots > 4096 else 8192
        self.context = context(self.degree, depth, threads, True)
        self.keys = key_bytes(self.context)
        self.up = self.down = 0

    def infer(self, part):
        x, windows = part[0], None
        for layer in self.layers:
            if isinstance(layer, graph.Conv):
                top, left, bottom, right = layer.pads
                image = np.pad(x[0], ((top, bottom), (left, right)))
                kernel = layer.weight.shape[2:]
                x, windows = ts.im2col_encoding(self.context, image.tolist(), kernel[0], kernel[1], layer.strides[0])
                self.up = self.up or len(x.serialize())
                channels = [
                    x.conv2d_im2col(k[0].tolist(), windows) + float(b) for k, b in zip(layer.weight, layer.bias)
                ]
                x = ts.CKKSVector.pack_vectors(channels)
                continue
            if windows is None and isinstance(x, np.ndarray):
                x = ts.ckks_vector(self.context, x.reshape(-1).tolist())
                self.up = self.up or len(x.serialize())
            if isinstance(layer, graph.Dense):
                x = x.mm(layer.weight.tolist()) + layer.bias.tolist()
            elif isinstance(layer, graph.Square):
                x.square_()
        self.down = self.down or len(x.serialize())
        return np.array([x.decrypt()])


class Tensors:
    """one value a ciphertext, one slot an image"""

    def __init__(self, network, depth, threads):
        self.layers = network.layers
        self.degree = 8192
        self.context = context(self.degree, depth, threads, False)
        self.keys = key_bytes(self.context)
        self.weights = {}
        self.up = self.down = 0
        for index, layer in enumerate(self.layers):
            if isinstance(layer, graph.Dense):
                self.weights[index] = ts.plain_tensor(layer.weight.tolist()), ts.plain_tensor(layer.bias.tolist())

    def infer(self, part):
        x = ts.ckks_tensor(self.context, ts.plain_tensor(part.reshape(len(part), -1).tolist()), batch=True)
        self.up = self.up or len(x.serialize())
        for index, layer in enumerate(self.layers):
            if isinstance(layer, graph.Dense):
                weight, bias = self.weights[index]
                x = x.mm(weight) + bias
            elif isinstance(layer, graph.Square):
                x.square_()
        self.down = self.down or len(x.serialize())
        return np.array(x.decrypt().tolist())


def power(n):
    return 1 << (n - 1).bit_length()


if __name__ == "__main__":
    main(adapter, ["tenseal"])
