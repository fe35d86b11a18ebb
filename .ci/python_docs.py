"""Executes the notebooks, and the Python blocks of the documentation: those of one page in one
namespace, from the repository's root. Blocks marked with another word (```python torch) need what is
not installed here, and are counted aloud. Usage: .ci/python_docs.py"""

import re
import sys
import time
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "python.md", *sorted((ROOT / "docs" / "migrate").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
BLOCK = re.compile(r"^```python(?: (\w+))?\n(.*?)^```$", re.M | re.S)


def page(path: Path) -> int:
    namespace: dict[str, object] = {}
    blocks = BLOCK.findall(path.read_text())
    for needs, code in blocks:
        if needs:
            print(f"  not run, needs {needs}: a block of {path.name}")
            continue
        exec(compile(code, str(path), "exec"), namespace)
    return len([b for b in blocks if not b[0]])


def main() -> None:
    done = 0
    for path in PAGES:
        done += page(path)
    for path in NOTEBOOKS:
        start = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
        print(f"{path.name}: executed in {time.monotonic() - start:.1f} s")
        done += 1
    if done < 8:
        sys.exit("too few pages and notebooks were found")
    print(f"{done} passed, 0 failed")


if __name__ == "__main__":
    main()
