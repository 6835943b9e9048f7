// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/scheduler.h"

#include <stdlib.h>

#include "batches.h"

// A rank that asked and was not answered: an item at work elsewhere may come back and be its own.
struct parked {
    bool waits, together;
    int wish;
};

struct scheduler {
    const struct comm *comm;
    struct task *task;
    struct progress *progress;
    struct stop no_stop, *stop;
    double idle_since;                // the end of this rank's last item
    double polled;                    // when scheduler_poll() was called between items
    int wish;                         // the size of this rank's next batch, as it sees it
    double work, item_work, reported; // done and not reported, of the item at work, when that was
    // the item at work on this rank
    int attempt;
    bool final;                // its failure ends the phase
    struct error failed, lost; // the last failure on this rank; the first one of an item that was given up
    // rank 0
    struct batches batches;
    long long requests;
    int workers; // ranks that were not told that no more comes
    struct wire_stop news;
    MPI_Request *told;     // [ranks]
    bool *dismissed;       // [ranks]
    struct parked *parked; // [ranks]
    int n_parked;
    // the others
    bool told_leader;
    MPI_Request stop_message;
};

// How often a worker tells how far it is in an item.
static const double REPORT_SECONDS = 0.5;

// Between items that are shorter than this nobody looks for messages after each.
static const double POLL_SECONDS = 20e-6;

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

void scheduler_advance(struct scheduler *scheduler, double work)
{
    scheduler->item_work += work;
    scheduler->work += work;
}

void scheduler_complete(struct scheduler *scheduler, double work)
{
    scheduler_advance(scheduler, work - scheduler->item_work);
}

static double take_work(struct scheduler *scheduler)
{
    const double work = scheduler->work;
    scheduler->work = 0;
    scheduler->reported = progress_clock();
    return work;
}

static enum wire_outcome run_item(struct scheduler *scheduler, int item, int attempt)
{
    struct task *task = scheduler->task;
    struct error err = {0};
    scheduler->attempt = attempt;
    scheduler->final = false;
    scheduler->item_work = 0;
    task->run(task->context, item, scheduler, &err);
    scheduler->idle_since = progress_clock();
    if (err.status == STATUS_OK) return WIRE_DONE;
    scheduler_complete(scheduler, 0); // to be done again
    if (err.status == STATUS_STOPPED) return WIRE_STOPPED;
    scheduler->failed = err;
    if (err.status != STATUS_IO || scheduler->final) return WIRE_FATAL;
    if (scheduler_last_attempt(scheduler)) {
        if (!scheduler->lost.status) scheduler->lost = err;
    } else if (task->log)
        log_rank(task->log, LOG_NORMAL, "%s; the item is tried again", err.text);
    return WIRE_FAILED;
}

// Nothing new begins: known on rank 0 for all reasons, elsewhere for wishes to stop.
static bool stops(struct scheduler *scheduler)
{
    return scheduler->batches.ended || stop_wanted(scheduler->stop);
}

static void poll_between(struct scheduler *scheduler, double now)
{
    if (now - scheduler->polled < POLL_SECONDS) return;
    scheduler->polled = now;
    scheduler_poll(scheduler);
}

// Those of a batch that nobody failed in: all of them at once, or none.
static int run_together(struct scheduler *scheduler, const struct wire_batch *batch)
{
    struct task *task = scheduler->task;
    if (!task->run_many || batch->attempt > 0 || stops(scheduler)) return 0;
    scheduler->attempt = 0;
    scheduler->final = false;
    scheduler->item_work = 0;
    const bool done = task->run_many(task->context, batch->first, batch->count, scheduler);
    if (!done) scheduler_complete(scheduler, 0);
    scheduler->idle_since = progress_clock();
    return done ? batch->count : 0;
}

// As many as are worth their while, where some are.
static int wish_of(const struct scheduler *scheduler, const struct wire_request *report, double seconds)
{
    const int wish = batches_wish(report, scheduler->wish, seconds), together = scheduler->task->together;
    return scheduler->task->run_many && wish < together ? together : wish;
}

// Runs a batch up to its end, a failure, a wish to stop, or the time that a batch may take.
static struct wire_request run_batch(struct scheduler *scheduler, const struct wire_batch *batch)
{
    const double longest = 1e-3 * LONGEST_BATCH_MILLISECONDS, began = progress_clock();
    struct wire_request report = {.batch = *batch, .done = run_together(scheduler, batch)};
    const double one_by_one = progress_clock();
    double now = one_by_one;
    while (report.done < batch->count && now - one_by_one <= longest && !stops(scheduler)) {
        report.outcome = run_item(scheduler, batch->first + report.done, batch->attempt);
        now = scheduler->idle_since;
        if (report.outcome != WIRE_DONE) break;
        report.done++;
        if (report.done < batch->count) poll_between(scheduler, now);
    }
    scheduler->wish = report.wish = wish_of(scheduler, &report, now - began);
    report.together = scheduler->task->run_many != NULL;
    report.signal = stop_wanted(scheduler->stop) ? scheduler->stop->signal : 0;
    report.work = take_work(scheduler);
    return report;
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

static struct wire_batch take(struct scheduler *scheduler, int rank, int wish, bool together)
{
    if (stops(scheduler)) return (struct wire_batch){0};
    return batches_take(&scheduler->batches, rank, wish, together);
}

static void note(struct scheduler *scheduler, const struct wire_request *report, int rank)
{
    batches_note(&scheduler->batches, report, rank, &scheduler->failed);
    progress_step(scheduler->progress, report->done, report->work);
}

// False: there is nothing for it now, and it may still be needed.
static bool answer(struct scheduler *scheduler, int rank, int wish, bool together)
{
    struct wire_answer next = {.batch = take(scheduler, rank, wish, together)};
    if (next.batch.count == 0 && !stops(scheduler) && batches_waits(&scheduler->batches)) return false;
    MPI_Send(&next, (int)sizeof next, MPI_BYTE, rank, WIRE_ANSWER, scheduler->comm->world);
    if (next.batch.count == 0) dismiss(scheduler, rank);
    return true;
}

static void serve_parked(struct scheduler *scheduler)
{
    for (int rank = 1; scheduler->n_parked > 0 && rank < scheduler->comm->ranks; rank++) {
        struct parked *parked = &scheduler->parked[rank];
        if (!parked->waits || !answer(scheduler, rank, parked->wish, parked->together)) continue;
        parked->waits = false;
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
    scheduler->requests++;
    stop_note(scheduler->stop, request.signal);
    if (request.outcome == WIRE_NEWS) {
        progress_step(scheduler->progress, 0, request.work);
        return true;
    }
    note(scheduler, &request, from.MPI_SOURCE);
    if (!answer(scheduler, from.MPI_SOURCE, request.wish, request.together)) {
        scheduler->parked[from.MPI_SOURCE] =
            (struct parked){.waits = true, .together = request.together, .wish = request.wish};
        scheduler->n_parked++;
    }
    return true;
}

static void lead(struct scheduler *scheduler)
{
    struct comm_nap idle = {0};
    for (;;) {
        scheduler_poll(scheduler); // the others first: what is left is ours
        struct wire_batch batch = take(scheduler, 0, scheduler->wish, scheduler->task->run_many != NULL);
        if (batch.count > 0) {
            struct wire_request report = run_batch(scheduler, &batch);
            note(scheduler, &report, 0);
            idle = (struct comm_nap){0};
        } else if (scheduler->workers > 0) {
            comm_nap(&idle);
        } else {
            return;
        }
    }
}

// ---- the other ranks ----

static void look_for_stop(struct scheduler *scheduler)
{
    struct wire_request request = {.outcome = WIRE_NEWS};
    int arrived = 0;
    if (scheduler->stop_message != MPI_REQUEST_NULL)
        MPI_Test(&scheduler->stop_message, &arrived, MPI_STATUS_IGNORE);
    if (arrived && scheduler->news.signal) {
        stop_note(scheduler->stop, scheduler->news.signal);
        scheduler->told_leader = true; // it knows
    }
    if (scheduler->told_leader || !stop_wanted(scheduler->stop)) return;
    request.signal = scheduler->stop->signal;
    MPI_Send(&request, (int)sizeof request, MPI_BYTE, 0, WIRE_REQUEST, scheduler->comm->world);
    scheduler->told_leader = true;
}

static void report_work(struct scheduler *scheduler)
{
    if (scheduler->work <= 0 || progress_clock() - scheduler->reported < REPORT_SECONDS) return;
    const struct wire_request request = {.outcome = WIRE_NEWS, .work = take_work(scheduler)};
    MPI_Send(&request, (int)sizeof request, MPI_BYTE, 0, WIRE_REQUEST, scheduler->comm->world);
}

static struct wire_batch ask(struct scheduler *scheduler, const struct wire_request *request)
{
    struct wire_answer answer;
    MPI_Request receive;
    MPI_Irecv(&answer, (int)sizeof answer, MPI_BYTE, 0, WIRE_ANSWER, scheduler->comm->world, &receive);
    MPI_Send(request, (int)sizeof *request, MPI_BYTE, 0, WIRE_REQUEST, scheduler->comm->world);
    comm_wait(&receive);
    return answer.batch;
}

static void follow(struct scheduler *scheduler)
{
    struct wire_request request = {.wish = scheduler->wish, .together = scheduler->task->run_many != NULL};
    for (;;) {
        look_for_stop(scheduler);
        struct wire_batch batch = ask(scheduler, &request);
        if (batch.count == 0) return;
        request = run_batch(scheduler, &batch);
    }
}

void scheduler_poll(struct scheduler *scheduler)
{
    if (scheduler->comm->rank != 0) {
        look_for_stop(scheduler);
        report_work(scheduler);
        return;
    }
    tell_all(scheduler);
    while (scheduler->workers > 0 && serve_one(scheduler))
        tell_all(scheduler);
    serve_parked(scheduler);
    progress_step(scheduler->progress, 0, take_work(scheduler));
}

// ---- a phase ----

// A barrier in which those who wait sleep: the last item may take long.
static void wait_for_all(const struct comm *comm)
{
    MPI_Request barrier;
    MPI_Ibarrier(comm->world, &barrier);
    comm_wait(&barrier);
}

// All ranks learn how the phase ended.
static enum status end_phase(struct scheduler *scheduler, struct error *err)
{
    struct task *task = scheduler->task;
    struct wire_verdict verdict = {.done = scheduler->batches.done,
                                   .given_up = scheduler->batches.given_up,
                                   .ended = scheduler->batches.ended,
                                   .signal = scheduler->stop->signal,
                                   .requests = scheduler->requests};
    MPI_Bcast(&verdict, (int)sizeof verdict, MPI_BYTE, 0, scheduler->comm->world);
    stop_note(scheduler->stop, verdict.signal);
    task->done = verdict.done;
    task->given_up = verdict.given_up;
    task->ended = verdict.ended != 0;
    task->requests = verdict.requests;
    int left = task->n_items - verdict.done - verdict.given_up;
    if (left != 0 && !verdict.ended && !verdict.signal)
        return error_set(err, STATUS_INTERNAL, "scheduler: %d of %d items were lost", left, task->n_items);
    if (verdict.ended || verdict.given_up) {
        *err = verdict.ended ? scheduler->failed : scheduler->lost;
        return comm_agree(scheduler->comm, err);
    }
    if (left == 0) return STATUS_OK;
    return error_set(err, STATUS_STOPPED, "stopped by %s with %d of %d items left",
                     stop_signal_name(verdict.signal), left, task->n_items);
}

static enum status open_phase(struct scheduler *scheduler, struct error *err)
{
    size_t ranks = (size_t)scheduler->comm->ranks;
    scheduler->stop_message = MPI_REQUEST_NULL;
    if (scheduler->comm->rank == 0) {
        batches_open(&scheduler->batches, scheduler->task->n_items, scheduler->comm->ranks,
                     attempts(scheduler), scheduler->task->batch_limit);
        scheduler->batches.together = scheduler->task->together_ranks;
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
    batches_close(&scheduler->batches);
    free(scheduler->parked);
    free(scheduler->dismissed);
    free(scheduler->told);
}

enum status scheduler_run(const struct comm *comm, struct task *task, struct progress *progress,
                          struct error *err)
{
    struct scheduler scheduler = {.comm = comm,
                                  .task = task,
                                  .progress = progress,
                                  .stop = task->stop,
                                  .wish = task->run_many ? task->together : 1,
                                  .workers = comm->ranks - 1};
    if (!scheduler.stop) scheduler.stop = &scheduler.no_stop;
    task->done = task->given_up = 0;
    task->ended = false;
    task->requests = 0;
    scheduler.idle_since = scheduler.reported = progress_clock();
    if (open_phase(&scheduler, err)) goto close_phase;
    if (comm->rank == 0) {
        lead(&scheduler);
        for (int r = 0; r < comm->ranks; r++)
            MPI_Wait(&scheduler.told[r], MPI_STATUS_IGNORE);
    } else {
        MPI_Irecv(&scheduler.news, (int)sizeof scheduler.news, MPI_BYTE, 0, WIRE_STOP, comm->world,
                  &scheduler.stop_message);
        follow(&scheduler);
        MPI_Wait(&scheduler.stop_message, MPI_STATUS_IGNORE);
    }
    wait_for_all(comm);
    if (progress) progress->idle_seconds = progress_clock() - scheduler.idle_since;
    end_phase(&scheduler, err);
close_phase:
    close_phase(&scheduler);
    return err->status;
}
