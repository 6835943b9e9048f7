# SPDX-License-Identifier: Apache-2.0
"""The program without options gives, for the demo model, the table of the Python reference: MSE within 15 %, correlation
within 0.003 (docs/numerics.md, section 7)."""

import harness

# What tests/reference/quamba_reference.py gives on the first 10 texts: mixer_output, layer -> MSE, then the correlation
# of layer 23.
TABLE = {
    "fp16": ({0: 2.246e-9, 11: 9.595e-9, 23: 5.983e-8}, 1.00000),
    "0": ({0: 6.564e-5, 11: 9.263e-5, 23: 5.977e-4}, 0.99640),
    "2-0": ({0: 6.564e-5, 11: 9.263e-5, 23: 5.977e-4}, 0.99640),
    "2-1": ({0: 6.564e-5, 11: 9.277e-5, 23: 6.020e-4}, 0.99637),
    "2-2": ({0: 6.564e-5, 11: 9.277e-5, 23: 6.020e-4}, 0.99637),
    "2-3": ({0: 6.564e-5, 11: 9.201e-5, 23: 5.972e-4}, 0.99640),
    "2-4": ({0: 6.039e-5, 11: 5.144e-5, 23: 4.503e-4}, 0.99729),
    "3": ({0: 6.039e-5, 11: 5.087e-5, 23: 4.366e-4}, 0.99737),
}


def main():
    checks = harness.Checks()
    with harness.Workplace() as folder:
        result = harness.run(["-q", "--layers", "first,11,last"], 4, folder)
        checks.check(result.status == 0, "the sweep runs", result.err)
        for mode, (errors, correlation) in TABLE.items():
            layers = harness.report(folder, "mode_%s_vs_fp32.json" % mode)["layers"]
            for layer, mse in errors.items():
                got = layers["layer_%d" % layer]["mse"]
                checks.check(abs(got / mse - 1) <= 0.15, "%s layer %d: MSE" % (mode, layer), "%g, table %g" % (got, mse))
            got = layers["layer_23"]["correlation"]
            checks.check(abs(got - correlation) <= 0.003, mode + ": correlation", "%g, table %g" % (got, correlation))
    checks.finish()


main()
