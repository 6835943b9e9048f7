// SPDX-License-Identifier: Apache-2.0
// Which bits the numerics give.  Raise it with every change after which a mode, the calibration or the
// forward pass gives other bits for the same job: a sweep begun with one version is not continued with
// another.
#ifndef SSMSWEEP_COMPUTE_VERSION_H
#define SSMSWEEP_COMPUTE_VERSION_H

enum { NUMERICS_VERSION = 1 };

#endif
