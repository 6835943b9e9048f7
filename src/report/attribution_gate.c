// SPDX-License-Identifier: Apache-2.0
// Gates on pieces.
#include <string.h>

#include "ssmsweep/report/attribution.h"
#include "ssmsweep/report/gate.h"

static bool gate_wants(const struct gate *gate, const struct piece *piece, int last_layer)
{
    if (strcmp(gate->piece, piece->unit ? piece->unit : "all") != 0) return false;
    return piece->layer == PIECE_ALL ? !gate->layers[0] : gate_wants_layer(gate, piece->layer, 0, last_layer);
}

static int last_layer_of(const struct pieces *pieces)
{
    int last = 0;
    for (int p = 0; p < pieces->count; p++)
        if (pieces->items[p].layer > last) last = pieces->items[p].layer;
    return last;
}

enum status attribution_check_gates(const struct gates *gates, const struct job *job, struct error *err)
{
    const struct pieces *pieces = pieces_made();
    const int last = last_layer_of(pieces);
    const bool whole = job->command == COMMAND_MIX; // nothing but the last mix is judged
    if (gates->count > 0 && pieces->count == 0 && !whole)
        return error_set(err, STATUS_USAGE, "--gate: %s has no pieces to judge; leave out one of them",
                         job->depth ? "--depth" : "--bisect");
    for (const struct gate *gate = gates->items; gate < gates->items + gates->count; gate++) {
        int found = !gate->piece[0] && !gate->layers[0];
        for (int i = 0; i < gate->n_limits; i++)
            if (strcmp(metric_table[gate->limits[i].metric].name, job->metric) != 0)
                return error_set(err, STATUS_USAGE,
                                 "gate '%s': %s is not measured; give it with --metric, or correct the gate",
                                 gate->text, metric_table[gate->limits[i].metric].name);
        for (int p = 0; p < pieces->count && !found; p++)
            found = gate_wants(gate, &pieces->items[p], last);
        if (!found && whole)
            return error_set(
                err, STATUS_USAGE,
                "gate '%s': it is the last mix that is judged; leave out piece= and layer=", gate->text);
        if (!found)
            return error_set(err, STATUS_USAGE,
                             "gate '%s': there is no such piece; `ssmsweep attribute` shows them with "
                             "--dry-run",
                             gate->text);
    }
    return STATUS_OK;
}

// `at`: what the value is of.
static void judge_value(const struct gate *gate, double value, const char *at, struct check *check)
{
    for (int i = 0; i < gate->n_limits && check->good; i++) {
        if (gate_value_kept(&gate->limits[i], value)) continue;
        check->good = false;
        snprintf(check->text, sizeof check->text, "%s: %s is %.6g", at,
                 metric_table[gate->limits[i].metric].name, value);
    }
}

static void judge_gate(const struct attribution *a, const struct gate *gate, struct check *check)
{
    const int last = last_layer_of(a->pieces);
    char at[96];
    if (!gate->piece[0]) judge_value(gate, a->whole.value, a->pieces->mode->name, check);
    for (int i = 0; i < a->count && check->good; i++) {
        const struct piece *piece = a->items[i].piece;
        if (!gate->piece[0] || !gate_wants(gate, piece, last)) continue;
        snprintf(at, sizeof at, "only %.64s", piece->unit ? piece->unit : "all");
        if (piece->layer != PIECE_ALL)
            snprintf(at, sizeof at, "only %.48s of layer %d", piece->unit ? piece->unit : "all",
                     piece->layer);
        judge_value(gate, a->items[i].only.value, at, check);
    }
}

enum status attribution_judge(const struct attribution *a, const struct gates *gates, struct checks *checks,
                              struct error *err)
{
    for (int g = 0; g < gates->count; g++) {
        struct check check = {.kind = "gate", .good = true};
        snprintf(check.name, sizeof check.name, "%s", gates->items[g].text);
        judge_gate(a, &gates->items[g], &check);
        if (checks_add(checks, &check, err)) return err->status;
    }
    return STATUS_OK;
}

enum status attribution_judge_whole(double value, const char *at, const struct gates *gates,
                                    struct checks *checks, struct error *err)
{
    for (int g = 0; g < gates->count; g++) {
        struct check check = {.kind = "gate", .good = true};
        snprintf(check.name, sizeof check.name, "%s", gates->items[g].text);
        judge_value(&gates->items[g], value, at, &check);
        if (checks_add(checks, &check, err)) return err->status;
    }
    return STATUS_OK;
}
