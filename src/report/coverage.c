// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/coverage.h"

#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/view.h"

bool coverage_is_complete(const struct result *result)
{
    for (int r = 0; r < result_all_runs(result); r++)
        if (!result_run_at(result, r)->complete) return false;
    return true;
}

// ---- JSON ----

static void put_ranges(struct json_writer *w, const char *key, const struct result *result, int run,
                       enum store_state state)
{
    json_begin_array(w, key);
    for (int s = 0, last; s < result_samples(result); s = last + 1) {
        last = s;
        if (result_state(result, run, s) != state) continue;
        while (last + 1 < result_samples(result) && result_state(result, run, last + 1) == state)
            last++;
        char range[32];
        snprintf(range, sizeof range, last > s ? "%d-%d" : "%d", s, last);
        json_put_string(w, NULL, range);
    }
    json_end_array(w);
}

static void put_absent(struct json_writer *w, const struct result *result, int run)
{
    put_ranges(w, "missing_samples", result, run, STORE_ITEM_ABSENT);
    put_ranges(w, "failed_samples", result, run, STORE_ITEM_FAILED);
}

void coverage_put_run(struct json_writer *writer, const struct result *result, int reference_run, int run)
{
    bool complete = result_run_at(result, run)->complete && result_run_at(result, reference_run)->complete;
    json_put_bool(writer, "complete", complete);
    if (complete) return;
    int compared = 0;
    for (int s = 0; s < result_samples(result); s++)
        compared += compare_uses(result, reference_run, run, s);
    json_put_integer(writer, "samples_compared", compared);
    put_absent(writer, result, run);
}

static void put_incomplete_run(struct json_writer *w, const struct result *result, int run)
{
    json_begin_object(w, NULL);
    view_put_progress(w, result_run_at(result, run));
    put_absent(w, result, run);
    json_end_object(w);
}

void coverage_put_all(struct json_writer *writer, const struct result *result)
{
    bool complete = coverage_is_complete(result);
    json_put_bool(writer, "complete", complete);
    if (complete) return;
    json_begin_array(writer, "incomplete_runs");
    for (int r = 0; r < result_all_runs(result); r++)
        if (!result_run_at(result, r)->complete) put_incomplete_run(writer, result, r);
    json_end_array(writer);
}

// ---- for people ----

void coverage_print(FILE *out, const struct result *result)
{
    if (coverage_is_complete(result)) return;
    fprintf(out, "INCOMPLETE.  Modes are compared over the samples that they share with the reference:\n");
    for (int r = 0; r < result_all_runs(result); r++) {
        const struct result_run *run = result_run_at(result, r);
        int failed = 0;
        if (run->complete) continue;
        for (int s = 0; s < result_samples(result); s++)
            failed += result_state(result, r, s) == STORE_ITEM_FAILED;
        fprintf(out, "  mode %s", run->mode);
        if (run->dither) fprintf(out, ", noisy re-run %d", run->dither);
        char cell[VIEW_CELL_CHARS];
        if (run->cell.calib_data_num > 0) fprintf(out, " (%s)", view_cell_text(run, cell));
        fprintf(out, ": %d of %d samples", run->done, result_samples(result));
        if (failed) fprintf(out, ", %d failed", failed);
        fputc('\n', out);
    }
}
