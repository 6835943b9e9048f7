// SPDX-License-Identifier: Apache-2.0
#include "orders.h"

#include <stdio.h>
#include <stdlib.h>

#include "ssmsweep/base/random.h"

// Fisher and Yates.
static void shuffle(int *order, int samples, uint64_t stream)
{
    for (int i = samples - 1; i > 0; i--) {
        const uint32_t other = random_below(stream, (uint64_t)i, (uint64_t)i + 1);
        const int sample = order[i];
        order[i] = order[other];
        order[other] = sample;
    }
}

enum status orders_make(int **orders, int **places, int n, int samples, uint64_t seed, struct error *err)
{
    const size_t count = (size_t)n * (size_t)samples;
    int *made = malloc((count + 1) * sizeof *made), *found = malloc((count + 1) * sizeof *found);
    if (!made || !found) {
        free(made);
        free(found);
        return error_memory(err, 2 * count * sizeof *made, "the orders of the samples");
    }
    for (int k = 0; k < n; k++) {
        int *order = made + (size_t)k * (size_t)samples, *place = found + (size_t)k * (size_t)samples;
        char name[40];
        snprintf(name, sizeof name, "calibration order %d", k);
        for (int i = 0; i < samples; i++)
            order[i] = i;
        if (k > 0) shuffle(order, samples, random_stream(seed, name));
        for (int i = 0; i < samples; i++)
            place[order[i]] = i;
    }
    *orders = made;
    *places = found;
    return STATUS_OK;
}
