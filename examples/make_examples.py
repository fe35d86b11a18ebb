#!/usr/bin/env python3
"""Write digit.png and digits.npy from the MNIST test set.

    python examples/make_examples.py

Needs: numpy.
"""
import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
MNIST = HERE.parent / "data/mnist"


def main():
    with gzip.open(MNIST / "t10k-first100-images-idx3-ubyte.gz") as f:
        images = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    (HERE / "digit.png").write_bytes(png(images[0]))
    np.save(HERE / "digits.npy", (images[:10, None] / np.float32(255)).astype(np.float32))


def png(image):
    """An 8-bit grey PNG."""
    height, width = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


if __name__ == "__main__":
    main()
