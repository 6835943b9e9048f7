// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/verdict.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/attribution.h"

static enum status read_gates(struct gates *gates, const struct job *job, struct error *err)
{
    gates->on_pieces = job->command == COMMAND_ATTRIBUTE || job->command == COMMAND_MIX;
    if (job->gates && gates_parse(gates, job->gates, "--gate", err)) return err->status;
    if (job->gate_file && gates_read_file(gates, job->gate_file, err)) return err->status;
    // What a file that is there has, gates_check() sees.
    return gates_check_needs(gates, job->store != JOB_STORE_NONE, !job_sweeps(job) || job->isolated, err);
}

// What a sweep does not run cannot be compared at its end.
static enum status check_modes(const struct verdict *verdict, const struct job *job, struct error *err)
{
    bool *swept = calloc((size_t)mode_count(), sizeof *swept);
    if (!swept) return error_memory(err, (unsigned long long)mode_count(), "the modes");
    if (mode_select(job->modes, swept, err) == STATUS_OK &&
        gates_check_modes(&verdict->gates, swept, job->reference, err) == STATUS_OK && verdict->baseline)
        baseline_check_modes(verdict->baseline, swept, err);
    free(swept);
    return err->status;
}

enum status verdict_open(struct verdict *verdict, const struct job *job, struct error *err)
{
    if (read_gates(&verdict->gates, job, err)) return err->status;
    if (job->baseline && baseline_open(&verdict->baseline, job->baseline, job->reference, err))
        return err->status;
    if (job->junit && !verdict->gates.count && !job->baseline)
        return error_set(err, STATUS_USAGE,
                         "--junit: nothing to report; give --gate, --gate-file or --baseline too");
    if (job->command == COMMAND_ATTRIBUTE || job->command == COMMAND_MIX)
        return attribution_check_gates(&verdict->gates, job, err);
    return job->command == COMMAND_RUN ? check_modes(verdict, job, err) : STATUS_OK;
}

void verdict_close(struct verdict *verdict)
{
    gates_clear(&verdict->gates);
    baseline_close(verdict->baseline);
    checks_clear(&verdict->checks);
    *verdict = (struct verdict){0};
}

enum status verdict_judge(struct verdict *verdict, const struct comparison *comparison,
                          const struct result *result, struct error *err)
{
    struct checks *checks = &verdict->checks;
    if (gates_check(&verdict->gates, comparison, result, checks, err)) return err->status;
    if (verdict->baseline && baseline_check(verdict->baseline, comparison, result, checks, err))
        return err->status;
    return STATUS_OK;
}

enum status verdict_tell(const struct verdict *verdict, const struct log *log, struct error *err)
{
    const struct checks *checks = &verdict->checks;
    int broken = checks_broken(checks);
    for (int i = 0; i < checks->count; i++) {
        const struct check *c = &checks->items[i];
        if (!c->good) log_job(log, LOG_ERROR, "%s broken: %s: %s", c->kind, c->name, c->text);
    }
    if (broken) return error_set(err, STATUS_GATE, "%d of %d checks failed", broken, checks->count);
    if (checks->count)
        log_job(log, LOG_NORMAL, "%d check%s passed", checks->count, checks->count == 1 ? "" : "s");
    return STATUS_OK;
}
