# SPDX-License-Identifier: Apache-2.0
"""The Debian package: it is made, lintian finds no error in it, it installs what docs/installing.md says and nothing elsewhere, and
from where it was unpacked the program sweeps its demo model.  The source archive builds.  Spack's recipe runs with stand-ins for its
directives, and the files of Docker and Apptainer are read.  Every place that names the version names the same one."""
import glob
import os
import re
import shutil
import subprocess
import sys
import time

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


def read(*path):
    with open(os.path.join(harness.SOURCE, *path), encoding="utf-8") as f:
        return f.read()


def check_release(checks):
    """Every place that names the version or its date names the same."""
    cmake = read("CMakeLists.txt")
    version = re.search(r"^project\(ssmsweep VERSION (\S+)", cmake, re.M).group(1)
    day = time.strftime("%Y-%m-%d", time.gmtime(int(re.search(r"SSMSWEEP_RELEASE_EPOCH (\d+)", cmake).group(1))))
    said = {"the changelog": re.search(r"^## (\S+), (\S+)$", read("CHANGELOG.md"), re.M).groups(),
            "CITATION.cff": re.search(r"^version: (\S+)\ndate-released: (\S+)$", read("CITATION.cff"), re.M).groups(),
            "the program": (harness.run(["--version"]).out.split()[1], day),
            "docs/installing.md": (re.search(r"ssmsweep_([\d.]+)_amd64", read("docs", "installing.md")).group(1), day)}
    for where, release in said.items():
        checks.check(release == (version, day), "version and date in " + where, release)
    return version


class Directives:
    """Stands in for spack.package: notes what a recipe asks for."""

    def __init__(self):
        self.notes = []
        for name in ("license", "version", "variant", "depends_on"):
            setattr(self, name, lambda what, *_, name=name, **__: self.notes.append((name, what)))

        class CMakePackage:
            def define(self, name, value):
                return "-D%s=%s" % (name, value)

            def define_from_variant(self, name, variant):
                return self.define(name, variant)

        self.CMakePackage = CMakePackage
        self.__all__ = ["license", "version", "variant", "depends_on", "CMakePackage"]


def check_spack(checks, version):
    """The recipe runs, with stand-ins for Spack's directives; what it depends on is what CMakeLists.txt looks for."""
    path, stand_in = os.path.join(harness.SOURCE, "jobs", "packages", "spack", "package.py"), Directives()
    sys.modules["spack"], sys.modules["spack.package"] = stand_in, stand_in
    found = {"__file__": path}
    exec(compile(read("jobs", "packages", "spack", "package.py"), path, "exec"), found)    # noqa: S102
    needed = {"mpi", "hdf5", "openssl"} | {dict(CJSON="cjson", PCRE2="pcre2", LIBZIP="libzip", UTF8PROC="utf8proc", ZLIB="zlib-api", ZSTD="zstd")[name]
                                           for name in re.findall(r"pkg_check_modules\((\w+)", read("CMakeLists.txt"))}
    asked = {re.split(r"[@ +]", what)[0] for name, what in stand_in.notes if name == "depends_on"}
    checks.check(needed | {"c", "cmake", "pkgconfig"} == asked, "Spack: dependencies", needed ^ asked)
    checks.check(("version", version) in stand_in.notes and version in found["Ssmsweep"].url, "Spack: the version", stand_in.notes)
    options = {word.split("=")[0][2:] for word in found["Ssmsweep"]().cmake_args()}
    checks.check(options and options <= set(re.findall(r"^option\((\w+)", read("CMakeLists.txt"), re.M)), "Spack: options of CMake", options)


def check_images(checks):
    """Docker's and Apptainer's files: known words alone, and what they call is there."""
    lines = [line.split() for line in read("jobs", "packages", "Dockerfile").replace("\\\n", " ").splitlines() if line and line[0] != "#"]
    stages = {words[3] for words in lines if words[0] == "FROM" and len(words) > 2}
    taken = {word.split("=")[1] for words in lines for word in words if word.startswith("--from=")}
    checks.check({words[0] for words in lines} <= {"FROM", "COPY", "WORKDIR", "RUN", "ENTRYPOINT"} and lines[0][0] == "FROM" and taken == stages,
                 "Dockerfile", (lines, stages, taken))
    text = read("jobs", "packages", "apptainer.def")
    checks.check(re.findall(r"^%(\w+)", text, re.M) == ["files", "post", "runscript", "test", "labels"] and
                 re.search(r"^Bootstrap: docker\nFrom: debian:12", text, re.M), "apptainer.def", text)
    for words in [text] + [" ".join(words) for words in lines]:
        for script in re.findall(r"jobs/\w+\.sh", words):
            checks.check(os.access(os.path.join(harness.SOURCE, script), os.X_OK), script)


def main():
    checks = harness.Checks()
    check_spack(checks, check_release(checks))
    check_images(checks)
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
        commit = subprocess.run(["git", "-C", harness.SOURCE, "rev-parse", "--short=7", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
        if commit:
            with open(os.path.join(unpacked[0], "cmake", "commit.cmake"), encoding="utf-8") as f:
                checks.check('SSMSWEEP_COMMIT "%s' % commit in f.read(), "it knows its commit", commit)
        prefix = os.path.join(work, "prefix")
        status, out, err = harness.execute([os.path.join(harness.SOURCE, "jobs", "install.sh"), prefix], work, limit=900)
        checks.check(status == 0 and out.startswith("ssmsweep ") and commit in out, "jobs/install.sh", out + err)
        result = harness.run(["--modes", "fp32,2-1", "--calib_data_num", "1"], 1, unpacked[0], program=os.path.join(prefix, "bin", "ssmsweep"))
        checks.check(result.status == 0 and os.path.exists(os.path.join(prefix, "share", "man", "man1", "ssmsweep.1")), "it runs", result.err)
    checks.finish()


main()
