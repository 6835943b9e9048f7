# SPDX-License-Identifier: Apache-2.0
"""ptx.py NVCC INCLUDE FLAGS... -- FILE.cu ...: what the kernels become, without a GPU.

With SSMSWEEP_NO_FMA a multiply-add that the source names is a product and a sum: then no other may be left.  Nor may anything be
approximated, or subnormals be lost, or a product or sum be without a rounding: those are what the driver may contract."""
import re
import subprocess
import sys

APPROXIMATE = re.compile(r"\.ftz|\.approx|\bdiv\.full|\b(?:add|sub|mul)\.f(?:32|64)\b|\bmad\.f")
NAMED = "rcp.approx.ftz.f32"  # lane.cuh begins quotients from it, and makes them exact by multiply-adds; not with SSMSWEEP_NO_FMA
FMA = re.compile(r"\bfma\.(\w+)\.f(?:32|64)\b")


def ptx(compiler, file, *more):
    made = subprocess.run(compiler + list(more) + ["--ptx", file, "-o", "-"], stdout=subprocess.PIPE, check=True, text=True)
    return made.stdout


def main():
    split = sys.argv.index("--")
    compiler, files = sys.argv[1:split], sys.argv[split + 1:]
    failures, named = 0, 0
    for file in files:
        plain, split_up = ptx(compiler, file).replace(NAMED, ""), ptx(compiler, file, "-DSSMSWEEP_NO_FMA")
        found = FMA.findall(plain)
        named += len(found)
        for what, breaches in (("is approximate, or may be contracted", APPROXIMATE.findall(plain) + APPROXIMATE.findall(split_up)),
                               ("is rounded otherwise", [rounding for rounding in found if rounding != "rn"]),
                               ("is a multiply-add that the source does not name", FMA.findall(split_up))):
            if breaches:
                print("FAIL %s: %d times something %s, as %s" % (file, len(breaches), what, breaches[0]))
                failures += 1
    if named < 100:
        print("FAIL only %d multiply-adds were found: this test looks for the wrong thing" % named)
        failures += 1
    print("%d multiply-adds in %d files, each named" % (named, len(files)))
    return 1 if failures else 0


sys.exit(main())
