// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/reporting.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/report/equalities.h"
#include "ssmsweep/report/findings.h"
#include "ssmsweep/report/per_sample.h"
#include "ssmsweep/report/render.h"
#include "ssmsweep/report/report_folder.h"
#include "ssmsweep/report/report_write.h"
#include "ssmsweep/store/claim.h"
#include "ssmsweep/sweep/sweep.h"

// ---- read back ----

enum status reporting_look_for_run(bool *under_way, struct result *result, const char *path,
                                   const struct comm *comm, const struct log *log, struct error *err)
{
    char holder[CLAIM_HOLDER_ROOM];
    int found = comm->rank == 0 && claim_look(path, holder);
    MPI_Bcast(&found, 1, MPI_INT, 0, comm->world);
    *under_way = found != 0;
    if (!found) return STATUS_OK;
    if (comm->rank == 0)
        log_job(log, LOG_NORMAL, "%s: a run is under way (%s): results are partial", path, holder);
    return result_agree(result, comm, err);
}

enum status reporting_read_back(struct reporting *r, struct error *err)
{
    char *path = sweep_result_path(r->job, err);
    if (path) result_open(&r->result, path, err);
    if (comm_agree(r->comm, err) == STATUS_OK)
        reporting_look_for_run(&r->under_way, r->result, path, r->comm, r->log, err);
    free(path);
    if (!err->status) footprint_log(r->log, "the result file is open for reading");
    return err->status;
}

// ---- measure, statistics ----

// Without names `compare` takes what the file holds, which need not be every mode there is.
static struct compare_request request_of(const struct reporting *r)
{
    const bool named = r->job->command != COMMAND_RUN && strcmp(r->job->modes, "all") != 0;
    return (struct compare_request){.reference = r->job->reference,
                                    .modes = named ? r->job->modes : NULL,
                                    .layers = r->job->compared_layers,
                                    .components = r->job->compared_components,
                                    .partial = r->partial || r->under_way,
                                    .output_dir = r->job->output_dir,
                                    .stop = r->stop,
                                    .log = r->log};
}

enum status reporting_measure(struct reporting *r, struct error *err)
{
    const struct compare_request request = request_of(r);
    if (r->job->command == COMMAND_ATTRIBUTE) return STATUS_OK;
    log_job(r->log, LOG_VERBOSE, "compares");
    if (result_has_halves(r->result))
        log_job(r->log, LOG_NORMAL,
                "the result file keeps its tensors as halves (--store-dtype f16): compares by its metrics, "
                "which are those of FP32");
    else if (result_layers(r->result) == 0)
        log_job(r->log, LOG_NORMAL,
                "the result file keeps no tensors (--store none): compares by its metrics");
    if (compare_all(&r->comparison, r->comm, r->result, &request, err)) return err->status;
    if (result_has_outputs(r->result) && !r->comparison.from_outputs)
        log_job(r->log, LOG_NORMAL,
                "outputs of all of these layers and components are not kept: compares by their metrics, "
                "without exact percentiles");
    return STATUS_OK;
}

enum status reporting_statistics(struct reporting *r, struct error *err)
{
    const struct sweep_report_request request = {
        .compare = request_of(r), .replicates = r->job->bootstrap, .seed = (uint64_t)r->job->seed};
    if (r->job->command == COMMAND_SAVE) return STATUS_OK;
    log_job(r->log, LOG_VERBOSE, "computes intervals");
    if (r->job->command == COMMAND_ATTRIBUTE) {
        if (r->comm->rank == 0) attribution_make(&r->attribution, r->result, r->job, err);
        return comm_agree(r->comm, err);
    }
    sweep_report_make(&r->sweep, r->comm, r->result, &request, &r->late);
    if (r->late.status && r->late.status != STATUS_STOPPED) *err = r->late;
    return err->status;
}

// ---- write ----

// The words of --format and --color, in order.
enum printed { PRINTED_TABLE, PRINTED_JSON, PRINTED_CSV, PRINTED_MARKDOWN };
enum color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

// auto: a terminal that is not dumb, no NO_COLOR in the environment, not below mpirun.
static bool in_color(enum color wanted, FILE *out)
{
    if (wanted != COLOR_AUTO) return wanted == COLOR_ALWAYS;
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (no_color && no_color[0]) return false;
    // mpirun gives its processes a pseudo-terminal, whatever stands behind it.
    if (getenv("OMPI_COMM_WORLD_SIZE")) return false;
    return isatty(fileno(out)) && !(terminal && strcmp(terminal, "dumb") == 0);
}

// Tables are silent with --quiet; formats for programs are not.
static enum status print(FILE *out, const struct job *job, const struct report *report, struct error *err)
{
    const struct page_style style = {.color = in_color((enum color)job->color, out),
                                     .detailed = job->verbosity == LOG_VERBOSE};
    switch ((enum printed)job->format) {
    case PRINTED_TABLE:
        if (job->verbosity != LOG_QUIET) render_text(out, report, &style);
        return STATUS_OK;
    case PRINTED_JSON:
        return render_json(out, report, err);
    case PRINTED_CSV:
        render_csv(out, report);
        return STATUS_OK;
    case PRINTED_MARKDOWN:
        render_markdown(out, report);
        return STATUS_OK;
    }
    return STATUS_OK;
}

static enum status judge(const struct reporting *r, struct report *report, struct error *err)
{
    if (verdict_judge(r->verdict, &r->comparison, r->result, err)) return err->status;
    report->checks = &r->verdict->checks;
    return r->job->junit ? report_write_junit(report, r->job->junit, err) : STATUS_OK;
}

static bool wants_page(const struct reporting *r)
{
    return r->job->command != COMMAND_SAVE && !r->job->no_html && render_html_is_built();
}

static enum status write_page(const struct reporting *r, const struct report *report, struct error *err)
{
    const struct html_part part = {.report = report};
    char *path = file_join(r->job->comparison_dir, "report.html");
    if (path)
        report_write_page(&part, 1, path, r->job->title, err);
    else
        error_memory(err, 256, "a path");
    free(path);
    return err->status;
}

static bool is_read_only(const struct job *job)
{
    return job->command == COMMAND_COMPARE && !file_is_writable(job->output_dir);
}

// The verdict is made before anything is printed, and told behind it: a reader that leaves costs neither.
static enum status write_all(const struct reporting *r, struct report *report, struct error *err)
{
    const struct job *job = r->job;
    const struct log log = {.level = job->verbosity, .ranks = 1};
    const struct report_files files = {.comparison_dir = job->comparison_dir,
                                       .save_comparison = job->save_comparison,
                                       .without_stats = r->comparison.chosen || is_read_only(job)};
    if (job->command == COMMAND_SAVE) return report_write_stats(report, err);
    if (is_read_only(job))
        log_job(&log, LOG_NORMAL, "%s: cannot be written to, the statistics of its modes are left out",
                job->output_dir);
    if (report_folder_take(job, r->result, &log, err) || report_write(report, &files, err))
        return err->status;
    if (job->per_sample && per_sample_write(&r->comparison, r->result, job->comparison_dir, err))
        return err->status;
    if (judge(r, report, err) || (wants_page(r) && write_page(r, report, err)) ||
        print(stdout, job, report, err))
        return err->status;
    log_job(&log, LOG_NORMAL, "result: %s/sweep.h5; reports: %s%s%s", job->output_dir, job->comparison_dir,
            job->save_comparison ? ", " : "", job->save_comparison ? job->save_comparison : "");
    return verdict_tell(r->verdict, &log, err);
}

// What other commands found of the same model stands in the page, and in Markdown.
static enum status look_beside(const struct reporting *r, struct findings *findings, struct error *err)
{
    const char *digest = result_attribute(r->result, "weights_digest");
    if (!digest[0] || r->job->command == COMMAND_SAVE ||
        (!wants_page(r) && r->job->format != PRINTED_MARKDOWN))
        return STATUS_OK;
    return findings_look(findings, r->job->comparison_dir, digest, err);
}

static void report(const struct reporting *r, struct error *err)
{
    struct findings findings = {0};
    const struct measurements measured = {.result = r->result,
                                          .comparison = &r->comparison,
                                          .sweep = r->job->command == COMMAND_SAVE ? NULL : &r->sweep,
                                          .every_layer = r->job->verbosity == LOG_VERBOSE,
                                          .figures = wants_page(r),
                                          .output_dir = r->job->output_dir,
                                          .findings = &findings,
                                          .time = time(NULL)};
    struct report report = {0};
    if (look_beside(r, &findings, err) == STATUS_OK && report_build(&report, &measured, err) == STATUS_OK)
        write_all(r, &report, err);
    footprint_log(r->log, "reports are written");
    report_clear(&report);
    findings_close(&findings);
}

static enum status judge_attribution(const struct reporting *r, struct error *err)
{
    const struct report report = {.checks = &r->verdict->checks};
    if (attribution_judge(&r->attribution, &r->verdict->gates, &r->verdict->checks, err) ||
        (r->job->junit && report_write_junit(&report, r->job->junit, err)))
        return err->status;
    return verdict_tell(r->verdict, r->log, err);
}

// What the command `attribute` writes.
static enum status write_attribution(const struct reporting *r, struct error *err)
{
    const struct job *job = r->job;
    if (r->comm->rank == 0 &&
        attribution_write(&r->attribution, r->result, job->comparison_dir,
                          job->verbosity == LOG_QUIET ? NULL : stdout, err) == STATUS_OK)
        log_job(r->log, LOG_NORMAL, "attribution: %s/attribution.json, attribution.csv", job->comparison_dir);
    if (r->comm->rank == 0 && !err->status) judge_attribution(r, err);
    return comm_agree(r->comm, err);
}

enum status reporting_write(struct reporting *r, struct error *err)
{
    log_job(r->log, LOG_VERBOSE, "writes the reports");
    if (r->job->command == COMMAND_ATTRIBUTE) return write_attribution(r, err);
    const bool some = r->comparison.count > 0 || r->sweep.n_units > 0;
    if (!some && r->under_way)
        log_job(r->log, LOG_NORMAL, "no sample is finished in two modes yet; nothing to compare");
    if (r->comm->rank == 0 && some)
        report(r, err);
    else
        footprint_log(r->log, "reports are written");
    comm_agree(r->comm, err);
    if (!err->status || err->status == STATUS_GATE) {
        struct error violated = {0}; // a broken gate does not hide a violated equality
        if (equalities_check(r->comm, r->log, r->result, &violated) && !err->status) *err = violated;
    }
    if (r->late.status && !err->status) *err = r->late;
    return err->status;
}

void reporting_close(struct reporting *r)
{
    attribution_clear(&r->attribution);
    sweep_report_clear(&r->sweep);
    compare_clear(&r->comparison);
    result_close(r->result);
    r->result = NULL;
}
