"""Plans, and models at work."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._native import Feed, ModelLike, NodeArg, Options, arrays, native, open_model, ports, shaped


class Plan:
    """How a model will be computed, decided and proven before any input is seen.

    Printable: what it costs, who learns what. `sheet` has the same as a dictionary.
    """

    def __init__(self, model: ModelLike, via: str = "rep3", **options: Any) -> None:
        """Options are those of `InferenceSession`.

        Raises `ModelError` for a file that is damaged or not supported, `PlanError` naming the
        ONNX node that cannot be computed so.
        """
        self._model = open_model(model)
        inputs, outputs = json.loads(self._model.ports())
        self.inputs: list[NodeArg] = ports(inputs)
        self.outputs: list[NodeArg] = ports(outputs)
        self._options = Options(self.inputs, via, **options)
        self._plan = self._model.plan(self._options)
        self.sheet: dict[str, Any] = json.loads(self._plan.sheet())

    @property
    def via(self) -> str:
        """The protection."""
        return self._options.via

    @property
    def batch(self) -> int:
        """Samples in one inference, at most."""
        return self._options.batch

    @property
    def digest(self) -> str:
        """What all parties must agree on, hashed; hexadecimal."""
        return str(self.sheet["plan_digest"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the public half of a plan via ckks, from which a client makes its keys."""
        self._plan.save(os.fspath(path))

    def __str__(self) -> str:
        return str(self._plan)

    def __repr__(self) -> str:
        return f"<subrosa.Plan of {self._model.name} via {self.via}, batch {self.batch}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True)
class RunReport:
    """What a run took, all its inferences together."""

    via: str
    samples: int
    simulated: bool
    setup_ms: float
    offline_ms: float
    """Before the input was known."""
    online_ms: float
    bytes_setup: int
    bytes_offline: int
    bytes_online: int
    rounds: int
    """Message layers online."""
    insecure: list[str]
    """What was asked for that weakens the claim, such as "self-dealer"; empty where nothing was."""

    def _repr_html_(self) -> str:
        shown = {**vars(self), "insecure": ", ".join(self.insecure) or "nothing"}
        rows = (f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in shown.items())
        return f"<table>{''.join(rows)}</table>"


class Runs:
    """Runs samples batch by batch, so that Ctrl-C is heard between two of them."""

    def __init__(
        self, run: Any, inputs: Sequence[NodeArg], batch: int, insecure: Sequence[str], simulated: bool = False
    ) -> None:
        self._run, self._inputs, self._batch = run, list(inputs), batch
        self._insecure, self._simulated = list(insecure), simulated

    def __call__(self, feed: Feed) -> tuple[list[np.ndarray], np.ndarray, RunReport, list[str]]:
        rows, count = arrays(feed, self._inputs)
        parts, labels, abouts = [], [], []
        for at in range(0, count, self._batch):
            given, part_labels, about = self._run([r[at : at + self._batch].tobytes() for r in rows])
            parts.append(shaped(given))
            labels += part_labels
            abouts.append(json.loads(about))
        outputs = [np.concatenate(output) for output in zip(*parts)]
        if abouts[0]["labels_only"]:
            outputs = [output.astype(np.int64) for output in outputs]
        names = [port["name"] for port in abouts[0]["outputs"]]
        return outputs, np.asarray(labels, dtype=np.int64), _report(abouts, self._insecure, self._simulated), names


def _report(abouts: list[dict[str, Any]], insecure: list[str], simulated: bool) -> RunReport:
    batches = [batch for about in abouts for batch in about["batches"]]

    def total(phase: str, *path: str) -> Any:
        values = [batch[phase] for batch in batches]
        for key in path:
            values = [value[key] for value in values]
        return sum(values)

    return RunReport(
        via=abouts[0]["via"],
        samples=sum(about["samples"] for about in abouts),
        simulated=simulated,
        setup_ms=abouts[0]["setup"]["ms"],
        offline_ms=total("offline", "ms"),
        online_ms=total("online", "ms"),
        bytes_setup=abouts[0]["setup"]["cost"]["bytes"],
        bytes_offline=total("offline", "cost", "bytes"),
        bytes_online=total("online", "cost", "bytes"),
        rounds=total("online", "cost", "rounds"),
        insecure=list(insecure),
    )


class InferenceSession:
    """A model at work under a protection; the interface is ONNX Runtime's.

    >>> session = subrosa.InferenceSession("lenet.onnx", via="rep3", input_range=(0, 1))
    >>> [logits] = session.run(None, {"input": images})
    >>> session.report.online_ms
    """

    def __init__(self, model: ModelLike | Plan, via: str = "rep3", *, simulate: bool = False, **options: Any) -> None:
        """Plans the model and starts the parties, in this process.

        - `model`: an ONNX file's path or bytes, or a `Plan`;
        - `via`: the protection, as `backends()` lists them;
        - `batch`: samples in one inference, at most; a run of fewer is one smaller inference
          (128, via ckks 1);
        - `calibrate`: data like the inputs to come, from which their range is taken; or
          `input_range`: `(lo, hi)`; with neither, the widest range that can be proven;
        - `reveal`: "logits", or "label": only the index of the largest output is opened;
        - `exact`: always round down, as the reference does;
        - `public_weights`: let the parties know the weights;
        - `ring`: bits of the integers; `threads`: a party's; `network`: imitate one, such as
          "wan" or "40ms,100mbit";
        - `insecure_self_dealer`: a party deals for itself: for measuring only;
        - `simulate`: the protocol's integers in the clear, without parties.
        """
        self.plan = model if isinstance(model, Plan) else Plan(model, via, **options)
        run, insecure = self.plan._plan.open(simulate).run, self.plan.sheet.get("insecure", [])
        self._runs = Runs(run, self.plan.inputs, self.plan.batch, insecure, simulate)
        self.report: RunReport | None = None
        """What the last run took."""

    def get_inputs(self) -> list[NodeArg]:
        """The model's inputs."""
        return list(self.plan.inputs)

    def get_outputs(self) -> list[NodeArg]:
        """The model's outputs."""
        return list(self.plan.outputs)

    def run(self, output_names: Sequence[str] | None, input_feed: Feed, run_options: None = None) -> list[np.ndarray]:
        """Computes all samples; returns the named outputs, all of them for `None`.

        Raises `InputError` for wrong shapes, NaN, infinities and values outside the plan's
        range, naming the position; `PeerError`.
        """
        del run_options
        outputs, _, self.report, names = self._runs(input_feed)
        if output_names is None:
            return outputs
        return [outputs[_position(names, name)] for name in output_names]

    def predict(self, input_feed: Feed) -> np.ndarray:
        """One label a sample: the index of the first output's largest value."""
        _, labels, self.report, _ = self._runs(input_feed)
        return labels

    def __repr__(self) -> str:
        return f"<subrosa.InferenceSession of {self.plan!r}>"


def _position(names: list[str], wanted: str) -> int:
    from ._native import InputError

    plain = [name.removesuffix(".argmax") for name in names]
    for known in (names, plain):
        if wanted in known:
            return known.index(wanted)
    raise InputError(f"the model has no output '{wanted}': its outputs are {', '.join(names)}")


def plan(model: ModelLike, via: str = "rep3", **options: Any) -> Plan:
    """What a run will cost and who learns what; options as `InferenceSession` has them."""
    return Plan(model, via, **options)


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in an ONNX file, every node that is not supported, and what each protection can
    do with it."""
    return dict(json.loads(native.Model.inspect(os.fspath(path))))


def backends() -> list[dict[str, Any]]:
    """Every protection: its name (`via`), against whom it protects, and who learns what."""
    return list(json.loads(native.backends()))
