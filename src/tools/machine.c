// SPDX-License-Identifier: Apache-2.0
// What the program runs on: instruction sets, cores, GPUs, and what it was built with.
#include <stdio.h>
#include <unistd.h>

#include "info_parts.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/cuda.h"
#include "ssmsweep/compute/kernels.h"

static const char *const kernel_names[] = {"avx512", "avxvnni", "avx2", "scalar",
                                           "naive"}; // as kernels.h has them
enum { KERNEL_NAMES = sizeof kernel_names / sizeof kernel_names[0] };

struct cores {
    long machine, usable; // `usable`: by this process, as taskset, a launcher or a quota has it
};

static struct cores count_cores(void)
{
    return (struct cores){.machine = sysconf(_SC_NPROCESSORS_ONLN), .usable = cores_usable()};
}

// Those that can be described.
static void put_devices(struct json_writer *w)
{
    struct cuda_device device;
    char capability[16];
    json_put_string(w, "cuda", cuda_version());
    json_begin_array(w, "gpus");
    for (int i = 0, count = cuda_devices(); i < count; i++) {
        struct error unknown = {0};
        if (cuda_describe(i, &device, &unknown)) continue;
        json_begin_object(w, NULL);
        json_put_integer(w, "index", i);
        json_put_string(w, "name", device.name);
        snprintf(capability, sizeof capability, "%d.%d", device.major, device.minor);
        json_put_string(w, "compute_capability", capability);
        json_put_integer(w, "processors", device.processors);
        json_put_integer(w, "memory_bytes", (long long)device.memory_bytes);
        json_put_integer(w, "free_bytes", (long long)cuda_free_bytes(i));
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_machine(struct json_writer *w, const struct kernels *chosen, const struct cores *cores)
{
    json_begin_object(w, NULL);
    json_put_string(w, "kind", "machine");
    json_put_integer(w, "cores", cores->machine);
    json_put_integer(w, "usable_cores", cores->usable);
    json_begin_array(w, "instruction_sets");
    for (int i = 0; i < KERNEL_NAMES; i++)
        if (kernels_find(kernel_names[i])) json_put_string(w, NULL, kernel_names[i]);
    json_end_array(w);
    json_put_string(w, "chosen", chosen->name);
    put_devices(w);
    json_end_object(w);
}

static void print_devices(FILE *out)
{
    struct cuda_device device;
    const int count = cuda_devices();
    if (!cuda_version()) fputs("GPUs              none: built without CUDA\n", out);
    if (cuda_version() && count == 0) fputs("GPUs              none that CUDA can use\n", out);
    for (int i = 0; i < count; i++) {
        struct error unknown = {0};
        if (cuda_describe(i, &device, &unknown))
            fprintf(out, "cuda:%-12d %s\n", i, unknown.text);
        else
            fprintf(out, "cuda:%-12d %s, compute capability %d.%d, %d processors, %zu MiB, %zu MiB free\n", i,
                    device.name, device.major, device.minor, device.processors, device.memory_bytes >> 20,
                    cuda_free_bytes(i) >> 20);
    }
}

enum status info_print_machine(FILE *out, bool json, struct error *err)
{
    const struct kernels *chosen;
    const struct cores cores = count_cores();
    if (kernels_choose(&chosen, err)) return err->status;
    if (json) {
        struct json_writer *w = json_writer_open();
        if (!w) return error_memory(err, 1, "JSON");
        put_machine(w, chosen, &cores);
        return info_finish_json(out, w, err);
    }
    fprintf(out, "cores             %ld", cores.machine);
    if (cores.usable != cores.machine) fprintf(out, ", %ld for this process", cores.usable);
    fprintf(out, "\ninstruction sets ");
    for (int i = 0; i < KERNEL_NAMES; i++)
        if (kernels_find(kernel_names[i])) fprintf(out, " %s", kernel_names[i]);
    fprintf(out, "\nchosen            %s\n", chosen->name);
    print_devices(out);
    return STATUS_OK;
}

void info_print_built(FILE *out)
{
#ifdef __clang__
    fprintf(out, "compiler          clang %d.%d.%d\n", __clang_major__, __clang_minor__,
            __clang_patchlevel__);
#else
    fprintf(out, "compiler          gcc %d.%d.%d\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
#ifdef __x86_64__
    fputs("instruction sets  avx512 avxvnni avx2 scalar (SSMSWEEP_ISA); `ssmsweep info --machine`: those of "
          "this machine\n",
          out);
#else
    fputs("instruction sets  scalar\n", out);
#endif
    fprintf(out, "CUDA              %s\n", cuda_version() ? cuda_version() : "no");
}
