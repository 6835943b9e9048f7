// SPDX-License-Identifier: Apache-2.0
// Helper of check_record.py: print_record FILE prints the record of raw pairs as JSON.
// FILE: int64 samples, int64 count[samples], then per sample float32 ref[count], mode[count].
#include <stdio.h>
#include <stdlib.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/metric.h"

static enum status next_sample(void *context, int index, struct output_pair *pair, struct error *err)
{
    (void)err;
    const long long *counts = (const long long *)context + 1;
    const float *values = (const float *)(counts + counts[-1]);
    for (int i = 0; i < index; i++)
        values += 2 * counts[i];
    *pair = (struct output_pair){values, values + counts[index], (size_t)counts[index]};
    return STATUS_OK;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct file_map map = {0};
    struct measurement measurement;
    struct percentile *percentile = percentile_open();
    struct json_writer *w = json_writer_open();
    if (argc != 2 || !percentile || !w || file_map(&map, argv[1], &err)) return 1;
    const struct pair_source source = {(int)*(const long long *)(const void *)map.data, next_sample,
                                       (void *)(size_t)map.data};
    if (measure_pairs(&measurement, &source, percentile, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct record record = record_make(&measurement);
    json_begin_object(w, NULL);
    for (int m = 0; m <= METRIC_ABS_DIFF_P99; m++)
        json_put_double(w, metric_table[m].name, record.value[m]);
    json_end_object(w);
    char *text = json_writer_finish(w);
    if (!text) return 1;
    fputs(text, stdout);
    free(text);
    file_unmap(&map);
    percentile_close(percentile);
    return 0;
}
