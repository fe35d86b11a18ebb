"""An ONNX file as a short list of layers, for libraries without an ONNX reader of their own.

`read` takes dense and convolutional networks of one input and one output in which every node
feeds the next (a square feeds itself twice) and raises `Unavailable`, naming the node, for
anything else. Weights are float64 numpy arrays. `evaluate` computes the layers over any module
with numpy's interface.
"""

from dataclasses import dataclass
from typing import Any, List, Tuple

import numpy as np
import onnx
from onnx import numpy_helper

from contract import Unavailable


@dataclass
class Dense:
    """x [n, in] to x @ weight + bias."""

    weight: Any
    bias: Any


@dataclass
class Conv:
    """x [n, in, h, w], weight [out, in, kh, kw]; pads are top, left, bottom, right."""

    weight: Any
    bias: Any
    strides: Tuple[int, int]
    pads: Tuple[int, int, int, int]


@dataclass
class Pool:
    """Largest or mean value of each window, without padding."""

    largest: bool
    kernel: Tuple[int, int]
    strides: Tuple[int, int]


@dataclass
class Flatten:
    """All axes but the first become one."""


@dataclass
class Relu:
    """max(x, 0)."""


@dataclass
class Square:
    """x * x."""


@dataclass
class Sigmoid:
    """1 / (1 + exp(-x))."""


@dataclass
class Network:
    layers: List[Any]
    """One sample's shape."""
    shape: Tuple[int, ...]
    classes: int


def read(path):
    """The layers of a file."""
    model = onnx.load(path)
    graph = onnx.shape_inference.infer_shapes(model).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise Unavailable(
            f"the adapter reads models of one input and one output; this has {len(inputs)} and {len(graph.output)}"
        )
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
    shape = dims(inputs[0])[1:]
    if 0 in shape:
        raise Unavailable("the adapter reads models whose input has a fixed shape but for the batch")
    current, layers = inputs[0].name, []
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        layer = LAYERS.get(node.op_type)
        data = [name for name in node.input if name and name not in constants]
        if layer is None or set(data) != {current}:
            raise Unavailable(f"the adapter does not read {node.op_type} '{node.name or node.output[0]}'")
        made = layer(node, [constants.get(name) for name in node.input], attributes(node))
        # Dropout and Identity do nothing; a bias may stand apart from its product.
        if isinstance(made, Bias):
            add_bias(layers, made, node)
        elif made is not None:
            layers.append(made)
        current = node.output[0]
    if current != graph.output[0].name:
        raise Unavailable("the adapter reads chains of nodes; this model's output is not its last node's")
    probe = evaluate(layers, np.zeros((1,) + shape))
    return Network(layers, shape, int(np.prod(probe.shape[1:])))


@dataclass
class Bias:
    value: Any


def add_bias(layers, bias, node):
    if layers and isinstance(layers[-1], Dense):
        layers[-1].bias = layers[-1].bias + bias.value
    elif layers and isinstance(layers[-1], Conv):
        layers[-1].bias = layers[-1].bias + bias.value.reshape(-1)
    else:
        raise Unavailable(f"the adapter does not read Add '{node.name}' here")


def dims(value):
    axes = value.type.tensor_type.shape.dim
    return tuple(axis.dim_value for axis in axes)


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def gemm(node, values, given):
    if given.get("transA", 0) or values[1] is None:
        raise Unavailable(f"the adapter does not read Gemm '{node.name}' as it stands")
    weight = np.float64(values[1])
    weight = (weight.T if given.get("transB", 0) else weight) * given.get("alpha", 1.0)
    bias = np.zeros(weight.shape[1]) if len(values) < 3 else np.float64(values[2]) * given.get("beta", 1.0)
    return Dense(weight, bias)


def matmul(node, values, given):
    if values[1] is None:
        raise Unavailable(f"the adapter does not read MatMul '{node.name}' of two secrets")
    return Dense(np.float64(values[1]), np.zeros(values[1].shape[1]))


def conv(node, values, given):
    weight = np.float64(values[1])
    if given.get("group", 1) != 1 or weight.ndim != 4 or set(given.get("dilations", [1])) != {1}:
        raise Unavailable(f"the adapter does not read Conv '{node.name}' with groups, dilations or other than two axes")
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Unavailable(f"the adapter does not read the padding of Conv '{node.name}'")
    bias = np.float64(values[2]) if len(values) > 2 else np.zeros(len(weight))
    return Conv(weight, bias, tuple(given.get("strides", (1, 1))), tuple(given.get("pads", (0, 0, 0, 0))))


def pool(largest):
    def read_pool(node, values, given):
        if set(given.get("pads", [0])) != {0} or given.get("ceil_mode", 0) or set(given.get("dilations", [1])) != {1}:
            raise Unavailable(f"the adapter does not read {node.op_type} '{node.name}' with padding or dilations")
        return Pool(largest, tuple(given["kernel_shape"]), tuple(given.get("strides", (1, 1))))

    return read_pool


def mul(node, values, given):
    if node.input[0] != node.input[1]:
        raise Unavailable(f"the adapter reads Mul '{node.name}' only as a square")
    return Square()


def power(node, values, given):
    if values[1] is None or values[1].size != 1 or float(values[1].ravel()[0]) != 2:
        raise Unavailable(f"the adapter reads Pow '{node.name}' only as a square")
    return Square()


def add(node, values, given):
    value = next((v for v in values if v is not None), None)
    if value is None:
        raise Unavailable(f"the adapter does not read Add '{node.name}' of two secrets")
    return Bias(np.float64(value))


def flatten(node, values, given):
    if node.op_type == "Flatten" and given.get("axis", 1) != 1:
        raise Unavailable(f"the adapter reads Flatten '{node.name}' only from the first axis on")
    if node.op_type == "Reshape" and len(values[1]) != 2:
        raise Unavailable(f"the adapter reads Reshape '{node.name}' only as Flatten")
    return Flatten()


LAYERS = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Add": add,
    "Conv": conv,
    "MaxPool": pool(True),
    "AveragePool": pool(False),
    "Flatten": flatten,
    "Reshape": flatten,
    "Relu": lambda *_: Relu(),
    "Sigmoid": lambda *_: Sigmoid(),
    "Mul": mul,
    "Pow": power,
    "Identity": lambda *_: None,
    "Dropout": lambda *_: None,
}


def windows(x, kernel, strides):
    """Each place of a window over [n, c, h, w] as an array [n, c, rows, columns]."""
    rows = (x.shape[2] - kernel[0]) // strides[0] + 1
    columns = (x.shape[3] - kernel[1]) // strides[1] + 1
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield x[:, :, i : i + strides[0] * rows : strides[0], j : j + strides[1] * columns : strides[1]]


def convolve(layer, x, xp=np):
    top, left, bottom, right = layer.pads
    x = xp.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    kernel = layer.weight.shape[2:]
    places = xp.stack(list(windows(x, kernel, layer.strides)), axis=2)
    n, _, _, rows, columns = places.shape
    flat = places.reshape(n, -1, rows * columns)
    product = xp.einsum("of,nfp->nop", layer.weight.reshape(len(layer.weight), -1), flat)
    return (product + layer.bias[:, None]).reshape(n, len(layer.weight), rows, columns)


def evaluate(layers, x, xp=np):
    """The layers over arrays of `xp`."""
    for layer in layers:
        x = apply(layer, x, xp)
    return x


def apply(layer, x, xp=np):
    if isinstance(layer, Dense):
        return x @ layer.weight + layer.bias
    if isinstance(layer, Conv):
        return convolve(layer, x, xp)
    if isinstance(layer, Pool):
        places = list(windows(x, layer.kernel, layer.strides))
        return xp.max(xp.stack(places), axis=0) if layer.largest else sum(places) / len(places)
    if isinstance(layer, Flatten):
        return x.reshape(x.shape[0], -1)
    if isinstance(layer, Relu):
        return xp.maximum(x, 0)
    if isinstance(layer, Square):
        return x * x
    return 1 / (1 + xp.exp(-x))
