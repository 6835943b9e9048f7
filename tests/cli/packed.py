# SPDX-License-Identifier: Apache-2.0
"""Bytes of files: compressed ones, arrays."""
import io
import subprocess

import numpy as np


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npy_of(header, data=b"", version=1, length=None):
    """An .npy file with any header."""
    text = header.encode() + b"\n"
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(2 if version == 1 else 4, "little") + text + data
