// SPDX-License-Identifier: Apache-2.0
// Checks for programs that run under mpirun: the first failure on any rank ends the job with status 1.
#ifndef SSMSWEEP_TESTS_MPI_CHECK_H
#define SSMSWEEP_TESTS_MPI_CHECK_H

#include <mpi.h>
#include <stdio.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                          \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                                    \
        }                                                                                                    \
    } while (0)

#endif
