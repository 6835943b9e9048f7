# SPDX-License-Identifier: Apache-2.0
"""Installed into a prefix, the program runs from anywhere without options, on the demo model of that prefix."""
import os
import re
import shutil
import subprocess
import sys

import harness


# What Lmod would do with a module file.
LMOD = """
local file = arg[1]
function help() end
function whatis() end
function myFileName() return file end
function pathJoin(a, b) return a .. "/" .. b end
function prepend_path(name, path) print(name .. " " .. path) end
dofile(file)
"""


def check_lmod(checks, prefix):
    """The module file for Lmod, which Debian has only in place of Environment Modules: in Lua, with stand-ins for its functions."""
    lua = shutil.which("lua5.3") or shutil.which("lua")
    if not lua:
        harness.skip_part("the module file for Lmod: lua5.3 is not installed")
        return
    script = os.path.join(os.path.dirname(prefix), "lmod.lua")
    with open(script, "w") as f:
        f.write(LMOD)
    _, out, err = harness.execute([lua, script, os.path.join(prefix, "share", "ssmsweep", "modulefiles", "ssmsweep.lua")], prefix)
    paths = dict(line.split(" ", 1) for line in out.splitlines())
    checks.check(set(paths) == {"PATH", "MANPATH", "PYTHONPATH"} and all(path.startswith(prefix) and os.path.isdir(path) for path in paths.values()) and
                 os.path.exists(os.path.join(paths.get("PATH", ""), "ssmsweep")), "the module file for Lmod", out + err)


def main():
    checks = harness.Checks()
    cmake, build = sys.argv[1:]
    with harness.Workplace() as workplace:
        prefix, elsewhere = os.path.join(workplace, "prefix"), os.path.join(workplace, "elsewhere")
        subprocess.run([cmake, "--install", build, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
        os.mkdir(elsewhere)
        program = os.path.join(prefix, "bin", "ssmsweep")
        result = harness.run([], 1, elsewhere, program=program)
        checks.check(result.status == 0, "the installed program runs", result.err)
        checks.check(os.path.exists(os.path.join(elsewhere, "layer_outputs", "sweep.h5")), "it leaves a result")

        schema = os.path.join(prefix, "share", "ssmsweep", "schema", "sweep.schema.json")
        checks.check(os.path.exists(schema), "the schema of the report is installed")

        cuda = re.search(r"^CUDA +(.*)", harness.run(["--version"], 1, elsewhere, program=program).out, re.M).group(1)
        checks.check(os.path.exists(os.path.join(prefix, "share", "ssmsweep", "licences", "cuda.txt")) == (cuda != "no"),
                     "the licence of what CUDA puts into the program", cuda)

        modules = "/usr/share/modules/init/bash"
        if os.path.exists(modules):
            _, out, err = harness.execute(["bash", "-c", ". %s; module use %s/share/ssmsweep/modulefiles; module load ssmsweep; command -v ssmsweep; "
                                           "python3 -c 'import importlib.util as u; print(u.find_spec(\"ssmsweep_results\").origin)'" % (modules, prefix)], elsewhere)
            checks.check(out.split() == [program, os.path.join(prefix, "share", "ssmsweep", "python", "ssmsweep_results.py")], "module load", out + err)
        else:
            harness.skip_part("module load: environment-modules is not installed")

        check_lmod(checks, prefix)
        result = harness.run(["info", "mamba2-demo"], 1, elsewhere, program=program)
        checks.check(result.status == 0 and os.path.join(prefix, "share", "ssmsweep", "demo-mamba2") in result.out,
                     "the Mamba-2 demo model is installed beside it", result.out + result.err)

        # It must be the prefix's own model: spoil that one.
        config = os.path.join(prefix, "share", "ssmsweep", "demo", "config.json")
        with open(config, "w") as f:
            f.write("{")
        result = harness.run(["-q", "--output_dir", "second"], 1, elsewhere, program=program)
        checks.check(result.status == 3 and config in result.err, "it uses the demo model of its prefix", result.err)
    checks.finish()


main()
