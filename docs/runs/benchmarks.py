#!/usr/bin/env python3
"""Writes docs/benchmarks.md from a saved run of the survey's experiment.

target/release/subrosa compare --experiment survey2022 --json docs/runs/survey2022.json
docs/runs/benchmarks.py            (--check: say whether docs/benchmarks.md is current)
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent / "benchmarks.md"
RUN = HERE / "survey2022.json"
VERDICTS = {"holds": "holds", "fails": "**does not hold**", "open": "not measured"}


def digits(value):
    """Three significant digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def duration(ms):
    return f"{digits(ms / 1e3)} s" if ms >= 1e3 else f"{digits(ms)} ms" if ms >= 1 else f"{digits(ms * 1e3)} µs"


def size(count):
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{digits(count)} {unit}"
        count /= 1000
    return f"{digits(count)} GB"


def percent(share):
    return "-" if share is None else f"{share * 100:.2f} %"


def told(row, field, text):
    return "-" if row["trust"] == "machine" or field in row.get("unmeasured", []) else text


def table(head, lines):
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(rows + [f"| {' | '.join(line)} |" for line in lines]) + "\n"


def figures(rows):
    def line(row):
        fastest = row.get("slowdown_vs_onnxruntime")
        sent = (row["bytes_offline"] + row["bytes_online"]) / row["batch"]
        return [
            row["backend"],
            row["trusted"],
            str(row["images"]),
            percent(row["accuracy"]),
            percent(row["plain_accuracy"]),
            duration(row["latency_ms_p50"]),
            f"{digits(row['slowdown_vs_plain'])} x",
            "-" if fastest is None else f"{digits(fastest)} x",
            told(row, "bytes_online", size(sent)),
            told(row, "rounds", str(row["rounds"])),
            duration(row["setup_ms"]),
            f"{row['peak_rss_mb']:.0f}",
            "-" if row["trust"] == "machine" else str(row["security_bits"]),
            ", ".join(row["insecure"]) or "-",
        ]

    head = ["Backend", "Who must be trusted", "Images", "Accuracy", "Plain", "Latency", "x plain", "x ONNX Runtime"]
    head += ["Sent an image", "Rounds", "Set-up", "MiB", "Bits", "Insecure"]
    return table(head, [line(row) for row in rows])


def standings(report):
    def line(s):
        if s["ours"] is None:
            return [s["model"], str(s["batch"]), s["peer"], duration(s["peer_ms"]), "nothing at this trust", "-", "-"]
        ratio = f"{digits(s['ratio'])} x faster" if s["ratio"] >= 1 else f"**{digits(1 / s['ratio'])} x slower**"
        return [
            s["model"],
            str(s["batch"]),
            s["peer"],
            duration(s["peer_ms"]),
            s["ours"],
            duration(s["ours_ms"]),
            ratio,
        ]

    head = ["Model", "Batch", "Library", "Its latency", "Subrosa", "Our latency", "Subrosa is"]
    return table(head, [line(s) for s in report["standings"]])


def behind(report):
    """One sentence on where a library is ahead."""
    slower = [s for s in report["standings"] if s["ratio"] is not None and s["ratio"] < 1]
    if not slower:
        return "In this run no library is faster than Subrosa at the same trust.\n"
    cases = [
        f"{s['peer']} is {digits(1 / s['ratio'])} times faster on {s['model']} at batch {s['batch']}" for s in slower
    ]
    return f"**Where a library is ahead:** {'; '.join(cases)}.\n"


def versions(rows):
    lines = sorted({(r["backend"], r["version"], r["network"], r["parameters"], r["preprocessing"]) for r in rows})
    kept = {}
    for backend, version, network, parameters, preprocessing in lines:
        kept.setdefault(backend, [backend, version, network, preprocessing, parameters])
    return table(["Backend", "Version", "Network", "Preprocessing", "Parameters (one of its rows)"], kept.values())


def page(report):
    machine, rows = report["machine"], report["rows"]
    load = machine.get("load")
    busy = load is None or load >= machine["cores"]
    text = "<!-- Written by docs/runs/benchmarks.py from docs/runs/survey2022.json. -->\n\n# Benchmarks: the published comparison, run again\n\n"
    if busy:
        text += f"> **Measured on a busy machine** ({load} processes wanted to run before the first measurement): times are too long,\n"
        text += "> and their ratios indicative only.\n\n"
    text += (
        f"`{report['command']}`, {report['date']}, Subrosa {machine['subrosa']}. Machine: {machine['cpu']}, {machine['cores']} cores,\n"
        f"{machine['memory_mb']:,} MiB, {machine['os']}, {machine['isa']} kernels. One thread a party; all parties share these cores.\n"
        f"In the minute before, {load} processes wanted to run on average.\n\n"
        "A 2022 survey ([Kuzniewski, Matusiewicz, Sapiecha](https://doi.org/10.24425/ijet.2022.143880)) compared SyMPC,\n"
        "TF-Encrypted, TenSEAL and Gramine on three MNIST networks. This page repeats that kind of comparison with today's\n"
        "libraries and with Subrosa in the same table: same ONNX files, same images, same machine, one run. What each library is\n"
        "and how it is run: [peers/README.md](../peers/README.md). A library measures for ten seconds a row, or for one batch if\n"
        "that takes longer: *Images* says how many it did, *Plain* is the accuracy in the clear on those.\n\n"
    )
    text += "## The survey's claims\n\n"
    for finding in report["findings"]:
        text += f"* **{finding['claim']}**: {VERDICTS[finding['verdict']]} here. {finding['found']}\n"
    text += "\n## Beside each library at the same trust\n\n"
    text += "Our fastest row that asks for no more trust and claims no fewer bits of security, same network and batch; where a\n"
    text += "network has ReLU or max-pool and a library takes polynomials only, both ran its polynomial twin (`_square`).\n\n"
    text += "**Not the same transport:** here Subrosa's parties are threads of one process, other libraries' parties are processes on\n"
    text += (
        "loopback without TLS. Subrosa's times between processes over mutual TLS: [README](../README.md#how-fast).\n\n"
    )
    text += behind(report) + "\n" + standings(report)
    text += "\n## All figures\n\n"
    text += "Latency: median of one batch, from sharing or encrypting to the opened result, preprocessing included. *x plain*:\n"
    text += "against tract, which Subrosa runs in the clear; *x ONNX Runtime*: against the fastest plain engine, one thread. Sent:\n"
    text += "by all parties. MiB: the largest party, for Subrosa the whole process so far.\n"
    keys = []
    for row in rows:
        if (row["model"], row["batch"]) not in keys:
            keys.append((row["model"], row["batch"]))
    for model, batch in keys:
        text += f"\n### {model}, batch {batch}\n\n"
        text += figures([r for r in rows if (r["model"], r["batch"]) == (model, batch)])
    text += "\n## No row\n\n"
    for absent in report.get("absent", []):
        text += f"* {absent.get('model') or 'all models'}, {absent['backend']}: {absent['why']}\n"
    text += "\n## Versions and parameters\n\n" + versions(rows)
    text += (
        "\n## Again, on your machine\n\n```console\npeers/setup all\n"
        "target/release/subrosa compare --experiment survey2022 --json docs/runs/survey2022.json --html survey.html\n"
        "docs/runs/benchmarks.py\n```\n\nWith `--full`, all 10,000 images. Your own model: `--peers --model my.onnx --data my.npy`.\n"
    )
    return text


def main():
    current = page(json.loads(RUN.read_text()))
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != current:
            print("docs/benchmarks.md is not that of docs/runs/survey2022.json; run docs/runs/benchmarks.py")
            return 1
        return 0
    PAGE.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main())
