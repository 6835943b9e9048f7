// SPDX-License-Identifier: Apache-2.0
// Standard input, output and error, as whoever starts the program leaves them.
#ifndef SSMSWEEP_BASE_STANDARD_H
#define SSMSWEEP_BASE_STANDARD_H

#include "ssmsweep/base/status.h"

// Local.  In front of all else: a stream that is closed becomes /dev/null.
void standard_open(void);

// Local.  Whether everything that was printed has left the program: STATUS_IO where it could not, which a
// table in a full disk does not show by itself.
enum status standard_end(struct error *err);

#endif
