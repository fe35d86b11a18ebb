"""The roles of a protected inference, apart: each on the machine of whoever plays it.

Homomorphic encryption, file by file:

>>> subrosa.plan("mlp_square.onnx", via="ckks", input_range=(0, 1)).save("mlp.plan")   # model owner
>>> client = Client.keygen("mlp.plan")                                                 # data owner
>>> client.encrypt(images, "request.ckks")
>>> Server("mlp_square.onnx", "evaluation.keys").evaluate("request.ckks", "answer.ckks")
>>> logits = client.decrypt("answer.ckks")

Parties over mutual TLS, by one `subrosa.toml` that all of them have:

>>> Party("subrosa.toml", "identity", "state").serve()                                 # each party
>>> ModelOwner("subrosa.toml", "identity").provision("lenet.onnx", input_range=(0, 1))
>>> [logits] = DataOwner("subrosa.toml", "identity").session("lenet").run(None, images)
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ._native import Feed, ModelLike, NodeArg, arrays, native, open_model, ports, shaped
from ._session import Plan, RunReport, Runs

__all__ = ["Client", "DataOwner", "ModelOwner", "Party", "RemoteSession", "Server", "make_identity"]

AnyPath = str | os.PathLike[str]


class Client:
    """Whoever has the data and the secret key of homomorphic inference."""

    def __init__(self, secret: AnyPath = "client.key") -> None:
        """A client by its secret key's file."""
        self._secret = os.fspath(secret)
        port, self.most_samples = json.loads(native.ckks_port(self._secret))
        self._inputs = ports([port])

    @classmethod
    def keygen(cls, plan: Plan | AnyPath, secret: AnyPath = "client.key", public: AnyPath = "evaluation.keys") -> Client:
        """Makes a client's keys: `secret` stays with it, `public` goes to the server.

        Raises `MisuseError` if `secret` exists: keys are never overwritten.
        """
        if isinstance(plan, Plan):
            path = Path(os.fspath(public) + ".plan")
            plan.save(path)
            try:
                native.ckks_keygen(os.fspath(path), os.fspath(secret), os.fspath(public))
            finally:
                path.unlink()
        else:
            native.ckks_keygen(os.fspath(plan), os.fspath(secret), os.fspath(public))
        return cls(secret)

    def encrypt(self, samples: Feed, request: AnyPath = "request.ckks") -> dict[str, Any]:
        """Encrypts at most `most_samples` samples into a request; returns its size and the
        digest of the keys it belongs to."""
        rows, count = arrays(samples, self._inputs)
        return dict(json.loads(native.ckks_encrypt(self._secret, [r.tobytes() for r in rows], count, os.fspath(request))))

    def decrypt(self, answer: AnyPath = "answer.ckks", *, publish: int | None = None) -> np.ndarray:
        """The outputs, `[samples, values]`, for the key's owner alone: decrypted values tell of
        the key. `publish`: bits of noise under which they may be shown to others, where the plan
        was made with room for it (`subrosa.plan(..., publish=BITS)`)."""
        given, _, _ = native.ckks_decrypt(self._secret, os.fspath(answer), publish)
        return shaped(given)[0]


class Server:
    """Whoever has the model, and computes on ciphertexts. Never holds a secret key."""

    def __init__(
        self, model: ModelLike, keys: AnyPath = "evaluation.keys", *, calibrate: Feed | None = None, threads: int = 1
    ) -> None:
        """`calibrate`: the data that the model was planned on, where activations are
        approximated."""
        self._model, self._keys, self._threads = open_model(model), os.fspath(keys), threads
        self._calibrate = None
        if calibrate is not None:
            rows, count = arrays(calibrate, ports(json.loads(self._model.ports())[0]))
            self._calibrate = ([r.tobytes() for r in rows], count)

    def evaluate(self, request: AnyPath = "request.ckks", answer: AnyPath = "answer.ckks") -> dict[str, Any]:
        """Computes a request; returns the answer's size and its number of samples."""
        written = native.ckks_evaluate(
            self._model, self._keys, os.fspath(request), os.fspath(answer), self._calibrate, self._threads
        )
        return dict(json.loads(written))


def make_identity(name: str, folder: AnyPath = "identity", days: int = 365) -> str:
    """Makes a key and a certificate for `days` (36500 at most) in `folder`; returns the fingerprint
    that goes into everybody's subrosa.toml."""
    return str(native.make_identity(name, os.fspath(folder), days))


class Party:
    """A compute party. `serve` blocks until `stop`; as a context manager it serves in a thread."""

    def __init__(
        self, config: AnyPath, identity: AnyPath, state: AnyPath, *, listen: str | None = None, threads: int = 1
    ) -> None:
        """`state`: where shares of models are kept, encrypted. Listens at once."""
        self._party = native.Party(os.fspath(config), os.fspath(identity), os.fspath(state), listen, threads)
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self._party.address)

    def serve(self) -> None:
        """Serves until `stop` is called, from another thread."""
        self._party.serve()

    def stop(self) -> None:
        """Takes no more connections; sessions at work end by themselves."""
        self._party.stop()

    def __enter__(self) -> Party:
        self._thread = threading.Thread(target=self.serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()


class ModelOwner:
    """Whoever has the model, and gives each party its share."""

    def __init__(self, config: AnyPath, identity: AnyPath) -> None:
        self._cluster = native.Cluster(os.fspath(config), os.fspath(identity))

    def provision(self, model: ModelLike | Plan, name: str | None = None, **options: Any) -> int:
        """Plans the model for the parties' protocol and gives every party its share, to keep.
        Returns the version."""
        plan = model if isinstance(model, Plan) else Plan(model, self._cluster.via, **options)
        return int(self._cluster.provision(plan._plan, name or plan._model.name))

    def remove(self, name: str, version: int | None = None) -> int:
        """Makes every party forget a model; returns how many versions there were."""
        return int(self._cluster.remove(name, version))


class RemoteSession:
    """A model that parties elsewhere hold; as `subrosa.InferenceSession`."""

    def __init__(self, remote: Any, batch: int) -> None:
        self._inputs: list[NodeArg] = ports(json.loads(remote.ports()))
        self._runs = Runs(remote.run, self._inputs, batch, remote.insecure())
        self.report: RunReport | None = None
        """What the last run took."""

    def get_inputs(self) -> list[NodeArg]:
        """The model's inputs."""
        return list(self._inputs)

    def run(self, output_names: None, input_feed: Feed) -> list[np.ndarray]:
        """Computes all samples. Raises `InputError`, and `PeerError` naming the party at fault,
        after which the session is over."""
        del output_names
        outputs, _, self.report, _ = self._runs(input_feed)
        return outputs

    def predict(self, input_feed: Feed) -> np.ndarray:
        """One label a sample."""
        _, labels, self.report, _ = self._runs(input_feed)
        return labels


class DataOwner:
    """Whoever has inputs, and here also receives the results."""

    def __init__(self, config: AnyPath, identity: AnyPath) -> None:
        self._cluster = native.Cluster(os.fspath(config), os.fspath(identity))

    def check(self) -> list[dict[str, Any]]:
        """Every party: its address and models, or why it does not answer."""
        return list(json.loads(self._cluster.check()))

    def session(self, name: str, version: int | None = None, *, batch: int = 128, lanes: int = 1) -> RemoteSession:
        """A session on a model that the parties keep; `lanes` inferences at a time."""
        return RemoteSession(self._cluster.open(name, version, batch, lanes), batch * lanes)
