// SPDX-License-Identifier: Apache-2.0
// A model made of a formula, in place of numerics/{weights,forward,calibrate}.c: what is stored can be told
// beforehand, and a pass takes no time.
#ifndef SSMSWEEP_TESTS_MPI_STANDIN_H
#define SSMSWEEP_TESTS_MPI_STANDIN_H

#include "ssmsweep/forward/forward.h"

// scale: what forward_step() got for this layer's first site, 0 in float modes.
float standin_value(const struct mode *mode, float scale, int layer, int component, int first_id, long index);
float standin_observation(int first_id, int length, int layer, int site);

#endif
