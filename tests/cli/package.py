# SPDX-License-Identifier: Apache-2.0
"""The Debian package: it is made, lintian finds no error in it, it installs what docs/installing.md says and nothing elsewhere, and
from where it was unpacked the program sweeps its demo model.  The source archive builds.  The other recipes are parsed at least."""
import ast
import glob
import os
import re
import shutil
import subprocess
import sys

import harness

BUILD = os.path.join(harness.SOURCE, "build", "package")
FILES = ["bin/ssmsweep", "share/man/man1/ssmsweep.1.gz", "share/man/man1/ssmsweep-compare.1.gz", "share/man/man5/ssmsweep.json.5.gz",
         "share/bash-completion/completions/ssmsweep", "share/zsh/site-functions/_ssmsweep",
         "share/fish/vendor_completions.d/ssmsweep.fish", "share/ssmsweep/demo/model.safetensors",
         "share/ssmsweep/demo-mamba2/config.json", "share/ssmsweep/schema/sweep.schema.json", "share/ssmsweep/licences/d3.txt",
         "share/ssmsweep/examples/first-four.json", "share/ssmsweep/slurm/sweep.sbatch", "share/ssmsweep/compat/comparewithfp",
         "share/doc/ssmsweep/copyright", "share/doc/ssmsweep/changelog.gz", "share/doc/ssmsweep/docs/user_guide.md",
         "lib/python3/dist-packages/ssmsweep_results.py"]


def check_links(checks, root):
    """README and the documents lead to files that are installed."""
    for path in [os.path.join(root, "README.md")] + glob.glob(os.path.join(root, "docs", "*.md")):
        with open(path, encoding="utf-8") as f:
            links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", f.read()) if "://" not in link]
        missing = [link for link in links if not os.path.exists(os.path.join(os.path.dirname(path), link))]
        checks.check(not missing, "links of " + os.path.basename(path), missing)


def check_package(checks, package, work):
    root = os.path.join(work, "root")
    subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    everything = [os.path.relpath(os.path.join(folder, name), root + "/usr") for folder, _, names in os.walk(root) for name in names]
    missing = set(FILES) - set(everything)
    checks.check(not missing and not [name for name in everything if name.startswith("..")], "its files", missing)
    control = subprocess.run(["dpkg-deb", "-f", package], check=True, stdout=subprocess.PIPE, text=True).stdout
    checks.check("libhdf5-openmpi" in control and "openmpi-bin" in control, "what it depends on", control)
    program = os.path.join(root, "usr", "bin", "ssmsweep")
    with open(program, "rb") as f:
        checks.check(harness.SOURCE.encode() not in f.read().replace(harness.SOURCE.encode() + b"/jobs/demo", b""),
                     "no path of the build in it but that of the demo model")
    result = harness.run(["--modes", "fp32,2-1", "--calib_data_num", "2"], 2, work, program=program)
    checks.check(result.status == 0 and os.path.exists(os.path.join(work, "comparisons", "report.html")), "its demo", result.err)
    checks.check("share/ssmsweep/demo-mamba2" in harness.run(["info", "mamba2-demo"], 1, work, program=program).out, "the demo models of its prefix")
    status, out, err = harness.execute([sys.executable, "-c", "import ssmsweep_results as s; print(s.open_results().output('2-1').shape)"],
                                       work, {"PYTHONPATH": os.path.join(root, "usr", "lib", "python3", "dist-packages")})
    checks.check(status == 0 and "96" in out, "its reader for Python", err)
    check_links(checks, os.path.join(root, "usr", "share", "doc", "ssmsweep"))


def check_recipes(checks):
    folder = os.path.join(harness.SOURCE, "jobs", "packages")
    with open(os.path.join(folder, "spack", "package.py")) as f:
        ast.parse(f.read())
    with open(os.path.join(harness.SOURCE, "CMakeLists.txt")) as f:
        version = re.search(r"VERSION (\d+\.\d+\.\d+)", f.read()).group(1)
    for name in ("jobs/packages/spack/package.py", "CITATION.cff", "CHANGELOG.md"):
        with open(os.path.join(harness.SOURCE, name)) as f:
            checks.check(version in f.read(), "the version in " + name)


def main():
    checks = harness.Checks()
    check_recipes(checks)
    if os.environ.get("SSMSWEEP_LONG") != "1":
        harness.skip_part("the package itself: builds a second time (SSMSWEEP_LONG=1)")
        checks.finish()
    if not shutil.which("dpkg-shlibdeps") or not shutil.which("lintian"):
        harness.skip_part("the package itself: dpkg-dev and lintian are not installed (jobs/setup.sh package)")
        checks.finish()
    status, out, err = harness.execute([os.path.join(harness.SOURCE, "jobs", "package.sh")], harness.SOURCE, limit=900)
    if not checks.check(status == 0, "jobs/package.sh", err):
        checks.finish()
    packages, archives = (glob.glob(os.path.join(BUILD, pattern)) for pattern in ("ssmsweep_*.deb", "ssmsweep-*.tar.gz"))
    checks.check(len(packages) == 1 and len(archives) == 1, "a package and an archive", packages + archives)
    found = subprocess.run(["lintian", "--fail-on", "error", packages[0]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    checks.check(found.returncode == 0, "lintian", found.stdout)
    with harness.Workplace() as work:
        check_package(checks, packages[0], work)
        subprocess.run(["tar", "-xzf", archives[0], "-C", work], check=True)
        unpacked = glob.glob(os.path.join(work, "ssmsweep-*"))
        checks.check(len(unpacked) == 1 and os.path.exists(os.path.join(unpacked[0], "jobs", "demo.sh")), "the source archive", unpacked)
        configured = subprocess.run(["cmake", "-S", unpacked[0], "-B", os.path.join(work, "b"), "-DSSMSWEEP_TESTS=OFF"],
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        checks.check(configured.returncode == 0, "it configures", configured.stdout[-2000:])
    checks.finish()


main()
