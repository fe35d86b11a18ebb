"""Our CKKS beside Microsoft SEAL (through PyPI's tenseal), with the same primes.

Values: both libraries encrypt the same slots, add, rotate, multiply, relinearise and rescale
them, and are held against the plain result and against each other. Times: one thread, least and
median of many runs, both in this run. Prints JSON lines; not part of the tests.

    python3 -m venv target/dev/tenseal && target/dev/tenseal/bin/pip install tenseal==0.3.18 numpy
    cargo build --release -p subrosa-lattice --example timings
    cargo build --release -p subrosa-he --no-default-features --example operations
    target/dev/tenseal/bin/python scripts/tenseal_compare.py
"""

import datetime
import json
import os
import subprocess
import time
from importlib.metadata import version

import numpy as np
import tenseal.sealapi as seal

EXAMPLES = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "examples")
SETS = [(13, "48,48,48", "48"), (13, "43,43,43,43", "43"), (14, "48,48,48,48,48,48,48", "48")]
SCALE_BITS = 40
RUNS = 200
# Our paths to be timed.
PATHS = ["avx512", "avx2"]
# The most that any slot may be wrong by. Products stand at scale 2^(80 - bits of the last prime),
# which is 2^32 at least, with an error of some 2^14 in the worst slot.
LARGEST_ERROR = 2.0**-14


def ours(program, *arguments, path=PATHS[0]):
    """The JSON lines that one of our examples prints, on one of our paths."""
    command = [os.path.join(EXAMPLES, program), *arguments]
    environment = {**os.environ, "SUBROSA_ISA": path}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Seal:
    """Keys and tools of SEAL for these primes, the special one last."""

    def __init__(self, log_n, primes):
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(1 << log_n)
        parameters.set_coeff_modulus([seal.Modulus(p) for p in primes])
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        generator = seal.KeyGenerator(self.context)
        public, self.relin, self.galois = seal.PublicKey(), seal.RelinKeys(), seal.GaloisKeys()
        generator.create_public_key(public)
        generator.create_relin_keys(self.relin)
        # The binding takes Galois elements: rotating by one is 3 in SEAL.
        generator.create_galois_keys([3], self.galois)
        self.encoder = seal.CKKSEncoder(self.context)
        self.encryptor = seal.Encryptor(self.context, public, generator.secret_key())
        self.decryptor = seal.Decryptor(self.context, generator.secret_key())
        self.evaluator = seal.Evaluator(self.context)

    def encode(self, values):
        plain = seal.Plaintext()
        self.encoder.encode(list(values), 2.0**SCALE_BITS, plain)
        return plain

    def encrypt(self, values):
        cipher = seal.Ciphertext()
        self.encryptor.encrypt_symmetric(self.encode(values), cipher)
        return cipher

    def slots(self, cipher):
        plain = seal.Plaintext()
        self.decryptor.decrypt(cipher, plain)
        return np.real(np.array(self.encoder.decode_double(plain)))

    def operations(self, x, y, plain):
        """Name and work of each operation; every one makes a new ciphertext."""
        evaluator = self.evaluator

        def result(work):
            def run():
                out = seal.Ciphertext()
                work(out)
                return out

            return run

        def multiply(out):
            evaluator.multiply(x, y, out)
            evaluator.relinearize_inplace(out, self.relin)
            evaluator.rescale_to_next_inplace(out)

        return {
            "add": result(lambda out: evaluator.add(x, y, out)),
            "multiply_plain": result(lambda out: evaluator.multiply_plain(x, plain, out)),
            "rescale": result(lambda out: evaluator.rescale_to_next(x, out)),
            "multiply_relinearise_rescale": result(multiply),
            "rotation": result(lambda out: evaluator.rotate_vector(x, 1, self.galois, out)),
            "encrypt_secret_key": result(lambda out: self.encryptor.encrypt_symmetric(plain, out)),
            "encrypt_public_key": result(lambda out: self.encryptor.encrypt(plain, out)),
        }


def least_and_median(work):
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e6)
    return {"least_us": round(min(times), 1), "median_us": round(float(np.median(times)), 1)}


def transform_time(library, x, polynomials):
    """One transform: a ciphertext to coefficients and back, over all its polynomials, halved."""
    both = seal.Ciphertext()
    coefficients = seal.Ciphertext()
    library.evaluator.transform_from_ntt(x, coefficients)
    inverse = least_and_median(lambda: library.evaluator.transform_from_ntt(x, both))
    forward = least_and_median(lambda: library.evaluator.transform_to_ntt(coefficients, both))
    return [{name: round(t / polynomials, 1) for name, t in times.items()} for times in (forward, inverse)]


def compare(log_n, bits, special_bits):
    setting, *timings = ours("timings", str(log_n), bits, special_bits)
    for path in PATHS[1:]:
        timings += ours("timings", str(log_n), bits, special_bits, path=path)[1:]
    primes = setting["primes"] + setting["special"]
    library = Seal(log_n, primes)
    index = np.arange(1 << (log_n - 1))
    x, y = np.sin(index), np.cos(3.0 * index)
    cx, cy = library.encrypt(x), library.encrypt(y)
    work = library.operations(cx, cy, library.encode(y))

    plain = {"fresh": x, "sum": x + y, "rotation": np.roll(x, -1), "product": x * y}
    theirs = {
        "fresh": cx,
        "sum": work["add"](),
        "rotation": work["rotation"](),
        "product": work["multiply_relinearise_rescale"](),
    }
    arguments = [str(log_n), ",".join(map(str, setting["primes"])), str(setting["special"][0]), str(SCALE_BITS)]
    for line in ours("operations", *arguments):
        what, found = line["operation"], np.array(line["slots"])
        seal_found = library.slots(theirs[what])
        errors = {
            "ours_to_plain": float(np.max(np.abs(found - plain[what]))),
            "seal_to_plain": float(np.max(np.abs(seal_found - plain[what]))),
            "ours_to_seal": float(np.max(np.abs(found - seal_found))),
            "ours_deviation": float(np.std(found - plain[what])),
            "seal_deviation": float(np.std(seal_found - plain[what])),
        }
        assert all(e < LARGEST_ERROR for e in errors.values()), (what, errors)
        print(json.dumps({"kind": "errors", "n": 1 << log_n, "bits": bits, "operation": what, **errors}))

    seal_times = {what: least_and_median(run) for what, run in work.items()}
    message = seal.Plaintext()
    seal_times["decrypt"] = least_and_median(lambda: library.decryptor.decrypt(cx, message))
    seal_times["ntt"], seal_times["ntt_inverse"] = transform_time(library, cx, 2 * len(setting["primes"]))
    for line in timings:
        theirs = seal_times.get(line["operation"])
        times = {"kind": "times", "n": line["n"], "bits": bits, "isa": line["isa"], "operation": line["operation"]}
        times["ours"] = {k: line[k] for k in ("least_us", "median_us")}
        if theirs:
            times["seal"] = theirs
            times["seal_over_ours"] = round(theirs["median_us"] / line["median_us"], 2)
        print(json.dumps(times))


def machine():
    """What the figures hold for."""
    with open("/proc/cpuinfo") as info:
        cpu = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    today = datetime.date.today().isoformat()
    print(json.dumps({"kind": "machine", "cpu": cpu, "date": today, "commit": commit, "tenseal": version("tenseal")}))


if __name__ == "__main__":
    machine()
    for parameters in SETS:
        compare(*parameters)
