// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/compare/verdict.h"

#include "ssmsweep/base/file.h"
#include "ssmsweep/compare/baseline.h"
#include "ssmsweep/compare/gate.h"

static enum status read_gates(struct gates *gates, const struct job *job, struct error *err)
{
    if (job->gates && gates_parse(gates, job->gates, "--gate", err)) return err->status;
    return job->gate_file ? gates_read_file(gates, job->gate_file, err) : STATUS_OK;
}

enum status verdict_check_job(const struct job *job, struct error *err)
{
    struct gates gates = {0};
    read_gates(&gates, job, err);
    if (!err->status && job->store == JOB_STORE_NONE) gates_check_sums(&gates, err);
    if (!err->status && job->baseline && !file_exists(job->baseline))
        error_set(err, STATUS_INPUT, "--baseline: no file '%s'; give the JSON of an older comparison",
                  job->baseline);
    if (!err->status && job->junit && !gates.count && !job->baseline)
        error_set(err, STATUS_USAGE,
                  "--junit: nothing to report; give --gate, --gate-file or --baseline too");
    gates_clear(&gates);
    return err->status;
}

static enum status speak(const struct checks *checks, const struct log *log, struct error *err)
{
    int broken = checks_broken(checks);
    for (int i = 0; i < checks->count; i++) {
        const struct check *c = &checks->items[i];
        if (!c->good) log_job(log, LOG_ERROR, "%s broken: %s: %s", c->kind, c->name, c->text);
    }
    if (broken == 0) return STATUS_OK;
    return error_set(err, STATUS_GATE, "%d of %d checks failed", broken, checks->count);
}

enum status verdict_give(const struct job *job, const struct log *log, const struct comparison *comparison,
                         const struct result *result, struct error *err)
{
    struct gates gates = {0};
    struct checks checks = {0};
    if (read_gates(&gates, job, err) || gates_check(&gates, comparison, result, &checks, err))
        goto clear_checks;
    if (job->baseline && baseline_check(job->baseline, comparison, result, &checks, err)) goto clear_checks;
    if (job->junit && checks_write_junit(&checks, job->junit, err)) goto clear_checks;
    speak(&checks, log, err);
clear_checks:
    checks_clear(&checks);
    gates_clear(&gates);
    return err->status;
}
