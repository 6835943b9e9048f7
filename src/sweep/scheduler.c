// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/scheduler.h"

#include <stdbool.h>
#include <time.h>

#include "wire.h"

struct scheduler {
    const struct comm *comm;
    const struct task *task;
    struct progress *progress;
    int next;    // first item not handed out yet
    int workers; // ranks that were not told to stop yet
    bool stopped;
};

enum { PROBES_BEFORE_NAP = 50, NAP_NANOSECONDS = 100 * 1000 };

// Spinning ranks take the cores from those that compute: after some probes in vain, sleep between them.
static void nap(int *in_vain)
{
    if (++*in_vain < PROBES_BEFORE_NAP) return;
    struct timespec time = {.tv_nsec = NAP_NANOSECONDS};
    nanosleep(&time, NULL);
}

static int take_next(struct scheduler *scheduler)
{
    if (scheduler->stopped || scheduler->next == scheduler->task->n_items) return WIRE_NO_ITEM;
    return scheduler->next++;
}

// ---- rank 0 ----

static bool serve_one(struct scheduler *scheduler)
{
    int waiting;
    MPI_Status from;
    MPI_Iprobe(MPI_ANY_SOURCE, WIRE_REQUEST, scheduler->comm->world, &waiting, &from);
    if (!waiting) return false;
    struct wire_request request;
    MPI_Recv(&request, (int)sizeof request, MPI_BYTE, from.MPI_SOURCE, WIRE_REQUEST, scheduler->comm->world,
             MPI_STATUS_IGNORE);
    if (request.failed) scheduler->stopped = true;
    struct wire_answer answer = {.item = take_next(scheduler)};
    MPI_Send(&answer, (int)sizeof answer, MPI_BYTE, from.MPI_SOURCE, WIRE_ANSWER, scheduler->comm->world);
    if (answer.item == WIRE_NO_ITEM) scheduler->workers--;
    progress_step(scheduler->progress, request.finished_item != WIRE_NO_ITEM && !request.failed);
    return true;
}

void scheduler_poll(struct scheduler *scheduler)
{
    if (scheduler->comm->rank != 0) return;
    while (scheduler->workers > 0 && serve_one(scheduler))
        ;
    progress_step(scheduler->progress, 0);
}

static void lead(struct scheduler *scheduler, struct error *err)
{
    const struct task *task = scheduler->task;
    int in_vain = 0;
    for (;;) {
        scheduler_poll(scheduler); // the others first: what is left is ours
        int item = take_next(scheduler);
        if (item != WIRE_NO_ITEM) {
            if (task->run(task->context, item, scheduler, err)) scheduler->stopped = true;
            progress_step(scheduler->progress, !err->status);
            in_vain = 0;
        } else if (scheduler->workers > 0) {
            nap(&in_vain);
        } else {
            return;
        }
    }
}

// ---- the other ranks ----

static int ask(const struct comm *comm, const struct wire_request *request)
{
    struct wire_answer answer;
    int arrived = 0, in_vain = 0;
    MPI_Request receive;
    MPI_Irecv(&answer, (int)sizeof answer, MPI_BYTE, 0, WIRE_ANSWER, comm->world, &receive);
    MPI_Send(request, (int)sizeof *request, MPI_BYTE, 0, WIRE_REQUEST, comm->world);
    for (MPI_Test(&receive, &arrived, MPI_STATUS_IGNORE); !arrived;
         MPI_Test(&receive, &arrived, MPI_STATUS_IGNORE))
        nap(&in_vain);
    return answer.item;
}

static void follow(struct scheduler *scheduler, struct error *err)
{
    const struct task *task = scheduler->task;
    struct wire_request request = {.finished_item = WIRE_NO_ITEM};
    for (;;) {
        int item = ask(scheduler->comm, &request);
        if (item == WIRE_NO_ITEM) return;
        // After a failure rank 0 hands out nothing, so the next answer ends this loop.
        request.failed = task->run(task->context, item, scheduler, err) != STATUS_OK;
        request.finished_item = item;
    }
}

// A barrier in which those who wait sleep: the last item may take long.
static void wait_for_all(const struct comm *comm)
{
    int arrived = 0, in_vain = 0;
    MPI_Request barrier;
    MPI_Ibarrier(comm->world, &barrier);
    for (MPI_Test(&barrier, &arrived, MPI_STATUS_IGNORE); !arrived;
         MPI_Test(&barrier, &arrived, MPI_STATUS_IGNORE))
        nap(&in_vain);
}

enum status scheduler_run(const struct comm *comm, const struct task *task, struct progress *progress,
                          struct error *err)
{
    struct scheduler scheduler = {
        .comm = comm, .task = task, .progress = progress, .workers = comm->ranks - 1};
    if (comm->rank == 0)
        lead(&scheduler, err);
    else
        follow(&scheduler, err);
    const double idle = progress_clock();
    wait_for_all(comm);
    if (progress) progress->idle_seconds = progress_clock() - idle;
    return comm_agree(comm, err);
}
