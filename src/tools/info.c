// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/tools/info.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "info_parts.h"
#include "ssmsweep/base/cores.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/compute/kernels.h"

enum status info_finish_json(FILE *out, struct json_writer *w, struct error *err)
{
    char *text = json_writer_finish(w);
    if (!text) return error_memory(err, 1u << 20, "JSON");
    fputs(text, out);
    free(text);
    return STATUS_OK;
}

// ---- this machine ----

static const char *const kernel_names[] = {"avx512", "avx2", "scalar", "naive"}; // as kernels.h has them
enum { KERNEL_NAMES = sizeof kernel_names / sizeof kernel_names[0] };

struct cores {
    long machine, usable; // `usable`: by this process, as taskset, a launcher or a quota has it
};

static struct cores count_cores(void)
{
    return (struct cores){.machine = sysconf(_SC_NPROCESSORS_ONLN), .usable = cores_usable()};
}

static void put_cpu(struct json_writer *w, const struct kernels *chosen, const struct cores *cores)
{
    json_begin_object(w, NULL);
    json_put_string(w, "kind", "cpu");
    json_put_integer(w, "cores", cores->machine);
    json_put_integer(w, "usable_cores", cores->usable);
    json_begin_array(w, "instruction_sets");
    for (int i = 0; i < KERNEL_NAMES; i++)
        if (kernels_find(kernel_names[i])) json_put_string(w, NULL, kernel_names[i]);
    json_end_array(w);
    json_put_string(w, "chosen", chosen->name);
    json_end_object(w);
}

enum status info_print_cpu(FILE *out, bool json, struct error *err)
{
    const struct kernels *chosen;
    const struct cores cores = count_cores();
    if (kernels_choose(&chosen, err)) return err->status;
    if (json) {
        struct json_writer *w = json_writer_open();
        if (!w) return error_memory(err, 1, "JSON");
        put_cpu(w, chosen, &cores);
        return info_finish_json(out, w, err);
    }
    fprintf(out, "cores             %ld", cores.machine);
    if (cores.usable != cores.machine) fprintf(out, ", %ld for this process", cores.usable);
    fprintf(out, "\ninstruction sets ");
    for (int i = 0; i < KERNEL_NAMES; i++)
        if (kernels_find(kernel_names[i])) fprintf(out, " %s", kernel_names[i]);
    fprintf(out, "\nchosen            %s\n", chosen->name);
    return STATUS_OK;
}

// ---- a path ----

static enum status print_model(FILE *out, const char *directory, const struct info_request *request,
                               struct error *err)
{
    struct model model = {0};
    struct model_facts facts;
    if (model_open(&model, directory, err)) return err->status;
    if (!model_facts_find(&facts, &model, request->tokens, request->threads > 0 ? request->threads : 1,
                          err)) {
        struct json_writer *w = request->json ? json_writer_open() : NULL;
        if (!request->json) {
            model_facts_print(out, &facts);
        } else if (!w) {
            error_memory(err, 1, "JSON");
        } else {
            model_facts_put(w, &facts);
            info_finish_json(out, w, err);
        }
    }
    model_close(&model);
    return err->status;
}

static enum status print_demo(FILE *out, const struct info_request *request, struct error *err)
{
    char *demo = NULL;
    if (!model_demo_directory(&demo, err)) print_model(out, demo, request, err);
    free(demo);
    return err->status;
}

enum status info_print(FILE *out, const struct info_request *request, struct error *err)
{
    if (!request->path) return print_demo(out, request, err);
    if (!file_exists(request->path))
        return error_set(err, STATUS_INPUT,
                         "%s: no such file or folder; expected a model folder or a result file",
                         request->path);
    if (!file_is_directory(request->path)) return info_print_result(out, request->path, request->json, err);
    char *config = file_join(request->path, "config.json"), *result = file_join(request->path, "sweep.h5");
    if (!config || !result)
        error_memory(err, strlen(request->path), "a path");
    else if (!file_exists(config) && file_exists(result))
        info_print_result(out, result, request->json, err);
    else
        print_model(out, request->path, request, err);
    free(config);
    free(result);
    return err->status;
}
