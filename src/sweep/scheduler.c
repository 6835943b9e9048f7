// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/scheduler.h"

#include <stdlib.h>
#include <time.h>

#include "wire.h"

// An item that failed and waits for another attempt.
struct retry {
    int item, attempt, last_rank;
};

struct scheduler {
    const struct comm *comm;
    struct task *task;
    struct progress *progress;
    struct stop no_stop, *stop;
    double idle_since; // the end of this rank's last item
    // the item at work on this rank
    int attempt;
    bool final;                // its failure ends the phase
    struct error failed, lost; // the last failure on this rank; the first one of an item that was given up
    // rank 0
    int next;    // first item not handed out yet
    int workers; // ranks that were not told that no more comes
    bool ended;
    int done, given_up, in_vain;
    struct retry *retries;
    int n_retries;
    struct wire_stop news;
    MPI_Request *told; // [ranks]
    bool *dismissed;   // [ranks]
    bool *parked;      // [ranks], asked and not answered: an item at work elsewhere may fail and be theirs
    int n_parked, at_work;
    // the others
    bool told_leader;
    MPI_Request hears;
};

enum {
    PROBES_BEFORE_NAP = 50,
    NAP_NANOSECONDS = 100 * 1000,
    // So many failures without one success between them, for each rank and beyond: it is not the items.
    FAILURES_PER_RANK = 3,
    FAILURES_BEYOND = 9
};

// Spinning ranks take the cores from those that compute: after some probes in vain, sleep between them.
static void nap(int *in_vain)
{
    if (++*in_vain < PROBES_BEFORE_NAP) return;
    struct timespec time = {.tv_nsec = NAP_NANOSECONDS};
    nanosleep(&time, NULL);
}

static int attempts(const struct scheduler *scheduler)
{
    return scheduler->task->attempts > 0 ? scheduler->task->attempts : 1;
}

bool scheduler_last_attempt(const struct scheduler *scheduler)
{
    return scheduler->attempt + 1 >= attempts(scheduler);
}

bool scheduler_overdue(struct scheduler *scheduler)
{
    return stop_overdue(scheduler->stop, 1);
}

void scheduler_end(struct scheduler *scheduler)
{
    scheduler->final = true;
}

bool scheduler_ends(const struct scheduler *scheduler)
{
    return scheduler->final;
}

static enum wire_outcome run_item(struct scheduler *scheduler, int item, int attempt)
{
    struct task *task = scheduler->task;
    struct error err = {0};
    scheduler->attempt = attempt;
    scheduler->final = false;
    task->run(task->context, item, scheduler, &err);
    scheduler->idle_since = progress_clock();
    if (err.status == STATUS_OK) return WIRE_DONE;
    if (err.status == STATUS_STOPPED) return WIRE_STOPPED;
    scheduler->failed = err;
    if (err.status != STATUS_IO || scheduler->final) return WIRE_FATAL;
    if (scheduler_last_attempt(scheduler)) {
        if (!scheduler->lost.status) scheduler->lost = err;
    } else if (task->log)
        log_rank(task->log, LOG_NORMAL, "%s; the item is tried again", err.text);
    return WIRE_FAILED;
}

// ---- rank 0: what is handed out ----

static bool take_retry(struct scheduler *scheduler, int rank, struct wire_answer *answer)
{
    for (int i = 0; i < scheduler->n_retries; i++) {
        const struct retry *retry = &scheduler->retries[i];
        if (retry->last_rank == rank && scheduler->comm->ranks > 1) continue;
        *answer = (struct wire_answer){.item = retry->item, .attempt = retry->attempt};
        scheduler->retries[i] = scheduler->retries[--scheduler->n_retries];
        return true;
    }
    return false;
}

static bool stops(struct scheduler *scheduler)
{
    return scheduler->ended || stop_wanted(scheduler->stop);
}

static struct wire_answer take_next(struct scheduler *scheduler, int rank)
{
    struct wire_answer answer = {.item = WIRE_NO_ITEM};
    if (stops(scheduler)) return answer;
    if (!take_retry(scheduler, rank, &answer) && scheduler->next < scheduler->task->n_items)
        answer.item = scheduler->next++;
    scheduler->at_work += answer.item != WIRE_NO_ITEM;
    return answer;
}

static void add_retry(struct scheduler *scheduler, const struct wire_request *request, int rank)
{
    if (request->attempt + 1 >= attempts(scheduler)) {
        scheduler->given_up++;
        return;
    }
    struct retry *grown =
        realloc(scheduler->retries, (size_t)(scheduler->n_retries + 1) * sizeof *scheduler->retries);
    if (!grown) { // without memory for a note the item cannot be tried again
        scheduler->ended = true;
        return;
    }
    scheduler->retries = grown;
    scheduler->retries[scheduler->n_retries++] =
        (struct retry){.item = request->item, .attempt = request->attempt + 1, .last_rank = rank};
}

static void note_outcome(struct scheduler *scheduler, const struct wire_request *request, int rank)
{
    bool done = request->outcome == WIRE_DONE;
    int most = FAILURES_PER_RANK * scheduler->comm->ranks + FAILURES_BEYOND;
    scheduler->at_work -= request->outcome != WIRE_NOTHING;
    if (done) {
        scheduler->done++;
        scheduler->in_vain = 0;
    } else if (request->outcome == WIRE_FATAL) {
        scheduler->ended = true;
    } else if (request->outcome == WIRE_FAILED) {
        add_retry(scheduler, request, rank);
        if (++scheduler->in_vain == most) scheduler->ended = true;
    }
    progress_step(scheduler->progress, done);
}

// ---- rank 0: messages ----

// Each worker waits for exactly one of these in a phase, from now on until it is dismissed.
static void tell(struct scheduler *scheduler, int rank, const struct wire_stop *news)
{
    if (scheduler->told[rank] == MPI_REQUEST_NULL)
        MPI_Isend(news, (int)sizeof *news, MPI_BYTE, rank, WIRE_STOP, scheduler->comm->world,
                  &scheduler->told[rank]);
}

static void tell_all(struct scheduler *scheduler)
{
    if (scheduler->news.signal || !stop_wanted(scheduler->stop)) return;
    scheduler->news.signal = scheduler->stop->signal;
    for (int rank = 1; rank < scheduler->comm->ranks; rank++)
        if (!scheduler->dismissed[rank]) tell(scheduler, rank, &scheduler->news);
}

static void dismiss(struct scheduler *scheduler, int rank)
{
    static const struct wire_stop quiet = {0};
    if (!scheduler->news.signal) tell(scheduler, rank, &quiet);
    scheduler->dismissed[rank] = true;
    scheduler->workers--;
}

// May the rank still be needed?
static bool waits(struct scheduler *scheduler)
{
    return !stops(scheduler) && attempts(scheduler) > 1 && scheduler->at_work + scheduler->n_retries > 0;
}

static bool answer(struct scheduler *scheduler, int rank)
{
    struct wire_answer next = take_next(scheduler, rank);
    if (next.item == WIRE_NO_ITEM && waits(scheduler)) return false;
    MPI_Send(&next, (int)sizeof next, MPI_BYTE, rank, WIRE_ANSWER, scheduler->comm->world);
    if (next.item == WIRE_NO_ITEM) dismiss(scheduler, rank);
    return true;
}

static void serve_parked(struct scheduler *scheduler)
{
    for (int rank = 1; scheduler->n_parked > 0 && rank < scheduler->comm->ranks; rank++) {
        if (!scheduler->parked[rank] || !answer(scheduler, rank)) continue;
        scheduler->parked[rank] = false;
        scheduler->n_parked--;
    }
}

static bool serve_one(struct scheduler *scheduler)
{
    int waiting;
    MPI_Status from;
    struct wire_request request;
    MPI_Iprobe(MPI_ANY_SOURCE, WIRE_REQUEST, scheduler->comm->world, &waiting, &from);
    if (!waiting) return false;
    MPI_Recv(&request, (int)sizeof request, MPI_BYTE, from.MPI_SOURCE, WIRE_REQUEST, scheduler->comm->world,
             MPI_STATUS_IGNORE);
    stop_hear(scheduler->stop, request.signal);
    if (request.outcome == WIRE_NEWS) return true;
    note_outcome(scheduler, &request, from.MPI_SOURCE);
    if (!answer(scheduler, from.MPI_SOURCE)) {
        scheduler->parked[from.MPI_SOURCE] = true;
        scheduler->n_parked++;
    }
    return true;
}

static void lead(struct scheduler *scheduler)
{
    int in_vain = 0;
    for (;;) {
        scheduler_poll(scheduler); // the others first: what is left is ours
        struct wire_answer next = take_next(scheduler, 0);
        if (next.item != WIRE_NO_ITEM) {
            struct wire_request report = {.item = next.item, .attempt = next.attempt};
            report.outcome = run_item(scheduler, next.item, next.attempt);
            note_outcome(scheduler, &report, 0);
            in_vain = 0;
        } else if (scheduler->workers > 0) {
            nap(&in_vain);
        } else {
            return;
        }
    }
}

// ---- the other ranks ----

static void hear(struct scheduler *scheduler)
{
    struct wire_request request = {.item = WIRE_NO_ITEM, .outcome = WIRE_NEWS};
    int arrived = 0;
    if (scheduler->hears != MPI_REQUEST_NULL) MPI_Test(&scheduler->hears, &arrived, MPI_STATUS_IGNORE);
    if (arrived && scheduler->news.signal) {
        stop_hear(scheduler->stop, scheduler->news.signal);
        scheduler->told_leader = true; // it knows
    }
    if (scheduler->told_leader || !stop_wanted(scheduler->stop)) return;
    request.signal = scheduler->stop->signal;
    MPI_Send(&request, (int)sizeof request, MPI_BYTE, 0, WIRE_REQUEST, scheduler->comm->world);
    scheduler->told_leader = true;
}

static struct wire_answer ask(struct scheduler *scheduler, const struct wire_request *request)
{
    struct wire_answer answer;
    int arrived = 0, in_vain = 0;
    MPI_Request receive;
    MPI_Irecv(&answer, (int)sizeof answer, MPI_BYTE, 0, WIRE_ANSWER, scheduler->comm->world, &receive);
    MPI_Send(request, (int)sizeof *request, MPI_BYTE, 0, WIRE_REQUEST, scheduler->comm->world);
    for (MPI_Test(&receive, &arrived, MPI_STATUS_IGNORE); !arrived;
         MPI_Test(&receive, &arrived, MPI_STATUS_IGNORE))
        nap(&in_vain);
    return answer;
}

static void follow(struct scheduler *scheduler)
{
    struct wire_request request = {.item = WIRE_NO_ITEM, .outcome = WIRE_NOTHING};
    for (;;) {
        hear(scheduler);
        struct wire_answer next = ask(scheduler, &request);
        if (next.item == WIRE_NO_ITEM) return;
        request = (struct wire_request){.item = next.item, .attempt = next.attempt};
        request.outcome = run_item(scheduler, next.item, next.attempt);
    }
}

void scheduler_poll(struct scheduler *scheduler)
{
    if (scheduler->comm->rank != 0) {
        hear(scheduler);
        return;
    }
    tell_all(scheduler);
    while (scheduler->workers > 0 && serve_one(scheduler))
        tell_all(scheduler);
    serve_parked(scheduler);
    progress_step(scheduler->progress, 0);
}

// ---- a phase ----

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

// All ranks learn how the phase ended.
static enum status end_phase(struct scheduler *scheduler, struct error *err)
{
    struct task *task = scheduler->task;
    struct wire_verdict verdict = {.done = scheduler->done,
                                   .given_up = scheduler->given_up,
                                   .ended = scheduler->ended,
                                   .signal = scheduler->stop->signal};
    MPI_Bcast(&verdict, (int)sizeof verdict, MPI_BYTE, 0, scheduler->comm->world);
    stop_hear(scheduler->stop, verdict.signal);
    task->done = verdict.done;
    task->given_up = verdict.given_up;
    task->ended = verdict.ended != 0;
    if (verdict.ended || verdict.given_up) {
        *err = verdict.ended ? scheduler->failed : scheduler->lost;
        return comm_agree(scheduler->comm, err);
    }
    if (verdict.done == task->n_items) return STATUS_OK;
    return error_set(err, STATUS_STOPPED, "stopped by %s with %d of %d items left",
                     stop_signal_name(verdict.signal), task->n_items - verdict.done, task->n_items);
}

static enum status open_phase(struct scheduler *scheduler, struct error *err)
{
    size_t ranks = (size_t)scheduler->comm->ranks;
    scheduler->hears = MPI_REQUEST_NULL;
    if (scheduler->comm->rank == 0) {
        scheduler->told = malloc(ranks * sizeof *scheduler->told);
        scheduler->dismissed = calloc(ranks, sizeof *scheduler->dismissed);
        scheduler->parked = calloc(ranks, sizeof *scheduler->parked);
        if (!scheduler->told || !scheduler->dismissed || !scheduler->parked)
            error_memory(err, ranks * sizeof *scheduler->told, "the scheduler");
        for (size_t rank = 0; scheduler->told && rank < ranks; rank++)
            scheduler->told[rank] = MPI_REQUEST_NULL;
    }
    return comm_agree(scheduler->comm, err);
}

static void close_phase(struct scheduler *scheduler)
{
    free(scheduler->retries);
    free(scheduler->parked);
    free(scheduler->dismissed);
    free(scheduler->told);
}

enum status scheduler_run(const struct comm *comm, struct task *task, struct progress *progress,
                          struct error *err)
{
    struct scheduler scheduler = {
        .comm = comm, .task = task, .progress = progress, .stop = task->stop, .workers = comm->ranks - 1};
    if (!scheduler.stop) scheduler.stop = &scheduler.no_stop;
    task->done = task->given_up = 0;
    task->ended = false;
    scheduler.idle_since = progress_clock();
    if (open_phase(&scheduler, err)) goto close_phase;
    if (comm->rank == 0) {
        lead(&scheduler);
        MPI_Waitall(comm->ranks, scheduler.told, MPI_STATUSES_IGNORE);
    } else {
        MPI_Irecv(&scheduler.news, (int)sizeof scheduler.news, MPI_BYTE, 0, WIRE_STOP, comm->world,
                  &scheduler.hears);
        follow(&scheduler);
        MPI_Wait(&scheduler.hears, MPI_STATUS_IGNORE);
    }
    wait_for_all(comm);
    if (progress) progress->idle_seconds = progress_clock() - scheduler.idle_since;
    end_phase(&scheduler, err);
close_phase:
    close_phase(&scheduler);
    return err->status;
}
