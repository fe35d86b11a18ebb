"""Private machine-learning inference: one ONNX model, any protection.

>>> import subrosa
>>> session = subrosa.InferenceSession("models/lenet.onnx", via="rep3", input_range=(0, 1))
>>> [logits] = session.run(None, {"input": images})

- `InferenceSession`: a model at work, as ONNX Runtime's, under the protection that `via` names;
- `plan`: what a protected run will cost and who learns what, before it runs;
- `compare`: a model under several protections, measured side by side;
- `inspect`, `backends`: what is in a file, and what protections there are;
- `subrosa.roles`: client and server of homomorphic inference, parties, owners of data and model;
- `subrosa.sklearn`, `subrosa.torch`: from a fitted estimator, from a module.

In one process (`InferenceSession` without a cluster) all parties of a protocol share the machine:
that shows cost and accuracy, and protects nothing. `subrosa.roles` has them apart.
"""

from ._comparison import Comparison, compare
from ._native import Error, InputError, IoError, MisuseError, ModelError, PeerError, PlanError, __version__
from ._session import InferenceSession, NodeArg, Plan, RunReport, backends, inspect, plan

__all__ = [
    "Comparison",
    "Error",
    "InferenceSession",
    "InputError",
    "IoError",
    "MisuseError",
    "ModelError",
    "NodeArg",
    "PeerError",
    "Plan",
    "PlanError",
    "RunReport",
    "__version__",
    "backends",
    "compare",
    "inspect",
    "plan",
]
