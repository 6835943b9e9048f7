// SPDX-License-Identifier: Apache-2.0
// units.json and units.csv.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/report/findings.h"
#include "ssmsweep/report/units.h"

// ---- from the sums ----

static double entropy_of(const struct unit_place *place)
{
    const double bit = portable_log(2);
    double sum = 0;
    for (int c = 0; c < UNIT_CODES; c++) {
        const double share = place->values ? (double)place->codes[c] / (double)place->values : 0;
        if (share > 0) sum -= share * portable_log(share) / bit;
    }
    return place->values ? sum : (double)NAN;
}

static int compare_floats(const void *x, const void *y)
{
    const float a = *(const float *)x, b = *(const float *)y;
    return (a > b) - (a < b);
}

static double median_of(const float *values, int count)
{
    float *sorted = malloc((size_t)count * sizeof *sorted + 1);
    if (!sorted) return NAN;
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_floats);
    const double median = ((double)sorted[(count - 1) / 2] + (double)sorted[count / 2]) / 2;
    free(sorted);
    return median;
}

// The first of equal ones first.
static void find_largest(const struct unit_place *place, struct unit_said *said)
{
    const double median = median_of(place->largest, place->channels);
    while (said->n_largest < UNITS_LARGEST && said->n_largest < place->channels) {
        int best = -1;
        for (int c = 0; c < place->channels; c++) {
            bool taken = false;
            for (int i = 0; i < said->n_largest; i++)
                taken = taken || said->largest[i].channel == c;
            if (!taken && (best < 0 || place->largest[c] > place->largest[best])) best = c;
        }
        said->largest[said->n_largest].channel = best;
        said->largest[said->n_largest].value = (double)place->largest[best];
        said->largest[said->n_largest++].over =
            median > 0 ? (double)place->largest[best] / median : (double)NAN;
    }
}

void units_say(const struct unit_pass *pass, struct unit_said *said)
{
    for (int i = 0; i < pass->count; i++) {
        const struct unit_place *place = &pass->places[i];
        const double own = place->errors[UNIT_SCALE_OWN];
        said[i] = (struct unit_said){.place = place, .bits = entropy_of(place)};
        said[i].clipped = place->values ? (double)place->clipped / (double)place->values : (double)NAN;
        said[i].error = place->squares > 0 ? sqrt(own / place->squares) : (double)NAN;
        for (int s = 0; s < UNIT_SCALES; s++)
            said[i].instead[s] = own > 0 ? place->errors[s] / own : (double)NAN;
        find_largest(place, &said[i]);
    }
}

// ---- JSON ----

static void put_place(struct json_writer *w, const struct unit_said *said)
{
    const struct unit_place *place = said->place;
    json_begin_object(w, NULL);
    json_put_string(w, "unit", place->name);
    json_put_integer(w, "layer", place->layer);
    json_put_string(w, "kind", place->weight ? "weight" : "activation");
    json_put_integer(w, "channels", place->channels);
    json_put_double(w, "scale", (double)place->scale);
    json_put_integer(w, "values", (long long)place->values);
    json_put_integer(w, "clipped", (long long)place->clipped);
    json_put_double(w, "clipped_share", said->clipped);
    json_put_double(w, "entropy_bits", said->bits);
    json_put_double(w, "relative_error", said->error);
    json_begin_array(w, "largest_channels");
    for (int i = 0; i < said->n_largest; i++) {
        json_begin_object(w, NULL);
        json_put_integer(w, "channel", said->largest[i].channel);
        json_put_double(w, "value", said->largest[i].value);
        json_put_double(w, "over_median", said->largest[i].over);
        json_end_object(w);
    }
    json_end_array(w);
    json_begin_object(w, "error_instead");
    json_put_double(w, "channel", said->instead[UNIT_SCALE_CHANNEL]);
    json_put_double(w, "token", said->instead[UNIT_SCALE_TOKEN]);
    for (int o = 0; o < OBSERVER_COUNT; o++)
        json_put_double(w, observer_name((enum observer)o), said->instead[UNIT_SCALE_OBSERVER + o]);
    json_end_object(w);
    json_end_object(w);
}

static char *make_json(const struct unit_pass *pass, const struct unit_said *said, const char *tool_version)
{
    struct json_writer *w = json_writer_open();
    if (!w) return NULL;
    json_begin_object(w, NULL);
    json_put_integer(w, "schema_version", UNITS_SCHEMA_VERSION);
    json_put_string(w, "tool_version", tool_version);
    json_put_string(w, "arch", pass->arch->name);
    json_put_string(w, "weights_digest", pass->digest_hex);
    json_put_string(w, "scales_source", pass->checkpoint ? "checkpoint" : "calibration");
    json_put_integer(w, "samples", pass->samples);
    json_put_integer(w, "tokens", pass->tokens);
    json_put_integer(w, "calibration_samples", pass->calibration_samples);
    json_begin_object(w, "observers");
    for (int s = 0; s < pass->arch->n_sites; s++)
        json_put_string(w, pass->arch->sites[s].name, observer_name(pass->own[s]));
    json_end_object(w);
    json_begin_array(w, "units");
    for (int i = 0; i < pass->count; i++)
        put_place(w, &said[i]);
    json_end_array(w);
    json_end_object(w);
    return json_writer_finish(w);
}

// ---- CSV ----

static void put_number(FILE *out, double v)
{
    char digits[NUMBER_ROOM];
    fprintf(out, ",%s", isnan(v) ? "" : number_text(v, NUMBER_EXACT, digits));
}

static void put_csv(FILE *out, const struct unit_pass *pass, const struct unit_said *said)
{
    fputs("unit,layer,kind,channels,scale,values,clipped,entropy_bits,relative_error,largest_channel,largest,"
          "largest_over_median,error_channel,error_token",
          out);
    for (int o = 0; o < OBSERVER_COUNT; o++)
        fprintf(out, ",error_%s", observer_name((enum observer)o));
    fputc('\n', out);
    for (int i = 0; i < pass->count; i++) {
        const struct unit_place *place = said[i].place;
        fprintf(out, "%s,%d,%s,%d", place->name, place->layer, place->weight ? "weight" : "activation",
                place->channels);
        put_number(out, (double)place->scale);
        fprintf(out, ",%llu,%llu", (unsigned long long)place->values, (unsigned long long)place->clipped);
        put_number(out, said[i].bits);
        put_number(out, said[i].error);
        fprintf(out, ",%d", said[i].largest[0].channel);
        put_number(out, said[i].largest[0].value);
        put_number(out, said[i].largest[0].over);
        for (int s = UNIT_SCALE_CHANNEL; s < UNIT_SCALES; s++)
            put_number(out, said[i].instead[s]);
        fputc('\n', out);
    }
}

// ---- the whole ----

static enum status write_csv(const struct unit_pass *pass, const struct unit_said *said, const char *folder,
                             struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return error_memory(err, 1u << 16, "units.csv");
    put_csv(out, pass, said);
    if (fclose(out))
        error_memory(err, bytes, "units.csv");
    else
        file_replace_in(folder, "units.csv", text, err);
    free(text);
    return err->status;
}

enum status units_write(const struct unit_pass *pass, const char *folder, const char *tool_version, FILE *out,
                        struct error *err)
{
    struct unit_said *said = calloc((size_t)pass->count + 1, sizeof *said);
    if (!said) return error_memory(err, (size_t)pass->count * sizeof *said, "the units");
    units_say(pass, said);
    char *json = make_json(pass, said, tool_version);
    if (!json)
        error_memory(err, 1u << 16, "units.json");
    else if (file_make_directories(folder, err) == STATUS_OK &&
             file_replace_in(folder, "units.json", json, err) == STATUS_OK &&
             write_csv(pass, said, folder, err) == STATUS_OK && out)
        units_print(pass, said, out);
    free(json);
    free(said);
    return err->status;
}

enum status units_run(const struct job *job, const struct comm *comm, const struct log *log,
                      struct stop *stop, const char *tool_version, struct error *err)
{
    struct unit_pass pass = {0};
    if (unit_pass_run(&pass, job, comm, log, stop, err)) return err->status;
    if (comm->rank == 0 && units_write(&pass, job->comparison_dir, tool_version,
                                       job->verbosity == LOG_QUIET ? NULL : stdout, err) == STATUS_OK)
        log_job(log, LOG_NORMAL, "units: %s/units.json, units.csv", job->comparison_dir);
    unit_pass_clear(&pass);
    return comm_agree(comm, err);
}
