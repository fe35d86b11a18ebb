"""The bill of materials, the Compose file and the Helm chart of a release; and the chart's pods, run as a kubelet would: as
the user that they name, on a read-only root, with just the volumes that they mount, in a network of their own.
Usage: .ci/delivery.py DIST PROGRAM IMAGE. PROGRAM is asked from outside the pods, IMAGE is the root of their image. Needs root."""

import atexit
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import compose_spec
import helm_python as helm
import kubernetes_validate
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm" / "subrosa"
VERSIONS = ["1.30", "1.34"]
USER = 10001
# The image's entry point.
ENTRY = "/usr/local/bin/subrosa"
passed = 0

Manifest = dict[str, object]


def check(truth: object, what: str) -> None:
    global passed
    if not truth:
        sys.exit(f"FAILED: {what}")
    passed += 1


def bill(path: Path) -> None:
    text = path.read_text()
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    check(error is None, f"{path.name} is CycloneDX 1.6: {error}")
    components = json.loads(text)["components"]
    linked = {c["name"] for c in components if c["scope"] == "required"}
    built = {c["name"] for c in components if c["scope"] == "excluded"}
    for name in ["subrosa-cli", "subrosa-py", "subrosa-wasm", "tract-onnx", "rustls", "aws-lc-sys", "pyo3", "rust-std"]:
        check(name in linked, f"{name} is listed as linked")
    for name in ["syn", "cc", "serde_derive"]:
        check(name in built and name not in linked, f"{name} is listed as building only")
    for name in ["criterion", "proptest"]:
        check(name not in linked | built, f"{name} is not listed: it is of tests alone")
    locks = [tomllib.loads((ROOT / lock).read_text()) for lock in ["Cargo.lock", "wasm/Cargo.lock"]]
    checksums = {(p["name"], p["version"]): p.get("checksum") for lock in locks for p in lock["package"]}
    for c in components:
        if c["purl"].startswith("pkg:cargo/"):
            check(c["hashes"][0]["content"] == checksums[c["name"], c["version"]], f"{c['name']} has its checksum")
    print(f"bill of materials: {len(linked)} linked, {len(built)} building only")


def compose(path: Path) -> None:
    def read(text: str) -> dict[str, dict]:
        whole = yaml.safe_load(text)
        compose_spec.PyCompose.from_json(json.dumps(whole)).validate()
        return whole

    text = path.read_text()
    whole = read(text)
    for name, service in whole["services"].items():
        hardened = service["read_only"] and service["user"] == f"{USER}:{USER}" and service["cap_drop"] == ["ALL"]
        check(hardened and "no-new-privileges:true" in service["security_opt"], f"{name} is confined")
        check(service["image"] == f"subrosa:{version()}", f"{name} has the image of this version")
        named = {v.split(":")[0] for v in service["volumes"] if v[0] != "."}
        check(named <= set(whole["volumes"]), f"the volumes of {name} are declared")
        parses(service["command"])
        parses(service["healthcheck"]["test"][2:])
    try:
        read(text.replace("read_only", "read_onli"))
        check(False, "an unknown key is noticed")
    except ValueError:
        check(True, "")
    print(f"compose: {', '.join(whole['services'])}")


def version() -> str:
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def parses(command: list[str]) -> None:
    """The program knows these flags: it gets as far as a file that is not there, or an address that nobody is at."""
    with tempfile.TemporaryDirectory() as folder:
        moved = [re.sub(r"^(.*=)?/(?=[a-z])", lambda m: f"{m[1] or ''}{folder}/", word) for word in command]
        moved = ["http://127.0.0.1:1" if word.startswith("http:") else word for word in moved]
        ran = subprocess.run([PROGRAM, *moved], capture_output=True, text=True, timeout=60, cwd=folder)
    check(ran.returncode == 1, f"{command} parses: {ran.stderr}")


def rendered(values: Manifest) -> list[Manifest]:
    for kubernetes in VERSIONS:
        report = helm.lint(CHART, values, strict=True, kube_version=f"v{kubernetes}.0")
        found = [m for m in report["messages"] if m["error"] != "icon is recommended"]
        check(not found and not report["errors"], f"the chart is clean to helm lint: {found}")
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(values, name="demo", namespace="models")
    manifests = [m for path, t in texts.items() if path.endswith(".yaml") for m in yaml.safe_load_all(t) if m]
    for manifest in manifests:
        for kubernetes in VERSIONS:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)
        check(True, "it is valid to Kubernetes")
    confined(manifests)
    return manifests


def confined(manifests: list[Manifest]) -> None:
    """The restricted profile of Kubernetes' pod security standards, and names that find one another."""
    [workload] = [m for m in manifests if m["kind"] in ("Deployment", "StatefulSet")]
    template = workload["spec"]["template"]
    pod = template["spec"]
    [container] = pod["containers"]
    inside = container["securityContext"]
    check(pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == USER, "not root")
    check(pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, "seccomp")
    check(not inside["allowPrivilegeEscalation"] and inside["capabilities"] == {"drop": ["ALL"]}, "no capabilities")
    check(inside["readOnlyRootFilesystem"] and not pod["automountServiceAccountToken"], "read-only, without a token")
    check({"requests", "limits"} <= set(container["resources"]), "resources")
    check(re.search(r"(:[0-9]|@sha256:)", container["image"]), "an image of a version")
    check({v["name"] for v in container["volumeMounts"]} <= {
        v["name"] for v in pod["volumes"] + [c["metadata"] for c in workload["spec"].get("volumeClaimTemplates", [])]
    }, "mounted volumes are there")  # fmt: skip
    ports = {p["name"] for p in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        check(container[probe]["httpGet"]["port"] in ports, f"{probe} asks a port that is there")
    labels = template["metadata"]["labels"].items()
    chosen = 0
    for manifest in manifests:
        spec = manifest.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        if selector:
            check((selector.get("matchLabels") or selector).items() <= labels, f"{manifest['kind']} finds the pod")
            chosen += 1
    kinds = {m["kind"] for m in manifests}
    check(chosen >= 3 and {"Service", "NetworkPolicy"} <= kinds, f"a service and a policy: {kinds}")


def refused(values: Manifest, words: str) -> None:
    try:
        with helm.Chart.load(CHART) as chart:
            chart.validate_schema(values)
            chart.render(values, name="demo", namespace="models")
    except helm.HelmError as error:
        check(words in str(error), f"it says {words!r}: {error}")
        return
    check(False, f"the chart refuses {values}")


def refusals(good: Manifest) -> None:
    server = good["server"]
    for change, words in [
        ({"models": []}, "server.models is empty"),
        ({"modelVolume": {}}, "server.modelVolume"),
        ({"apiKeys": {}}, "set anonymous"),
        ({"apiKeys": {**server["apiKeys"], "anonymous": True}}, "either clients or anonymous"),
        ({"apiKeys": {**server["apiKeys"], "existingSecret": "other"}}, "either clients or existingSecret"),
        ({"apiKeys": {"clients": {"alice": "a-key-itself"}}}, "alice"),
        ({"via": "rep3"}, "via"),
        ({"models": [{"file": "../etc/passwd"}]}, "file"),
        ({"models": [{"file": "a.onnx", "version": 2}]}, "name"),
        ({"networkPolicy": {"from": []}}, "from"),
        ({"replica": 2}, "replica"),
    ]:
        refused({"server": {**server, **change}}, words)
    refused({**good, "image": {"repository": "subrosa", "tag": "latest"}}, "tag")
    for lacks in ({"identitySecret": "identity"}, {"cluster": "backend"}):
        refused({"server": {"enabled": False}, "party": {"enabled": True, **lacks}}, "party.")


class Pod:
    """The pod of a workload, in namespaces of its own. `volumes`: by name, the files of each, or a folder."""

    def __init__(self, workload: Manifest, volumes: dict[str, dict[str, bytes] | Path]) -> None:
        spec = workload["spec"]["template"]["spec"]
        self.container = spec["containers"][0]
        self.folder = tempfile.TemporaryDirectory()
        here = Path(self.folder.name)
        here.chmod(0o755)
        root = here / "root"
        root.mkdir()
        lines = ["ip link set lo up", f"mount --bind {IMAGE} {root}"]
        # A container runtime makes the mount points too.
        for mount in self.container["volumeMounts"]:
            where = f"{root}{mount['mountPath']}"
            held = volumes[mount["name"]]
            source = held if isinstance(held, Path) else laid_out(here / mount["name"], held)
            lines += [f"mkdir -p {where}", f"mount --bind {source} {where}"]
            if mount.get("readOnly"):
                lines.append(f"mount -o remount,bind,ro {where}")
        lines += [
            f"mount -o remount,bind,ro {root}",
            "ulimit -c 0",
            f'exec setpriv --no-new-privs chroot --userspec={USER}:{USER} --groups={USER} {root} {ENTRY} "$@"',
        ]
        self.log = open(here / "log", "w+")
        entered = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-euc", "\n".join(lines), "-"]
        self.process = subprocess.Popen([*entered, *self.container["args"]], stdout=self.log, stderr=self.log)
        atexit.register(self.process.kill)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not children.read_text():
            if self.process.poll() is not None:
                sys.exit(f"FAILED: no pod: {self.said()}")
            time.sleep(0.01)
        self.pid = int(children.read_text())

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs this machine's program in the pod's network."""
        enter = ["nsenter", "--net", "-t", str(self.pid)]
        return subprocess.run([*enter, PROGRAM, *command], capture_output=True, text=True, timeout=120, cwd=ROOT)

    def ready(self, *more: str) -> None:
        """Waits for what its readiness probe asks for."""
        get = self.container["readinessProbe"]["httpGet"]
        port = next(p["containerPort"] for p in self.container["ports"] if p["name"] == get["port"])
        url = f"{get.get('scheme', 'HTTP').lower()}://localhost:{port}{get['path']}"
        for _ in range(300):
            if self.process.poll() is not None:
                sys.exit(f"FAILED: the pod ended: {self.said()}")
            if self.inside("health", url, *more).returncode == 0:
                break
            time.sleep(0.2)
        else:
            sys.exit(f"FAILED: the pod was not ready: {self.said()}")
        check(True, "ready")

    def ends(self) -> None:
        status = Path(f"/proc/{self.pid}/status").read_text()
        check(re.search(rf"^Uid:\s+{USER}\s+{USER}", status, re.M), "it runs as that user")
        check(re.search(r"^CapEff:\s+0+$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M), "without powers")
        os.kill(self.pid, 15)
        self.process.wait(timeout=40)
        self.log.close()
        self.folder.cleanup()


def names() -> None:
    """The program finds names by itself, though it is static and the image has no libraries: from the files that a
    container runtime mounts, and from a name server."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        here.chmod(0o755)
        (here / "root").mkdir()
        (here / "hosts").write_text("127.0.0.1 localhost\n127.0.0.9 regulator\n")
        (here / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        lines = ["ip link set lo up", f"mount --bind {IMAGE} {here}/root", f"mkdir -p {here}/root/etc"]
        lines += [f"touch {here}/root/etc/{f} && mount --bind {here}/{f} {here}/root/etc/{f}" for f in ("hosts", "resolv.conf")]
        lines += [f"exec 3< <(exec {sys.executable} {__file__} name-server)", "trap 'kill $!' EXIT", "read -r -u 3"]
        ask = f"chroot --userspec={USER}:{USER} {here}/root {ENTRY} health"
        lines += [f"{ask} http://{name}:1 2>&1 | grep refused" for name in ("regulator", "vendor.example")]
        lines += [f"{ask} http://nobody.example:1 2>&1 | grep -v refused"]
        # Not pipefail: the program ends with an error, as nobody listens there; what it says counts.
        entered = ["unshare", "--mount", "--net", "bash", "-euc", "\n".join(lines)]
        ran = subprocess.run(entered, capture_output=True, text=True, timeout=60)
    check(ran.returncode == 0, f"names are found: {ran.stdout} {ran.stderr}")


def name_server() -> None:
    """Knows vendor.example."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        print("there", flush=True)
        while True:
            question, asker = server.recvfrom(512)
            end = 12
            while question[end]:
                end += question[end] + 1
            known = question[12:end] == b"\x06vendor\x07example"
            address = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\x09" if known and question[end + 2] == 1 else b""
            flags = b"\x81\x80" if known else b"\x81\x83"
            counts = b"\0\1" + (b"\0\1" if address else b"\0\0") + b"\0\0\0\0"
            server.sendto(question[:2] + flags + counts + question[12 : end + 5] + address, asker)


def laid_out(folder: Path, files: dict[str, bytes]) -> Path:
    """As a kubelet lays out a Secret: root's, readable to the pod's group, behind a link that it can turn at once."""
    put_files(folder, files, "..1")
    return folder


def put_files(folder: Path, files: dict[str, bytes], version: str) -> None:
    (folder / version).mkdir(parents=True)
    for name, content in files.items():
        (folder / version / name).write_bytes(content)
        os.chown(folder / version / name, 0, USER)
        (folder / version / name).chmod(0o440)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..new").symlink_to(version)
    os.replace(folder / "..new", folder / "..data")


def workload(manifests: list[Manifest]) -> Manifest:
    return next(m for m in manifests if m["kind"] in ("Deployment", "StatefulSet"))


def program(*command: str, cwd: Path) -> str:
    return subprocess.run([PROGRAM, *command], check=True, capture_output=True, text=True, cwd=cwd).stdout


def over_tls(values: Manifest, work: Path) -> None:
    key, line = program("serve-key", "alice", cwd=work).split("\n")[:2]
    values["server"]["apiKeys"]["clients"] = {"alice": line.split()[1]}
    manifests = rendered(values)
    secret = next(m for m in manifests if m["kind"] == "Secret")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", work / "tls.key", "-out", work / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    (work / "alice.key").write_text(key)
    pod = Pod(workload(manifests), {
        "models": ROOT / "models",
        "clients": {"clients": secret["stringData"]["clients"].encode()},
        "tls": {name: (work / name).read_bytes() for name in ("tls.crt", "tls.key")},
    })  # fmt: skip
    trusted = ["--ca", str(work / "tls.crt")]
    pod.ready(*trusted)
    ask = ["--url", "https://localhost:8080", *trusted, "--via", "plain", "--input", "examples/digits.npy", "--json"]
    keyed = [*ask, "--api-key-file", str(work / "alice.key")]
    want = json.loads(program("run", "models/lenet.onnx", "--via", "plain", *ask[-3:], cwd=ROOT))["labels"]
    ran = pod.inside("run", "digits@4", *keyed)
    check(ran.returncode == 0 and json.loads(ran.stdout)["labels"] == want, f"it answers as the model does: {ran.stderr}")
    check("(401)" in pod.inside("run", "digits", *ask).stderr, "it answers nobody without a key")
    # A client is struck off, as an upgrade of the release does it: the running pod follows.
    put_files(Path(pod.folder.name) / "clients", {"clients": f"bob {'11' * 32}\n".encode()}, "..2")
    for _ in range(100):
        if "(401)" in pod.inside("run", "digits", *keyed).stderr:
            break
        time.sleep(0.2)
    else:
        sys.exit(f"FAILED: a client that was struck off is answered: {pod.said()}")
    check(True, "struck off")
    pod.ends()
    print("chart: a server over TLS, its clients changed while it runs")


def on_ciphertexts(values: Manifest) -> None:
    pod = Pod(workload(rendered(values)), {"models": {"mlp_square.onnx": (ROOT / "models/mlp_square.onnx").read_bytes()}})
    pod.ready()
    ask = ["run", "mlp_square", "--url", "http://localhost:8080", "--via", "ckks", "--input", "examples/digit.png", "--json"]
    ran = pod.inside(*ask)
    check(ran.returncode == 0 and len(json.loads(ran.stdout)["labels"]) == 1, f"it answers on ciphertexts: {ran.stderr}")
    pod.ends()
    print("chart: a server on ciphertexts")


def one_party(values: Manifest, work: Path) -> None:
    entries = ""
    for i, name in enumerate(["hospital", "vendor", "regulator"]):
        address = f"127.0.0.{i + 1}:7100"
        entries += program("party", "init", "--name", name, "--address", address, "--identity", name, cwd=work)
    values["party"]["cluster"] = entries + program("party", "init", "--name", "clinic", "--identity", "clinic", cwd=work)
    manifests = rendered(values)
    cluster = next(m for m in manifests if m["kind"] == "ConfigMap")["data"]["subrosa.toml"]
    check(cluster == values["party"]["cluster"], "the configuration is passed on to the letter")
    state = work / "state"
    state.mkdir()
    # As fsGroup makes a fresh volume.
    os.chown(state, 0, USER)
    state.chmod(0o2775)
    identity = {f: (work / "hospital" / f).read_bytes() for f in ("key.pem", "certificate.pem")}
    volumes = {"cluster": {"subrosa.toml": cluster.encode()}, "identity": identity, "state": state}
    pod = Pod(workload(manifests), {**volumes, "store-key": {"store.key": os.urandom(32)}})
    pod.ready()
    check((state / "party").stat().st_uid == USER and (state / "party").stat().st_mode & 0o777 == 0o700, "its own folder")
    check(not (state / "party" / "store.key").exists(), "the key is not beside what it encrypts")
    pod.ends()
    print("chart: a party")


def main() -> None:
    bill(next(DIST.glob("*.cdx.json")))
    compose(ROOT / "deploy" / "compose.yaml")
    values = {path.stem: yaml.safe_load(path.read_text()) for path in (CHART / "ci").glob("*.yaml")}
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    check(chart["appVersion"] == version(), "the chart is of this version")
    refusals(values["plain"])
    digest = "sha256:" + "ab" * 32
    pinned = workload(rendered({**values["ckks"], "image": {"repository": "here/subrosa", "digest": digest}}))
    check(pinned["spec"]["template"]["spec"]["containers"][0]["image"] == f"here/subrosa@{digest}", "a digest stands")
    names()
    with tempfile.TemporaryDirectory() as folder:
        over_tls(values["plain"], Path(folder))
        on_ciphertexts(values["ckks"])
        one_party(values["party"], Path(folder))
    print(f"helm {helm.helm_sdk_version()}, Kubernetes {' and '.join(VERSIONS)}")
    print(f"{passed} passed, 0 failed")


if sys.argv[1:] == ["name-server"]:
    name_server()
elif __name__ == "__main__":
    DIST, PROGRAM, IMAGE = Path(sys.argv[1]), str(Path(sys.argv[2]).resolve()), sys.argv[3]
    main()
