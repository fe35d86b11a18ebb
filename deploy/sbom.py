"""Writes what the released files are made of, as CycloneDX 1.6 JSON: the Rust packages that are linked into the program, the
Python extension and the browser's module, those that only build them, and what the compiler brings. From the lock files and
cargo alone, without network; with SOURCE_DATE_EPOCH set, the same bytes each time. Ends with an error for a licence that is
not in PERMITTED. Usage: python3 deploy/sbom.py [OUT]"""

import json
import os
import subprocess
import sys
import tomllib
import uuid
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = "x86_64-unknown-linux-gnu"
# What is released: its packages, the manifest whose lock file they follow, and what they are compiled for.
PROGRAM = ("Cargo.toml", ["subrosa-cli", "subrosa-py"], TARGET)
MODULE = ("wasm/Cargo.toml", ["subrosa-wasm"], "wasm32-unknown-unknown")
# Each term that a licence may ask for: all ask for notices at most.
PERMITTED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "BlueOak-1.0.0",
    "CC0-1.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}  # fmt: skip
# May be linked with anything that can be linked anew with another one: the sources are here.
EXCEPTED = {"glibc"}
INDEX = "registry+https://github.com/rust-lang/crates.io-index"

Package = dict[str, object]


def cargo(*arguments: str) -> str:
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def tree(manifest: str, packages: list[str], target: str, edges: str) -> set[tuple[str, str]]:
    """Names and versions of what cargo compiles for `packages`, along `edges`, with just their features."""
    chosen = [argument for name in packages for argument in ("-p", name)]
    lines = cargo(
        "tree", "--locked", "--manifest-path", manifest, *chosen, "--target", target, "-e", edges,
        "--prefix", "none", "--no-dedupe", "--format", "{p}",
    ).splitlines()  # fmt: skip
    return {(name, version.removeprefix("v")) for name, version, *_ in (line.split() for line in lines if line)}


def licence(package: Package) -> list[dict[str, object]]:
    """As CycloneDX has it. Old manifests write `A/B` for `A OR B`."""
    text = package["license"]
    if not text:
        return [{"license": {"name": f"see {package['license_file']} in the package"}}] if package["license_file"] else []
    return [{"expression": " OR ".join(part.strip() for part in str(text).split("/"))}]


def permitted(expression: str) -> bool:
    """Whether one side of each OR, and all of each AND, is."""
    words = expression.replace("(", " ( ").replace(")", " ) ").split()

    def either() -> bool:
        value = both()
        while words and words[0] == "OR":
            words.pop(0)
            value = both() or value
        return value

    def both() -> bool:
        value = term()
        while words and words[0] == "AND":
            words.pop(0)
            value = term() and value
        return value

    def term() -> bool:
        word = words.pop(0)
        if word == "(":
            value = either()
            words.pop(0)
            return value
        if words and words[0] == "WITH":
            words.pop(0)
            word = f"{word} WITH {words.pop(0)}"
        return word in PERMITTED

    return either() and not words


def component(package: Package, checksum: str | None, linked: bool) -> dict[str, object]:
    name, version = str(package["name"]), str(package["version"])
    # Packages of this repository are in no registry; that they are needed for building alone says `excluded`.
    url = f"pkg:cargo/{name}@{version}" if checksum else f"pkg:generic/{name}@{version}"
    entry: dict[str, object] = {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "scope": "required" if linked else "excluded",
        "purl": url,
    }
    if package["description"]:
        entry["description"] = " ".join(str(package["description"]).split())
    if licences := licence(package):
        entry["licenses"] = licences
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def packages(manifest: str, names: list[str], target: str) -> tuple[dict[str, dict[str, object]], dict[str, list[str]]]:
    """Components of one manifest, by their reference, and which of them each depends on."""
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--manifest-path", manifest))
    lock = tomllib.loads((ROOT / manifest).with_name("Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    linked = tree(manifest, names, target, "normal,no-proc-macro")
    wanted = linked | tree(manifest, names, target, "normal,build")
    components, references = {}, {}
    for package in metadata["packages"]:
        key = (package["name"], package["version"])
        if key not in wanted:
            continue
        if package["source"] not in (None, INDEX):
            sys.exit(f"{key[0]} comes from {package['source']}: no packages but those of the registry are released")
        entry = component(package, checksums[key], key in linked)
        components[str(entry["bom-ref"])] = entry
        references[package["id"]] = str(entry["bom-ref"])
    edges = {
        references[node["id"]]: sorted({references[d["pkg"]] for d in node["deps"] if used(d) and d["pkg"] in references})
        for node in metadata["resolve"]["nodes"]
        if node["id"] in references
    }
    return components, edges


def used(dependency: dict[str, list[dict[str, object]]]) -> bool:
    return any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])


def toolchain() -> list[dict[str, object]]:
    """The standard library, and the C library of the machine that builds the static program, where it says which."""
    release = next(line for line in cargo("-vV").splitlines() if line.startswith("release: ")).split()[1]
    found = [("rust-std", release, f"pkg:generic/rust-std@{release}", "MIT OR Apache-2.0", "of the compiler, linked in")]
    try:
        ask = ["dpkg-query", "-W", "-f", "${Version}", "libc6-dev"]
        version = subprocess.run(ask, check=True, capture_output=True, text=True).stdout
        url = f"pkg:deb/debian/libc6-dev@{version.replace('+', '%2B')}?arch=amd64"
        found.append(("glibc", version, url, "LGPL-2.1-or-later", "of the building machine, linked into the static program"))
    except (OSError, subprocess.CalledProcessError):
        print("the C library's version is unknown here, and not listed", file=sys.stderr)
    return [
        {
            "type": "library", "bom-ref": url, "name": name, "version": version, "scope": "required", "purl": url,
            "description": description, "licenses": [{"expression": expression}],
        }
        for name, version, url, expression, description in found
    ]  # fmt: skip


def bill() -> dict[str, object]:
    components, edges = packages(*PROGRAM)
    of_module, module_edges = packages(*MODULE)
    for reference, entry in of_module.items():
        kept = components.setdefault(reference, entry)
        if entry["scope"] == "required":
            kept["scope"] = "required"
    for reference, after in module_edges.items():
        edges[reference] = sorted({*edges.get(reference, []), *after})
    brought = toolchain()
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    url = f"pkg:generic/subrosa@{version}"
    roots = [f"pkg:generic/{name}@" for _, names, _ in (PROGRAM, MODULE) for name in names]
    edges[url] = sorted(r for r in components if r.startswith(tuple(roots))) + [str(entry["bom-ref"]) for entry in brought]
    entries = sorted([*components.values(), *brought], key=lambda entry: str(entry["bom-ref"]))
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    moment = datetime.fromtimestamp(seconds, timezone.utc) if seconds else datetime.now(timezone.utc)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(entries, sort_keys=True))}",
        "version": 1,
        "metadata": {
            "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application", "bom-ref": url, "name": "subrosa", "version": version, "purl": url,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
            },
        },
        "components": entries,
        "dependencies": [{"ref": reference, "dependsOn": edges[reference]} for reference in sorted(edges)],
    }  # fmt: skip


def main() -> None:
    made = bill()
    refused = [
        f"{entry['name']} {entry['version']}: {choice.get('expression', 'no licence expression')}"
        for entry in made["components"]
        if entry["scope"] == "required" and entry["name"] not in EXCEPTED
        for choice in entry.get("licenses", [{}])
        if not permitted(str(choice.get("expression", "none")))
    ]
    if refused:
        sys.exit("not permitted: " + "; ".join(refused))
    text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)
    linked = sum(entry["scope"] == "required" for entry in made["components"])
    print(f"{linked} components linked, {len(made['components']) - linked} that only build", file=sys.stderr)


if __name__ == "__main__":
    main()
