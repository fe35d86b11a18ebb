"""Writes ntt.txt: negacyclic transforms from their definition, with Python's integers only.

Each block: ring degree n, prime p, the root used, then "exponent value" lines. The root is
g^((p-1)/2n) for the least g >= 2 that gives order 2n; the value at odd exponent e is
sum over k of x_k root^(e k), where x_k = (k^3 + 12345 k^2 + 6789 k + 1)^3 mod p.

    python3 crates/lattice/tests/vectors/ntt.py > crates/lattice/tests/vectors/ntt.txt
"""

# Ring degree, and bits of the prime: the largest p = 1 mod 2n below 2^bits.
SETS = [(64, 18), (64, 48), (128, 33), (4096, 36), (8192, 48), (32768, 47)]
# Above this degree, this many values.
WHOLE = 128
SOME = 24


def is_prime(n):
    """Trial division by small primes, then Fermat for many bases: enough for numbers we choose."""
    if any(n % d == 0 for d in range(2, 2000) if d < n):
        return False
    return all(pow(b, n - 1, n) == 1 for b in range(2, 60))


def largest_prime(n, bits):
    p = (1 << bits) - 2 * n + 1
    while not is_prime(p):
        p -= 2 * n
    return p


def root_of(n, p):
    roots = (pow(g, (p - 1) // (2 * n), p) for g in range(2, p))
    return next(w for w in roots if pow(w, n, p) == p - 1)


def main():
    for n, bits in SETS:
        p = largest_prime(n, bits)
        root = root_of(n, p)
        x = [pow(k**3 + 12345 * k**2 + 6789 * k + 1, 3, p) for k in range(n)]
        print(f"transform {n} {p} {root}")
        step = 1 if n <= WHOLE else n // SOME
        for e in range(1, 2 * n, 2 * step):
            at, value = pow(root, e, p), 0
            for c in reversed(x):
                value = (value * at + c) % p
            print(e, value)


if __name__ == "__main__":
    main()
