# SPDX-License-Identifier: Apache-2.0
"""The package set-up, with stand-ins for all that could change the system: what it would install, when it keeps still, and what
it says without the right to install."""
import os

import harness

SETUP = os.path.join(harness.SOURCE, "jobs", "setup.sh")
ALWAYS = {"gcc", "cmake", "make", "pkg-config", "libopenmpi-dev", "openmpi-bin", "libhdf5-openmpi-dev", "libcjson-dev",
          "libpcre2-dev", "libutf8proc-dev", "libssl-dev", "node-d3", "scdoc"}
FURTHER = {"": set(), "tests": {"libcmocka-dev", "python3-numpy", "python3-h5py", "python3-jsonschema", "hdf5-tools", "clang"}, "slurm": {"slurmctld", "munge"},
           "page": {"chromium", "chromium-driver", "python3-selenium", "tidy"}}
TOOLS = ("sh", "env", "mktemp", "rm", "tail", "dirname")


def stand_ins(folder, installed, user):
    """A PATH that holds the stand-ins and nothing that could install anything, sudo neither."""
    os.mkdir(folder)
    for tool in TOOLS:
        os.symlink(next(d + tool for d in ("/usr/bin/", "/bin/") if os.path.exists(d + tool)), os.path.join(folder, tool))
    for name, body in (("dpkg-query", "printf 'installed '" if installed else "exit 1"),
                       ("apt-get", 'echo "$@" >>"$ASKED"'), ("id", "echo %d" % user),
                       # where no policy-rc.d forbids starting services, setup.sh would write one for the while
                       ("tee", "while read -r line; do :; done"), ("chmod", ":")):
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\n%s\n" % body)
        os.chmod(path, 0o755)


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        for number, (user, installed) in enumerate(((0, False), (0, True), (1000, False))):
            tools = os.path.join(workplace, str(number))
            stand_ins(tools, installed, user)
            for argument, further in FURTHER.items():
                what = "setup %s, user %d, installed %s" % (argument, user, installed)
                asked = os.path.join(workplace, "asked-%d-%s" % (number, argument))
                status, out, err = harness.execute([SETUP] + argument.split(), workplace, {"PATH": tools, "ASKED": asked})
                calls = []
                if os.path.exists(asked):
                    with open(asked) as f:
                        calls = [line.split() for line in f]
                if installed:
                    checks.check((status, out, err, calls) == (0, "", "", []), what + ": keeps still", "%s %s" % (status, err))
                elif user != 0:
                    checks.check(status == 1 and err.count("\n") == 1 and "sudo" in err and not calls, what + ": one line", err)
                else:
                    wanted = [word for call in calls if "install" in call for word in call]
                    checks.check(status == 0, what, err)
                    checks.check(ALWAYS | further <= set(wanted), what + ": what it installs", wanted)
                    checks.check("fuzz)" not in wanted and "tests)" not in wanted, what + ": packages only", wanted)
        status, _, err = harness.execute([SETUP, "all"], workplace)
        checks.check(status == 2 and err.count("\n") == 1, "unknown argument", err)
    checks.finish()


main()
