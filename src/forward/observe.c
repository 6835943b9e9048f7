// SPDX-License-Identifier: Apache-2.0
// What observers see of a pass: on the processor they look at the values of the sample, and may reorder them;
// elsewhere the backend is asked for the numbers of each of its samples.
#include <string.h>

#include "parts.h"

// ---- on the processor ----

float observed_quantile(const struct observed *observed, double alpha)
{
    long count = 0;
    for (long t = 0; t < observed->rows; t++)
        for (int p = 0; p < observed->parts; p++) {
            const int width = observed->columns[p].width;
            memmove(observed->scratch + count,
                    observed->values + t * observed->ld + observed->columns[p].first,
                    (size_t)width * sizeof *observed->scratch);
            count += width;
        }
    return calibrate_quantile(observed->scratch, count, alpha);
}

// The histogram first: a quantile may reorder the values.
static void look_here(const struct pass *pass, int site, const struct observed *observed,
                      const struct observation *observation)
{
    const struct observers *observers = observation->observers;
    const enum observer observer = observers->of_site[site];
    const long at = (long)pass->layer * observers->n_sites + site, count = observed->rows * observed->ld,
               padded = (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    for (long t = 0; observer_takes_histogram(observer) && t < observed->rows; t++)
        for (int p = 0; p < observed->parts; p++)
            histogram_add(observation->histogram + at * HISTOGRAM_BINS,
                          observed->values + t * observed->ld + observed->columns[p].first,
                          observed->columns[p].width);
    observation->numbers[at] = observer_takes_quantile(observer)
                                   ? observed_quantile(observed, observers->percentile_alpha)
                                   : pass->batch->backend->most(pass->batch, observed->values, padded);
    if (observation->quantiles)
        observation->quantiles[at] = observed_quantile(observed, observers->percentile_alpha);
}

// ---- elsewhere ----

// Where the quantile of a sample lies among its values.
static struct quantile place_of(const struct observed *observed, const struct observation *observation,
                                int sample)
{
    long count = 0;
    for (int p = 0; p < observed->parts; p++)
        count += observed->columns[p].width;
    count *= observed->of_samples ? observed->rows : observation->lengths[sample];
    return quantile_place(count, observation->observers->percentile_alpha);
}

static float number_of(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

// The largest of each sample, or its quantile, into the element that the site has of numbers[]; and what is
// counted beside it.
static void look_there(const struct pass *pass, int site, const struct observed *observed,
                       const struct observation *observation, bool ranked, float *numbers)
{
    const struct observers *observers = observation->observers;
    const bool counted = !ranked && observer_takes_histogram(observers->of_site[site]);
    const long sites = (long)pass->dims->n_layer * observers->n_sites,
               at = (long)pass->layer * observers->n_sites + site;
    struct look_found *found = observation->found;
    for (int s = 0; s < observation->samples; s++)
        found[s] = (struct look_found){.rank = ranked ? (uint32_t)place_of(observed, observation, s).low : 0};
    const struct look_for look = {.observed = observed,
                                  .ranked = ranked,
                                  .found = found,
                                  .bins = counted ? &histogram_bit_bins : NULL,
                                  .counts = counted ? observation->histogram + at * HISTOGRAM_BINS : NULL,
                                  .stride = sites * HISTOGRAM_BINS};
    pass->batch->backend->look(pass->batch, &look);
    for (int s = 0; s < observation->samples; s++) {
        const struct quantile place = place_of(observed, observation, s);
        numbers[s * observation->row + at] =
            ranked ? quantile_between(&place, number_of(found[s].bits), number_of(found[s].next))
                   : number_of(found[s].bits);
    }
}

// ---- either ----

void sink_observe(const struct pass *pass, int site, const struct observed *observed)
{
    const struct observation *observation = ((const struct sink *)pass->context)->observation;
    if (observation->see) observation->see(observation->context, pass->batch, pass->layer, site, observed);
    if (!observation->numbers) return;
    if (observation->samples == 0) {
        look_here(pass, site, observed, observation);
        return;
    }
    look_there(pass, site, observed, observation,
               observer_takes_quantile(observation->observers->of_site[site]), observation->numbers);
    if (observation->quantiles) look_there(pass, site, observed, observation, true, observation->quantiles);
}
