// SPDX-License-Identifier: Apache-2.0
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/compute/cuda.h"
#include "ssmsweep/sweep/gpu.h"

// ---- which one ----

enum wanted { WANTED_NONE, WANTED_IF_THERE, WANTED };
enum { MOST_DEVICES = 1024 };

// index: -1 where none is named.
static enum status read_word(const char *word, enum wanted *wanted, int *index, struct error *err)
{
    static const char named[] = "cuda:";
    char *end = NULL;
    *wanted = strcmp(word, "auto") == 0 ? WANTED_IF_THERE : strcmp(word, "cpu") == 0 ? WANTED_NONE : WANTED;
    *index = -1;
    if (*wanted != WANTED || strcmp(word, "cuda") == 0) return STATUS_OK;
    if (strncmp(word, named, strlen(named)) == 0 && word[strlen(named)] >= '0' &&
        word[strlen(named)] <= '9') {
        const long number = strtol(word + strlen(named), &end, 10);
        if (!*end && number < MOST_DEVICES) {
            *index = (int)number;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_USAGE, "--device: expected auto, cpu, cuda or cuda:INDEX, got '%.100s'",
                     word);
}

static enum status refuse(const char *word, int index, struct error *err)
{
    const int there = cuda_devices();
    if (!cuda_version())
        return error_set(err, STATUS_USAGE,
                         "--device %s: this program was built without CUDA; leave the option out, or build "
                         "with -DSSMSWEEP_CUDA=ON",
                         word);
    if (there > 0 && index >= there)
        return error_set(err, STATUS_USAGE,
                         "--device %s: expected an index below %d, of which `ssmsweep info --machine` tells",
                         word, there);
    return error_set(err, STATUS_USAGE,
                     "--device %s: there is no GPU that CUDA can use (`ssmsweep info --machine`); leave the "
                     "option out to compute on processors",
                     word);
}

enum status gpu_choose(const char *word, int *index, bool *by_name, struct error *err)
{
    enum wanted wanted;
    int named;
    if (read_word(word, &wanted, &named, err)) return err->status;
    *index = named >= 0 ? named : 0;
    *by_name = wanted == WANTED;
    if (wanted == WANTED && *index >= cuda_devices()) return refuse(word, named, err);
    if (wanted == WANTED_NONE || *index >= cuda_devices()) *index = -1;
    return STATUS_OK;
}

enum { MOST_SEEN = 16, UUID_BYTES = sizeof((struct cuda_device *)0)->uuid };

// What a rank sees of the GPUs of its node, and which one it has.  Plain bytes: it travels.
struct seat {
    int first, count; // of the devices that it may have
    unsigned char uuids[MOST_SEEN][UUID_BYTES];
    int mine; // of these; -1: none
};

// The devices of a rank, by what they are: they have other numbers elsewhere where CUDA_VISIBLE_DEVICES or
// the scheduler shows each rank its own.
static struct seat look_around(int index)
{
    struct seat seat = {.first = index >= 0 ? index : 0, .mine = -1};
    struct cuda_device device;
    struct error unknown = {0};
    const int there = cuda_devices(), last = index >= 0 ? index : there - 1;
    for (int i = seat.first; i <= last && i < there && seat.count < MOST_SEEN; i++) {
        if (cuda_describe(i, &device, &unknown)) break;
        memcpy(seat.uuids[seat.count++], device.uuid, UUID_BYTES);
    }
    return seat;
}

static bool is_taken(const struct seat *seats, int ranks, const unsigned char *uuid)
{
    for (int r = 0; r < ranks; r++)
        if (seats[r].mine >= 0 && memcmp(seats[r].uuids[seats[r].mine], uuid, UUID_BYTES) == 0) return true;
    return false;
}

// One rank after the other: rank r of the node looks at device r modulo their number first, then at those
// behind it.
static void sit_down(struct seat *seats, int ranks)
{
    for (int r = 0; r < ranks; r++)
        for (int i = 0; i < seats[r].count && seats[r].mine < 0; i++) {
            const int at = (r + i) % seats[r].count;
            if (!is_taken(seats, r, seats[r].uuids[at])) seats[r].mine = at;
        }
}

// *device: that of this rank, or -1.
static enum status share_out(const struct seat *mine, const struct comm *comm, int *device, struct error *err)
{
    struct seat *seats = malloc((size_t)comm->node_ranks * sizeof *seats);
    if (!seats) error_memory(err, (size_t)comm->node_ranks * sizeof *seats, "the GPUs of the ranks");
    if (comm_agree(comm, err) == STATUS_OK) {
        MPI_Allgather(mine, (int)sizeof *mine, MPI_BYTE, seats, (int)sizeof *mine, MPI_BYTE, comm->node);
        sit_down(seats, comm->node_ranks);
        const struct seat *seat = &seats[comm->node_rank];
        *device = seat->mine < 0 ? -1 : seat->first + seat->mine;
    }
    free(seats);
    return err->status;
}

// How many ranks have one; all get the name of the first.
static int count_all(int device, char name[64], const struct comm *comm)
{
    int have = device >= 0, count, first = have ? comm->rank : comm->ranks;
    struct cuda_device mine = {.name = ""};
    struct error unknown = {0};
    if (have) cuda_describe(device, &mine, &unknown);
    snprintf(name, 64, "%.60s", mine.name);
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm->world);
    MPI_Allreduce(&have, &count, 1, MPI_INT, MPI_SUM, comm->world);
    if (count > 0) MPI_Bcast(name, 64, MPI_CHAR, first, comm->world);
    return count;
}

// Which one, whatever its number: as nvidia-smi -L begins it.
static void log_device(const struct log *log, int index)
{
    struct cuda_device device;
    struct error unknown = {0};
    if (index < 0 || cuda_describe(index, &device, &unknown)) return;
    log_rank(log, LOG_VERBOSE, "cuda:%d is GPU-%02x%02x%02x%02x", index, device.uuid[0], device.uuid[1],
             device.uuid[2], device.uuid[3]);
}

enum status device_choose(const char *word, const struct comm *comm, const struct log *log, int *device,
                          int *devices, struct error *err)
{
    enum wanted wanted;
    int index;
    char name[64];
    *device = -1, *devices = 0;
    if (read_word(word, &wanted, &index, err)) return err->status; // on all ranks
    if (wanted == WANTED_NONE) return STATUS_OK;
    const struct seat mine = look_around(index);
    if (share_out(&mine, comm, device, err)) return err->status;
    const int count = count_all(*device, name, comm);
    if (count == 0 && wanted == WANTED && comm->rank == 0) refuse(word, index, err);
    if (comm_agree(comm, err) || count == 0) return err->status;
    *devices = count;
    log_job(log, LOG_NORMAL, "%d of %d ranks compute%s on a GPU, %s", count, comm->ranks,
            count == 1 ? "s" : "", name);
    log_device(log, *device);
    return STATUS_OK;
}
