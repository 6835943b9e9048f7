// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/sweep_files.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/base/file.h"

bool sweep_ranks_by(const struct sweep_unit *unit, int k)
{
    return sweep_metric(unit, k)->place[LIST_RANKED] > 0;
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

void sweep_orders_range(const struct sweep_report *report, int unit, int k, const int *places, int count,
                        double *least, double *most)
{
    *least = *most = NAN; // which fmin and fmax pass over
    for (int i = 0; i < count; i++) {
        double v = sweep_entry_at(report, unit, places[i])->intervals[k].value;
        *least = fmin(*least, v);
        *most = fmax(*most, v);
    }
}

bool sweep_is_noise(const struct sweep_pair *pair)
{
    return pair->noise > 0 && fabs(pair->change.phi) <= pair->noise;
}

// Of values that differ.
static bool only_noise_between(const struct sweep_report *report, int unit, int k, int a, int b)
{
    const struct sweep_entry *x = sweep_entry_at(report, unit, a), *y = sweep_entry_at(report, unit, b);
    const double phi = x->intervals[k].phi - y->intervals[k].phi;
    return phi != 0 && change_below_floor(phi, &x->floors[k], &y->floors[k]);
}

uint64_t sweep_noise_set(const struct sweep_report *report, int unit, int k,
                         const struct sweep_family *family, int mode)
{
    uint64_t set = 0;
    for (int i = 0; i < family->count; i++)
        if (only_noise_between(report, unit, k, family->runs[mode], family->runs[i])) set |= UINT64_C(1) << i;
    return set;
}

bool sweep_within_noise(const struct sweep_report *report, int unit, int k, int run)
{
    for (int f = 0; report->n_reruns > 0 && f < report->n_families; f++) {
        const struct sweep_family *family = &report->families[f];
        for (int i = 0; i < family->count; i++)
            if (family->runs[i] == run && sweep_noise_set(report, unit, k, family, i)) return true;
    }
    return false;
}

bool sweep_within_apart(const struct sweep_report *report, int unit, int k, int run)
{
    const struct sweep_entry *entry = sweep_entry_at(report, unit, run);
    const struct interval *v = &entry->intervals[k];
    return !isinf(v->phi) && // which stands for equal
           value_below_floor(sweep_metric(&report->units[unit], k), v->value, &entry->floors[k]);
}

bool sweep_runs_within_noise(const struct sweep_report *report, int unit, int k, const int *runs, int count)
{
    for (int a = 0; a < count; a++)
        for (int b = a + 1; b < count; b++) {
            const struct sweep_entry *x = sweep_entry_at(report, unit, runs[a]),
                                     *y = sweep_entry_at(report, unit, runs[b]);
            if (x->floors[k].reruns == 0 || y->floors[k].reruns == 0 ||
                !change_below_floor(x->intervals[k].phi - y->intervals[k].phi, &x->floors[k], &y->floors[k]))
                return false;
        }
    return true;
}

bool sweep_knows_noise(const struct sweep_report *report, int unit, const struct sweep_trend *trend)
{
    for (int i = 0; i < trend->count; i++)
        if (sweep_entry_at(report, unit, trend->runs[i])->floors[0].reruns == 0) return false;
    return true;
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
