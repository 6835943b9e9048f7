// SPDX-License-Identifier: Apache-2.0
#include "handout.h"

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

void handout_open(struct handout *handout, int n_items, int ranks, int attempts, int batch_limit)
{
    *handout = (struct handout){.n_items = n_items,
                                .ranks = ranks,
                                .attempts = attempts,
                                .batch_limit = batch_limit,
                                .left = n_items};
}

void handout_close(struct handout *handout)
{
    free(handout->leftovers);
    *handout = (struct handout){0};
}

// ---- hand out ----

static int batch_size(const struct handout *handout, int wish)
{
    int share = handout->left / SHARES_PER_RANK / handout->ranks;
    int size = wish < share ? wish : share;
    if (handout->batch_limit > 0 && size > handout->batch_limit) size = handout->batch_limit;
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

static struct wire_batch take_leftover(struct handout *handout, int rank, int most)
{
    int newest = handout->n_leftovers - 1;
    for (int i = newest; i >= 0 && i > newest - LOOKS; i--) {
        struct leftover *leftover = &handout->leftovers[i];
        if (leftover->last_rank == rank && handout->ranks > 1) continue;
        struct wire_batch part = split(&leftover->batch, most);
        if (leftover->batch.count == 0) *leftover = handout->leftovers[--handout->n_leftovers];
        return part;
    }
    return (struct wire_batch){0};
}

struct wire_batch handout_take(struct handout *handout, int rank, int wish)
{
    if (handout->ended) return (struct wire_batch){0};
    int most = batch_size(handout, wish);
    struct wire_batch batch = take_leftover(handout, rank, most);
    if (batch.count == 0) {
        struct wire_batch fresh = {.first = handout->next, .count = handout->n_items - handout->next};
        batch = split(&fresh, most);
        handout->next += batch.count;
    }
    handout->left -= batch.count;
    handout->out += batch.count;
    handout->batches_out += batch.count > 0;
    return batch;
}

// ---- what came of it ----

static void keep(struct handout *handout, struct wire_batch batch, int last_rank, struct error *err)
{
    if (handout->n_leftovers == handout->room) {
        int room = handout->room ? 2 * handout->room : 16;
        struct leftover *grown = realloc(handout->leftovers, (size_t)room * sizeof *grown);
        if (!grown) {
            handout->ended = true;
            error_memory(err, (unsigned long long)room * sizeof *grown, "items that are left");
            return;
        }
        handout->leftovers = grown;
        handout->room = room;
    }
    handout->leftovers[handout->n_leftovers++] = (struct leftover){.batch = batch, .last_rank = last_rank};
    handout->left += batch.count;
}

static void note_failure(struct handout *handout, int item, int attempt, int rank, struct error *err)
{
    if (attempt + 1 >= handout->attempts)
        handout->given_up++;
    else
        keep(handout, (struct wire_batch){.first = item, .count = 1, .attempt = attempt + 1}, rank, err);
    if (++handout->in_vain == FAILURES_PER_RANK * handout->ranks + FAILURES_BEYOND) handout->ended = true;
}

void handout_note(struct handout *handout, const struct wire_request *report, int rank, struct error *err)
{
    struct wire_batch rest = report->batch;
    if (rest.count == 0) return;
    handout->out -= rest.count;
    handout->batches_out--;
    handout->done += split(&rest, report->done).count;
    if (report->done > 0) handout->in_vain = 0;
    if (report->outcome != WIRE_DONE) {
        int item = split(&rest, 1).first;
        if (report->outcome == WIRE_FATAL) handout->ended = true;
        if (report->outcome == WIRE_FAILED) note_failure(handout, item, rest.attempt, rank, err);
    }
    if (rest.count > 0) keep(handout, rest, NOBODY, err);
}

bool handout_waits(const struct handout *handout)
{
    if (handout->ended) return false;
    bool may_fail = handout->attempts > 1 && handout->out > 0;
    bool may_be_handed_back = handout->out > handout->batches_out;
    return handout->left > 0 || may_fail || may_be_handed_back;
}

int handout_wish(const struct wire_request *report, int wish, double seconds)
{
    if (report->outcome != WIRE_DONE || report->done == 0) return 1;
    double fit = seconds > 0 ? 1e-3 * BATCH_MILLISECONDS * report->done / seconds : MOST_WISHED;
    if (fit > 2.0 * wish) fit = 2.0 * wish;
    if (fit > MOST_WISHED) fit = MOST_WISHED;
    return fit > 1 ? (int)fit : 1;
}
