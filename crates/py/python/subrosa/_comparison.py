"""Models under several protections, measured side by side."""

from __future__ import annotations

import html
import importlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

from ._native import Feed, ModelLike, arrays, native, open_model, ports


class Comparison(Sequence[dict[str, Any]]):
    """Rows of a comparison, each a dictionary: `pandas.DataFrame(comparison)` is a table."""

    def __init__(self, report: dict[str, Any], page: str) -> None:
        self.rows: list[dict[str, Any]] = report["rows"]
        self.machine: dict[str, Any] = report["machine"]
        self.page = page
        """The report with plots, self-contained HTML."""

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`."""
        return importlib.import_module("pandas").DataFrame(self.rows)

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Writes the report with plots."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.page)

    def _repr_html_(self) -> str:
        columns: dict[str, Callable[[dict[str, Any]], object]] = {
            "model": lambda r: r["model"],
            "via": lambda r: r["backend"],
            "batch": lambda r: r["batch"],
            "accuracy": lambda r: "" if r["accuracy"] is None else f"{r['accuracy']:.2%}",
            "ms": lambda r: f"{r['latency_ms_p50']:.3g}",
            "x plain": lambda r: f"{r['slowdown_vs_plain']:.3g}",
            "bytes online": lambda r: f"{r['bytes_online']:,}",
            "rounds": lambda r: r["rounds"],
            "claim": lambda r: r["claim"],
            "insecure": lambda r: ", ".join(r["insecure"]),
        }
        head = "".join(f"<th>{name}</th>" for name in columns)
        cells = ("".join(f"<td>{html.escape(str(f(r)))}</td>" for f in columns.values()) for r in self.rows)
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


class _Wanted:
    """What is compared; the native half reads the attributes."""

    def __init__(self, **chosen: Any) -> None:
        vars(self).update(chosen)


def compare(
    models: ModelLike | Iterable[ModelLike],
    data: Feed,
    labels: Sequence[int] | None = None,
    *,
    via: Sequence[str] = ("plain", "rep3"),
    batch: int | Sequence[int] = (1, 128),
    images: int | None = None,
    threads: int = 1,
    input_range: tuple[float, float] | None = None,
    network: str | None = None,
    public_weights: bool = False,
    exact: bool = False,
    insecure_self_dealer: bool = False,
    budget_s: float | None = None,
) -> Comparison:
    """Runs each model on `data` under each protection, and in the clear beside it.

    - `models`: one or several paths of ONNX files, or their bytes; all take the same `data`;
    - `labels`: the right answers, for the accuracy;
    - `batch`: samples in one inference, one or several; `images`: use the first so many;
    - `input_range`: taken from `data` unless given;
    - `budget_s`: stop each protected row after so many seconds, at the end of a batch.

    Raises `PlanError` before anything runs, if a model cannot be computed as asked.
    """
    if isinstance(models, (str, bytes, os.PathLike)):
        models = [models]
    truth = None if labels is None else [int(label) for label in labels]
    entries = []
    for model in models:
        opened = open_model(model)
        rows, count = arrays(data, ports(json.loads(opened.ports())[0]))
        entries.append((opened, [r.tobytes() for r in rows], count, truth))
    wanted = _Wanted(
        vias=list(via),
        batches=[batch] if isinstance(batch, int) else list(batch),
        images=images,
        threads=threads,
        public_weights=public_weights,
        exact=exact,
        insecure_self_dealer=insecure_self_dealer,
        network=network,
        budget_s=budget_s,
        input_range=input_range,
    )
    report, page = native.compare(entries, wanted, "an array given to subrosa.compare")
    return Comparison(json.loads(report), page)
