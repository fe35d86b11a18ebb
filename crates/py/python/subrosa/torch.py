"""From PyTorch: a module that computes under protection.

>>> private = PrivateModule(module, example, via="rep3", input_range=(0, 1))
>>> logits = private(images)

Needs `torch` (`pip install subrosa[torch]`) and its ONNX exporter's `onnx`.
"""

from __future__ import annotations

import inspect
import io
from typing import Any

import torch

from ._session import InferenceSession

__all__ = ["PrivateModule", "to_bytes"]


def to_bytes(module: torch.nn.Module, example: torch.Tensor) -> bytes:
    """A module as ONNX, opset 17, whose first axis is samples. `example`: one batch of input."""
    training = module.training
    module.eval()
    buffer = io.BytesIO()
    # Newer exporters default to another way, which needs packages of its own; older ones know no other.
    way = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    try:
        torch.onnx.export(
            module,
            (example,),
            buffer,
            opset_version=17,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
            **way,
        )
    finally:
        module.train(training)
    return buffer.getvalue()


class PrivateModule:
    """A module's inference under the protection `via`. No gradients flow through it.

    `options` are those of `subrosa.InferenceSession`.
    """

    def __init__(self, module: torch.nn.Module, example: torch.Tensor, via: str = "rep3", **options: Any) -> None:
        self.session = InferenceSession(to_bytes(module, example), via, **options)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of all samples, on the CPU."""
        [output] = self.session.run(None, x.detach().cpu().numpy())
        return torch.from_numpy(output)
