// SPDX-License-Identifier: Apache-2.0
#include "batches.h"

#include <stdlib.h>

enum {
    SHARES_PER_RANK = 4, // a batch is left / (SHARES_PER_RANK * ranks)
    MOST_WISHED = 1 << 20,
    // So many failures without one success between them, for each rank and beyond: it is not the items.
    FAILURES_PER_RANK = 3,
    FAILURES_BEYOND = 9,
    // Leftovers that a rank looks at, the newest first.  Those that failed on this very rank are not for it,
    // and may be many; they are for every other one.
    LOOKS = 64,
    NOBODY = -1
};

// Items that came back.
struct leftover {
    struct wire_batch batch;
    int last_rank; // where it failed; NOBODY: was not begun
};

void batches_open(struct batches *batches, int n_items, int ranks, int attempts, int batch_limit)
{
    *batches = (struct batches){.n_items = n_items,
                                .ranks = ranks,
                                .attempts = attempts,
                                .batch_limit = batch_limit,
                                .left = n_items};
}

void batches_close(struct batches *batches)
{
    free(batches->leftovers);
    *batches = (struct batches){0};
}

// ---- hand out ----

static int batch_size(const struct batches *batches, int wish, bool together)
{
    const int fast = batches->together > 0 ? batches->together : 1;
    int share =
        together ? (batches->left + fast - 1) / fast : batches->left / SHARES_PER_RANK / batches->ranks;
    int size = wish < share ? wish : share;
    if (batches->batch_limit > 0 && size > batches->batch_limit) size = batches->batch_limit;
    return size > 1 ? size : 1;
}

// The first `most` items of *batch, which keeps the rest.
static struct wire_batch split(struct wire_batch *batch, int most)
{
    struct wire_batch part = *batch;
    if (part.count > most) part.count = most;
    batch->first += part.count;
    batch->count -= part.count;
    return part;
}

static struct wire_batch take_leftover(struct batches *batches, int rank, int most)
{
    int newest = batches->n_leftovers - 1;
    for (int i = newest; i >= 0 && i > newest - LOOKS; i--) {
        struct leftover *leftover = &batches->leftovers[i];
        if (leftover->last_rank == rank && batches->ranks > 1) continue;
        struct wire_batch part = split(&leftover->batch, most);
        if (leftover->batch.count == 0) *leftover = batches->leftovers[--batches->n_leftovers];
        return part;
    }
    return (struct wire_batch){0};
}

struct wire_batch batches_take(struct batches *batches, int rank, int wish, bool together)
{
    if (batches->ended) return (struct wire_batch){0};
    int most = batch_size(batches, wish, together);
    struct wire_batch batch = take_leftover(batches, rank, most);
    if (batch.count == 0) {
        struct wire_batch fresh = {.first = batches->next, .count = batches->n_items - batches->next};
        batch = split(&fresh, most);
        batches->next += batch.count;
    }
    batches->left -= batch.count;
    batches->out += batch.count;
    batches->batches_out += batch.count > 0;
    return batch;
}

// ---- what came of it ----

static void keep(struct batches *batches, struct wire_batch batch, int last_rank, struct error *err)
{
    if (batches->n_leftovers == batches->room) {
        int room = batches->room ? 2 * batches->room : 16;
        struct leftover *grown = realloc(batches->leftovers, (size_t)room * sizeof *grown);
        if (!grown) {
            batches->ended = true;
            error_memory(err, (unsigned long long)room * sizeof *grown, "items that are left");
            return;
        }
        batches->leftovers = grown;
        batches->room = room;
    }
    batches->leftovers[batches->n_leftovers++] = (struct leftover){.batch = batch, .last_rank = last_rank};
    batches->left += batch.count;
}

static void note_failure(struct batches *batches, int item, int attempt, int rank, struct error *err)
{
    if (attempt + 1 >= batches->attempts)
        batches->given_up++;
    else
        keep(batches, (struct wire_batch){.first = item, .count = 1, .attempt = attempt + 1}, rank, err);
    if (++batches->in_vain == FAILURES_PER_RANK * batches->ranks + FAILURES_BEYOND) batches->ended = true;
}

void batches_note(struct batches *batches, const struct wire_request *report, int rank, struct error *err)
{
    struct wire_batch rest = report->batch;
    if (rest.count == 0) return;
    batches->out -= rest.count;
    batches->batches_out--;
    batches->done += split(&rest, report->done).count;
    if (report->done > 0) batches->in_vain = 0;
    if (report->outcome != WIRE_DONE) {
        int item = split(&rest, 1).first;
        if (report->outcome == WIRE_FATAL) batches->ended = true;
        if (report->outcome == WIRE_FAILED) note_failure(batches, item, rest.attempt, rank, err);
    }
    if (rest.count > 0) keep(batches, rest, NOBODY, err);
}

bool batches_waits(const struct batches *batches)
{
    if (batches->ended) return false;
    bool may_fail = batches->attempts > 1 && batches->out > 0;
    bool may_be_handed_back = batches->out > batches->batches_out;
    return batches->left > 0 || may_fail || may_be_handed_back;
}

int batches_wish(const struct wire_request *report, int wish, double seconds)
{
    if (report->outcome != WIRE_DONE || report->done == 0) return 1;
    double fit = seconds > 0 ? 1e-3 * BATCH_MILLISECONDS * report->done / seconds : MOST_WISHED;
    if (fit > 2.0 * wish) fit = 2.0 * wish;
    if (fit > MOST_WISHED) fit = MOST_WISHED;
    return fit > 1 ? (int)fit : 1;
}
