# SPDX-License-Identifier: Apache-2.0
"""Spack recipe.  Put it into a repository of your own as packages/ssmsweep/package.py, the archive of jobs/package.sh beside it."""
import os

from spack.package import *


class Ssmsweep(CMakePackage):
    """Compares quantization modes of Mamba models layer by layer, under MPI, with the same bits everywhere."""

    url = "file://" + os.path.join(os.path.dirname(__file__), "ssmsweep-0.1.0.tar.gz")
    license("Apache-2.0")
    version("0.1.0")

    variant("html", default=False, description="The page with figures; needs D3 (-DSSMSWEEP_D3)")

    depends_on("c", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi@3:")
    depends_on("hdf5@1.10: +mpi")
    depends_on("cjson@1.7:")
    depends_on("pcre2")
    depends_on("libzip@1.5:")
    depends_on("utf8proc")
    depends_on("openssl@1.1:")
    depends_on("zlib-api")
    depends_on("zstd")

    def cmake_args(self):
        return [self.define_from_variant("SSMSWEEP_HTML", "html"), self.define("SSMSWEEP_TESTS", False)]
