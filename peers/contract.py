"""What every adapter shares: its flags, its clock, and the rows it prints.

An adapter is run as

    adapter.py --model FILE.onnx --data FILE --batch B:N [--batch B:N]... [--backend NAME]
               [--threads T] [--seconds S] [--answers FOLDER] [--labels FILE]

`--data` is .npy (one array, images first) or an idx file (optionally .gz; bytes become
value/255, shaped as the model asks). For every `--batch B:N` it runs the first N images, B at a
time, and stops early, at the end of a batch, after S seconds. On standard output it prints one
JSON object a line, and nothing else: a row of the comparison, or
`{"model", "backend", "unavailable": reason}`. The answers of a row, float32 logits
[images, classes], lie in `answers`, a file below `--answers`: whoever compares checks them
against plain and computes accuracy; with `--labels` an adapter run by hand counts the right
answers itself. What the library itself prints goes to standard error.

Needs only numpy and onnx, and runs on CPython 3.8 and later.
"""

import argparse
import gzip
import json
import os
import pathlib
import re
import signal
import socket
import struct
import sys
import threading
import time
from importlib import metadata

# If memory runs out, the one who measures is not the one to end. Inherited by what a library starts.
try:
    pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
except OSError:
    pass  # Another system, or a sandbox without it.

# Before any library of numbers starts its threads: those that `--threads` gives are set by name.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np

IDX_DTYPES = {0x08: np.uint8, 0x0D: ">f4", 0x0E: ">f8", 0x0B: ">i2", 0x0C: ">i4", 0x09: np.int8}


# What the rows of homomorphic libraries have in common.
CLIENT_AND_SERVER = {
    "rounds": 2,
    "parties": 2,
    "threshold": 1,
    "adversary": "semi-honest",
    "trust": "key",
    "network": "none: client and server in one process",
    "security_bits": 128,
    "preprocessing": "none",
}


class Unavailable(Exception):
    """The library cannot compute this model; the text says why, in one sentence."""


class Request:
    """What is asked of an adapter."""

    def __init__(self, flags):
        self.model_path = flags.model
        self.model = pathlib.Path(flags.model).stem
        self.backend = flags.backend
        self.data_path = flags.data
        self.labels = None if flags.labels is None else read_idx(flags.labels)
        self.batches = flags.batch
        self.threads = flags.threads
        self.seconds = flags.seconds
        self.answers = flags.answers

    def images(self, shape):
        """Samples as float32, each of `shape` (the model's input without its batch axis)."""
        values = load(self.data_path)
        return np.ascontiguousarray(values.reshape((len(values),) + tuple(shape)), dtype=np.float32)


def workload(text):
    batch, _, images = text.partition(":")
    return int(batch), int(images or batch)


def load(path):
    """Samples of a .npy or idx file."""
    if str(path).endswith(".npy"):
        return np.load(path, allow_pickle=False)
    values = read_idx(path)
    return values.astype(np.float32) / 255 if values.dtype == np.uint8 else values


def read_idx(path):
    """An idx file, optionally gzipped; labels too may be .npy."""
    if str(path).endswith(".npy"):
        return np.load(path, allow_pickle=False)
    opened = gzip.open(path) if str(path).endswith(".gz") else open(path, "rb")
    with opened as file:
        content = file.read()
    dtype, rank = content[2], content[3]
    shape = struct.unpack(">" + "I" * rank, content[4 : 4 + 4 * rank])
    return np.frombuffer(content, IDX_DTYPES[dtype], offset=4 + 4 * rank).reshape(shape)


def private_stdout():
    """Standard output for rows alone: whatever else is printed goes to standard error."""
    rows = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return rows


def peak_rss_mb():
    """Largest resident memory of this process so far (MiB)."""
    return process_peak_mb(os.getpid())


def process_peak_mb(pid):
    """Largest resident memory of a process so far (MiB)."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return round(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024, 1)


def free_ports(count):
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def end_with_parent():
    """Ends this process group if whoever started it dies: nobody would end it otherwise."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(0, signal.SIGKILL)

    # By hand, the shell's process group is not ours to end.
    if os.getpgrp() == os.getpid():
        threading.Thread(target=watch, daemon=True).start()


def say(text):
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


class Runs:
    """Answers and times of one workload."""

    def __init__(self, infer, images, batch, seconds):
        """Runs `infer` once without counting it, then over `images`, `batch` at a time.

        If that once takes longer than all may, it is what counts.
        """
        batch = min(batch, len(images))
        self.times, self.answers, self.batch, self.timed = [], [], batch, 0
        began = time.perf_counter()
        first = infer(images[:batch])
        if self.enough(began, seconds):
            self.times.append((time.perf_counter() - began) * 1e3)
            self.answers, self.timed = np.asarray(first, dtype=np.float32), batch
            return
        began = time.perf_counter()
        for at in range(0, len(images), batch):
            # A smaller last batch is filled up with its own images: libraries compile for a shape.
            part = images[at : at + batch]
            filled = np.resize(part, (batch,) + part.shape[1:]) if len(part) < batch else part
            start = time.perf_counter()
            answer = infer(filled)
            self.times.append((time.perf_counter() - start) * 1e3)
            self.answers.append(np.asarray(answer, dtype=np.float32)[: len(part)])
            self.timed += len(part)
            if self.enough(began, seconds):
                break
        self.answers = np.concatenate(self.answers)

    def enough(self, began, seconds):
        return time.perf_counter() - began >= seconds

    def percentile(self, share):
        """Nearest rank."""
        ordered = sorted(self.times)
        return ordered[max(0, int(np.ceil(share * len(ordered))) - 1)]


class Printer:
    """Prints rows."""

    def __init__(self, request, out):
        self.request, self.out = request, out

    def line(self, value):
        self.out.write(json.dumps(value) + "\n")
        self.out.flush()

    def unavailable(self, backend, reason):
        self.line({"model": self.request.model, "backend": backend, "unavailable": reason})

    def encrypted(self, backend, runs, up, down, **facts):
        """A row of a homomorphic library: bytes of a request and of its answer."""
        traffic = {"bytes_online": up + down, "bytes_up": up, "bytes_down": down}
        self.row(backend, runs, **CLIENT_AND_SERVER, **traffic, **facts)

    def row(self, backend, runs, **facts):
        """One row: `facts` are the fields that only the adapter knows."""
        images = len(runs.answers)
        row = {
            "model": self.request.model,
            "backend": backend,
            "images": images,
            "batch": runs.batch,
            "latency_ms_p50": runs.percentile(0.5),
            "latency_ms_p95": runs.percentile(0.95),
            "throughput_per_s": runs.timed / (sum(runs.times) / 1e3),
            "offline_ms": 0.0,
            "bytes_offline": 0,
            "bytes_online": 0,
            "rounds": 0,
            "peak_rss_mb": peak_rss_mb(),
            "threads": self.request.threads,
            "insecure": [],
            "unmeasured": [],
            **facts,
        }
        if self.request.labels is not None:
            correct = int((runs.answers.argmax(1) == self.request.labels[:images]).sum())
            row.update(correct=correct, accuracy=correct / images)
        if self.request.answers is not None:
            name = f"{self.request.model}-{backend}-{runs.batch}-{len(runs.answers)}.npy"
            np.save(os.path.join(self.request.answers, name), runs.answers.reshape(images, -1))
            row["answers"] = name
        self.line(row)


def version_of(package):
    return metadata.version(package)


def main(adapter, backends):
    """Runs `adapter(request, printer, backend)`; a library's refusal becomes a row."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--model", required=True, metavar="FILE.onnx")
    parser.add_argument("--data", required=True, metavar="FILE", help=".npy or idx")
    parser.add_argument("--labels", metavar="FILE", help="idx or .npy")
    parser.add_argument(
        "--batch",
        action="append",
        type=workload,
        required=True,
        metavar="B:N",
        help="batch size and images in all; may be repeated",
    )
    parser.add_argument("--backend", choices=backends, default=backends[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        metavar="S",
        help="stop a workload after this time, at the end of a batch",
    )
    parser.add_argument("--answers", metavar="FOLDER", help="where to write the answers")
    request = Request(parser.parse_args())
    printer = Printer(request, private_stdout())
    end_with_parent()
    try:
        adapter(request, printer)
    except Unavailable as reason:
        printer.unavailable(request.backend, str(reason))
