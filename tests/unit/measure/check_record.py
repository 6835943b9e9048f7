#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_record.py PRINT_RECORD REFERENCE_DIR: records of awkward data against NumPy."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, sys.argv[2])
sys.dont_write_bytecode = True
from check_metrics import KEYS, differs, expected_record, scale_of  # noqa: E402
from quamba_reference import compare  # noqa: E402

rng = np.random.default_rng(7)


def normal(n, scale=1.0, mean=0.0):
    return (rng.standard_normal(n) * scale + mean).astype(np.float32)


def near(ref, error):
    return (ref + error * rng.standard_normal(ref.size)).astype(np.float32)


def with_value(v, at, value):
    v = v.copy()
    v[at] = value
    return v


def cases():
    """name, ref, mode, is plain float64 NumPy good enough to compare with"""
    for n in (1, 2, 3, 7, 8, 9, 100, 101, 2047, 2048, 2049, 4099, 65537):
        ref = normal(n)
        yield "normal %d" % n, ref, near(ref, 0.01), n > 3
    ref = normal(500000)
    yield "large, more candidates than the buffer", ref, near(ref, 0.01), True
    narrow = rng.integers(1 << 23, (1 << 23) + 70000, 900000).astype(np.float32)
    yield "one digit holds all values", np.zeros_like(narrow), narrow, True
    ties = np.round(normal(300000) * 4).astype(np.float32)
    yield "ties beyond the buffer", np.zeros_like(ties), ties, True
    yield "half zeros", np.zeros(400001, np.float32), with_value(normal(400001), slice(0, 200001), 0), True
    yield "rank between zero and not", np.zeros(10, np.float32), with_value(normal(10), slice(0, 5), 0), True
    half = np.array([1.5 * 2.0 ** -53, 1], np.float32)  # NumPy's two formulas differ here; at exactly 0.5 it takes the second
    yield "half way, rounded", np.zeros(2, np.float32), half, True
    yield "equal sides", ref, ref, True
    yield "all zeros", np.zeros(1000, np.float32), np.zeros(1000, np.float32), True
    yield "constant reference", np.full(3001, 0.1, np.float32), near(np.full(3001, 0.1), 1), False
    yield "constant mode", near(np.full(3001, 0.1), 1), np.full(3001, 0.1, np.float32), False
    yield "constant difference", np.arange(5001, dtype=np.float32), np.arange(5001, dtype=np.float32) + 3, False
    huge = normal(100003, 1.0, 1e6)
    yield "mean far above spread", huge, near(huge, 0.25), False
    yield "mean far above spread, shifted", normal(100003, 1e-3, 1.0), normal(100003, 1e-3, 4096.0), False
    yield "tiny values", normal(5000, 1e-40), normal(5000, 1e-40), False
    yield "huge values", normal(5000, 1e37), normal(5000, 1e37), True
    yield "mixed sizes", normal(5000) * np.float32(10) ** rng.integers(-30, 30, 5000).astype(np.float32), normal(5000), False
    yield "outlier", with_value(normal(5000), 17, 1e30), normal(5000), True
    for value in (np.nan, np.inf, -np.inf):
        yield "%s in reference" % value, with_value(normal(3000), 2500, value), normal(3000), False
        yield "%s in mode" % value, normal(3000), with_value(normal(3000), 0, value), False
    yield "Inf in both", with_value(normal(64), 5, np.inf), with_value(normal(64), 5, np.inf), False
    yield "nothing", normal(0), normal(0), False


def split(n):
    """Sample sizes that sum to n, an empty one and one of 1 among them."""
    if n < 4:
        return [n]
    return [n // 3, 0, 1, n - n // 3 - 1]


def record_of(program, ref, mode):
    sizes = split(ref.size)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(np.array([len(sizes)] + sizes, np.int64).tobytes())
        at = 0
        for n in sizes:
            file.write(ref[at:at + n].tobytes() + mode[at:at + n].tobytes())
            at += n
    try:
        return json.loads(subprocess.run([program, file.name], check=True, stdout=subprocess.PIPE).stdout)
    finally:
        os.unlink(file.name)


def main():
    failures = checked = 0
    for name, ref, mode, plain in cases():
        try:
            got = record_of(sys.argv[1], ref, mode)
        except subprocess.CalledProcessError as error:
            failures += 1
            print("%s: %s" % (name, error))
            continue
        wants = [expected_record(ref, mode)] + ([compare(ref, mode)] if plain else [])
        for want in wants:
            for key in KEYS:
                checked += 1
                text = differs(key, got[key], want[key], scale_of(key, ref, mode))
                if text:
                    failures += 1
                    print("%s: %s" % (name, text))
    print("%d numbers checked, %d wrong" % (checked, failures))
    return 1 if failures or checked < 500 else 0


if __name__ == "__main__":
    sys.exit(main())
