# SPDX-License-Identifier: Apache-2.0
"""What a sweep left behind, in a form that can be compared."""
import os
import re

import h5py


def contents(path, groups=("",)):
    """{name: bytes} of every dataset and attribute of these groups; the seconds, which no two runs share, are left out."""
    found = {}
    with h5py.File(path, "r") as f:
        def visit(name, thing):
            if not name.startswith(tuple(groups)):
                return
            for key in thing.attrs:
                found[name + "@" + key] = repr(thing.attrs[key])
            if isinstance(thing, h5py.Dataset) and not name.endswith("/seconds"):
                found[name] = (str(thing.dtype), thing.shape, thing[()].tobytes())
        f.visititems(visit)
        visit("", f)
    return found


def modes(path):
    """The names of all runs; a mode with several sets of scales is there as often."""
    with h5py.File(path, "r") as f:
        return sorted(mode for group in f["outputs"].values() for mode in group)


def json_lines(folder, without=('"timestamp"',)):
    """{path: bytes} of every JSON and CSV file, but for lines that must differ."""
    found, differing = {}, re.compile(("^.*(?:%s).*\n" % "|".join(map(re.escape, without))).encode(), re.M)
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith((".json", ".csv")):
                path = os.path.join(root, name)
                with open(path, "rb") as f:
                    content = f.read()
                if any(word.encode() in content for word in without):    # a report can have a million lines
                    content = differing.sub(b"", content)
                found[os.path.relpath(path, folder)] = content
    return found


def differences(found, expected):
    return sorted(name for name in set(found) | set(expected) if found.get(name) != expected.get(name))
