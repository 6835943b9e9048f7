// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/report_pages.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/report/findings.h"
#include "ssmsweep/report/render.h"
#include "ssmsweep/report/report_folder.h"
#include "ssmsweep/report/report_write.h"
#include "ssmsweep/report/reporting.h"
#include "ssmsweep/report/sweep_file.h"

enum source_kind { OF_RESULT, OF_JSON, OF_FINDINGS };

// One of the inputs; of rank 0 alone where it is JSON.
struct source {
    struct job job; // as the command's, with this result; borrows its texts
    char *path;     // as given, or the sweep.json of a folder
    enum source_kind kind;
    struct findings findings; // rank 0: the input itself, or what lies beside it
    struct reporting reporting;
    struct sweep_file file;
    struct measurements measured; // what the report is made of
    struct report report;
};

// ---- which files ----

// "a\nb" -> paths[i]; without any the folder of the layer outputs.  NULL: memory is out.
static struct source *list_sources(const struct job *job, int *count, struct error *err)
{
    const char *at = job->results ? job->results : job->output_dir;
    *count = 1;
    for (const char *c = at; job->results && *c; c++)
        *count += *c == '\n';
    struct source *sources = calloc((size_t)*count, sizeof *sources);
    for (int i = 0; sources && i < *count; i++) {
        const size_t length = job->results ? strcspn(at, "\n") : strlen(at);
        sources[i].path = strndup(at, length);
        if (!sources[i].path) error_memory(err, length + 1, "a path");
        sources[i].job = *job;
        sources[i].job.output_dir = sources[i].path;
        at += length + (at[length] != '\0');
    }
    if (!sources) error_memory(err, (size_t)*count * sizeof *sources, "the results of a page");
    return sources;
}

// A folder without a result file may hold a sweep.json, or what other commands found; of those that stands in
// --comparison-dir where the user names nothing.
static void find_in_folder(struct source *source, struct error *err)
{
    char *result = file_join(source->path, "sweep.h5"), *json = file_join(source->path, "sweep.json");
    if (!result || !json) error_memory(err, strlen(source->path), "a path");
    if (!err->status && !file_exists(result)) {
        if (sweep_file_is(json)) {
            source->kind = OF_JSON;
            free(source->path);
            source->path = json;
            json = NULL;
        } else {
            const char *folder = source->job.results ? source->path : source->job.comparison_dir;
            findings_look(&source->findings, folder, NULL, err);
            if (findings_any(&source->findings)) source->kind = OF_FINDINGS;
        }
    }
    free(result);
    free(json);
}

static void find_kind(struct source *source, struct error *err)
{
    bool is_finding = false;
    if (file_is_directory(source->path) || !source->job.results) {
        find_in_folder(source, err);
    } else if (sweep_file_is(source->path) &&
               findings_read(&source->findings, source->path, &is_finding, err) == STATUS_OK) {
        source->kind = is_finding ? OF_FINDINGS : OF_JSON;
    }
    source->findings.named = source->kind == OF_FINDINGS;
}

// ---- reading them ----

static enum status read_result(struct source *source, const struct reporting *with, struct error *err)
{
    struct reporting *r = &source->reporting;
    *r = (struct reporting){.job = &source->job, .comm = with->comm, .log = with->log, .stop = with->stop};
    if (reporting_read_back(r, err) || reporting_measure(r, err) || reporting_statistics(r, err))
        return err->status;
    if (r->late.status) {
        *err = r->late;
        return err->status;
    }
    if (r->comparison.count == 0 && r->sweep.n_units == 0)
        return error_set(err, STATUS_INPUT,
                         "%.300s: no sample is finished in two modes yet; there is nothing to show",
                         source->path);
    source->measured = (struct measurements){
        .result = r->result, .comparison = &r->comparison, .sweep = &r->sweep, .output_dir = source->path};
    return STATUS_OK;
}

static const char *digest_of(const struct source *source)
{
    if (source->kind == OF_FINDINGS) return findings_digest(&source->findings);
    return source->kind == OF_JSON ? sweep_file_fact(&source->file, "weights_digest")
                                   : result_attribute(source->measured.result, "weights_digest");
}

// Its numbers are made already, against one mode.
static enum status check_options(const struct source *source, const char *reference, struct error *err)
{
    const struct job *job = &source->job;
    if (strcmp(job->modes, "all") == 0 &&
        (strcmp(job->reference, "fp32") == 0 || strcmp(job->reference, reference) == 0))
        return STATUS_OK;
    return error_set(
        err, STATUS_USAGE,
        "%.300s: its numbers are against %.32s, of the modes that it has; --reference and --modes "
        "want the result file",
        source->path, reference);
}

static enum status read_json(struct source *source, struct error *err)
{
    if (sweep_file_open(&source->file, source->path, err) ||
        check_options(source, source->file.sweep.reference, err))
        return err->status;
    source->measured = (struct measurements){.file = &source->file, .sweep = &source->file.sweep};
    return STATUS_OK;
}

// Collective.
static enum status read_source(struct source *source, const struct reporting *with, struct error *err)
{
    const bool is_first = with->comm->rank == 0;
    int kind = OF_RESULT;
    if (is_first) find_kind(source, err);
    if (comm_agree(with->comm, err)) return err->status;
    kind = (int)source->kind;
    MPI_Bcast(&kind, 1, MPI_INT, 0, with->comm->world);
    if (kind == OF_RESULT) return read_result(source, with, err);
    if (is_first && kind == OF_JSON) read_json(source, err);
    if (is_first && kind == OF_FINDINGS) check_options(source, "a reference of their own", err);
    return comm_agree(with->comm, err);
}

// Rank 0: a page of one result has what other commands found of the same model, too.
static enum status read_beside(struct source *source, struct error *err)
{
    const char *digest = digest_of(source);
    if (source->kind == OF_FINDINGS || !digest[0]) return STATUS_OK;
    return findings_look(&source->findings, source->job.comparison_dir, digest, err);
}

static enum status build(struct source *source, const struct reporting *with, struct error *err)
{
    source->measured.figures = true;
    source->measured.findings = &source->findings;
    source->measured.every_layer = with->job->verbosity == LOG_VERBOSE;
    source->measured.time = time(NULL);
    return report_build(&source->report, &source->measured, err);
}

// ---- do they belong together? ----

static enum status check_models(const struct source *sources, int count, struct error *err)
{
    for (int i = 1; i < count; i++) {
        const char *first = digest_of(&sources[0]), *other = digest_of(&sources[i]);
        if (first[0] && other[0] && strcmp(first, other) != 0)
            return error_set(
                err, STATUS_INPUT,
                "%.300s and %.300s are of different models (weights %.8s and %.8s); make a page of "
                "each",
                sources[0].path, sources[i].path, first, other);
    }
    return STATUS_OK;
}

// ---- the page ----

// That of one result replaces its own; what is made of less does not replace that.
static enum status check_folder(const struct source *sources, int count, const char *path,
                                const struct log *log, struct error *err)
{
    const struct job *job = &sources[0].job;
    if (file_make_directories(job->comparison_dir, err)) return err->status;
    if (count == 1 && sources[0].kind == OF_RESULT)
        return report_folder_take(job, sources[0].measured.result, log, err);
    if (job->overwrite || !file_exists(path)) return STATUS_OK;
    return error_set(
        err, STATUS_USAGE,
        "%.400s is there already, and may show more than a page of %s; choose another place with --out, "
        "or replace it with --overwrite",
        path,
        count > 1                        ? "several results"
        : sources[0].kind == OF_FINDINGS ? "what other commands found"
                                         : "sweep.json");
}

static enum status write_page(const struct source *sources, int count, const struct html_part *parts,
                              const struct reporting *with, struct error *err)
{
    const struct job *job = with->job;
    const struct log log = {.level = job->verbosity, .ranks = 1};
    char *path = job->page ? strdup(job->page) : file_join(job->comparison_dir, "report.html");
    if (!path) return error_memory(err, 256, "a path");
    if ((job->page || !check_folder(sources, count, path, &log, err)) &&
        !report_write_page(parts, count, path, job->title, err))
        log_job(&log, LOG_NORMAL, "page: %s", path);
    free(path);
    return err->status;
}

// Rank 0's.
static enum status make_page(struct source *sources, int count, const struct reporting *with,
                             struct error *err)
{
    struct html_part *parts = calloc((size_t)count, sizeof *parts);
    if (!parts) return error_memory(err, (size_t)count * sizeof *parts, "a page");
    check_models(sources, count, err);
    if (count == 1 && !err->status) read_beside(&sources[0], err);
    for (int i = 0; i < count && !err->status; i++) {
        build(&sources[i], with, err);
        parts[i] = (struct html_part){&sources[i].report, sources[i].path};
    }
    if (!err->status) write_page(sources, count, parts, with, err);
    free(parts);
    return err->status;
}

enum status report_pages(const struct job *job, const struct comm *comm, const struct log *log,
                         struct stop *stop, struct error *err)
{
    const struct reporting given = {.job = job, .comm = comm, .log = log, .stop = stop}, *with = &given;
    int count = 0;
    if (!render_html_is_built())
        return error_set(
            err, STATUS_USAGE,
            "this ssmsweep was built without the page (SSMSWEEP_HTML=OFF): build it again with it");
    struct source *sources = list_sources(with->job, &count, err);
    comm_agree(with->comm, err);
    for (int i = 0; i < count && !err->status; i++)
        read_source(&sources[i], with, err);
    comm_agree(with->comm, err);
    if (!err->status && with->comm->rank == 0) make_page(sources, count, with, err);
    comm_agree(with->comm, err);
    for (int i = 0; sources && i < count; i++) {
        report_clear(&sources[i].report);
        findings_close(&sources[i].findings);
        sweep_file_close(&sources[i].file);
        reporting_close(&sources[i].reporting);
        free(sources[i].path);
    }
    free(sources);
    return err->status;
}
