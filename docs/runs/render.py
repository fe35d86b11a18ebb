#!/usr/bin/env python3
"""Writes the README's performance section from a saved run of the bench.

    cargo bench -p subrosa-bench --bench parties -- --json > docs/runs/parties.jsonl
    docs/runs/render.py            (--check: say whether the README is current)
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
README = HERE.parent.parent / "README.md"
BEGIN, END = "<!-- performance: docs/runs/render.py -->\n", "<!-- end of performance -->\n"


def section() -> str:
    lines = [json.loads(line) for line in (HERE / "parties.jsonl").read_text().splitlines()]
    machine, rows = lines[0], lines[1:]
    text = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}; three processes over mutual TLS 1.3 on loopback, one\n"
        "thread each, sharing these cores; rep3, semi-honest. Online: from sharing the input to reading the output, at a\n"
        "client in a fourth process. Offline: preprocessing, made afresh for every batch, input-independent. Plain: tract,\n"
        f"one thread, same run. Medians; `{machine['command']}`, {machine['date']}.\n\n"
        "| Model | Batch | Plain, ms | Online, ms | x plain | Offline, ms | Rounds | kB an image, online + offline | Largest party, MB |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    for row in rows:
        text += (
            f"| {row['model']} | {row['batch']} | {row['plain_ms']:.3g} | {row['online_ms']:.3g} "
            f"| {row['online_ms'] / row['plain_ms']:.1f} | {row['offline_ms']:.3g} | {row['rounds']} "
            f"| {row['online_kb_per_image']:.1f} + {row['offline_kb_per_image']:.1f} | {row['peak_mb']:.0f} |\n"
        )
    return text


def main() -> int:
    readme = README.read_text()
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    current = before + BEGIN + "\n" + section() + "\n" + END + after
    if "--check" in sys.argv[1:]:
        if readme != current:
            print("README.md: the performance section is not that of docs/runs/parties.jsonl; run docs/runs/render.py")
        return int(readme != current)
    README.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main())
