// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/compare/sweep_files.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/base/file.h"

bool sweep_ranks_by(const struct sweep_unit *unit, int statistic)
{
    return sweep_ranked_place(unit, statistic) >= 0;
}

enum sweep_verdict sweep_verdict(const struct rank *ranks, const struct sweep_pair *pair, int first,
                                 int second)
{
    if (ranks[first].equal & UINT64_C(1) << second) return VERDICT_EQUAL;
    if (isnan(pair->change.p)) return VERDICT_UNKNOWN;
    if (ranks[first].better & UINT64_C(1) << second) return VERDICT_SECOND;
    if (ranks[second].better & UINT64_C(1) << first) return VERDICT_FIRST;
    return VERDICT_TIE;
}

void sweep_places(const struct rank *ranks, int count, int mode, int *best, int *worst)
{
    int worse = 0;
    for (int i = 0; i < count; i++)
        worse += (ranks[i].better & UINT64_C(1) << mode) != 0;
    *best = ranks[mode].rank;
    *worst = *best ? count - worse : 0;
}

int sweep_orders(const struct sweep_report *report, int run, int *places)
{
    const struct result_run *first = result_run_at(report->result, report->runs[run]);
    int n = 0;
    for (int i = 0; i < report->n_runs; i++) {
        const struct result_run *other = result_run_at(report->result, report->runs[i]);
        if (strcmp(other->mode, first->mode) == 0 && other->calib_data_num == first->calib_data_num)
            places[n++] = i;
    }
    return places[0] == run ? n : 0;
}

void sweep_orders_range(const struct sweep_report *report, int unit, int statistic, const int *places,
                        int count, double *least, double *most)
{
    *least = *most = NAN; // which fmin and fmax pass over
    for (int i = 0; i < count; i++) {
        double v = sweep_entry_at(report, unit, places[i])->intervals[statistic].value;
        *least = fmin(*least, v);
        *most = fmax(*most, v);
    }
}

bool sweep_is_noise(const struct sweep_pair *pair)
{
    return pair->noise > 0 && fabs(pair->change.phi) <= pair->noise;
}

bool sweep_rests_on_noise(const struct rank *ranks, const struct sweep_pair *pairs, int count, int mode)
{
    for (int i = 0; i < count; i++) {
        if (i == mode) continue;
        const int a = i < mode ? i : mode, b = i < mode ? mode : i;
        bool apart = ranks[a].better & UINT64_C(1) << b || ranks[b].better & UINT64_C(1) << a;
        if (apart && sweep_is_noise(&pairs[pair_index(count, a, b)])) return true;
    }
    return false;
}

enum status sweep_files_write(const struct sweep_report *report, const char *directory, struct error *err)
{
    struct file_replacement file;
    if (file_make_directories(directory, err) || file_replacement_begin(&file, directory, "sweep.json", err))
        return err->status;
    sweep_json_write(file.out, report, err);
    if (file_replacement_end(&file, err) || file_replacement_begin(&file, directory, "sweep.csv", err))
        return err->status;
    sweep_csv_write(file.out, report);
    return file_replacement_end(&file, err);
}
