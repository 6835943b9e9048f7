// SPDX-License-Identifier: Apache-2.0
// Rank 0's book without messages: batches, what is handed back, failures, and that nothing is kept per item.
#include "../support.h"
#include "batches.h"
#include "ssmsweep/base/random.h"

enum { HUGE_WISH = 1 << 20 };

static struct wire_request report(struct wire_batch batch, int done, enum wire_outcome outcome)
{
    return (struct wire_request){.batch = batch, .done = done, .outcome = outcome};
}

static void note(struct batches *batches, const struct wire_request *request, int rank)
{
    struct error err = {0};
    batches_note(batches, request, rank, &err);
    assert_int_equal(err.status, STATUS_OK);
}

static void batches_are_neighbours_and_shrink(void **state)
{
    (void)state;
    struct batches batches;
    const int n = 1000 * 1000, ranks = 16;
    int next = 0, times = 0, before = n, single = 0;
    batches_open(&batches, n, ranks, 1, 0);
    for (;;) {
        struct wire_batch batch = batches_take(&batches, times % ranks, HUGE_WISH, false);
        if (batch.count == 0) break;
        assert_int_equal(batch.first, next);
        assert_true(batch.count <= before &&
                    batch.count <= 1 + (n - next) / (2 * ranks)); // no more than a share
        single += batch.count == 1;
        before = batch.count;
        next += batch.count;
        times++;
        struct wire_request all = report(batch, batch.count, WIRE_DONE);
        note(&batches, &all, times % ranks);
    }
    assert_int_equal(next, n);
    assert_int_equal(batches.done, n);
    assert_true(times < n / 1000);    // far fewer than items
    assert_true(single >= 2 * ranks); // the tail: each rank gets its last items one by one
    assert_null(batches.leftovers);   // nothing per item
    batches_close(&batches);
}

static void limits_are_kept(void **state)
{
    (void)state;
    struct batches batches;
    batches_open(&batches, 10000, 2, 1, 7);
    assert_int_equal(batches_take(&batches, 0, 5, false).count, 5);         // the wish
    assert_int_equal(batches_take(&batches, 0, HUGE_WISH, false).count, 7); // the limit
    assert_int_equal(batches_take(&batches, 0, 0, false).count, 1);
    batches_close(&batches);
    batches_open(&batches, 100, 4, 1, 0);
    batches.together = 2; // fast ranks share out what is left among themselves
    assert_int_equal(batches_take(&batches, 0, 32, true).count, 32);
    assert_int_equal(batches_take(&batches, 1, 64, true).count, 34);
    assert_int_equal(batches_take(&batches, 2, 64, false).count, 2);
    batches_close(&batches);
    batches_open(&batches, 0, 2, 3, 0);
    assert_int_equal(batches_take(&batches, 0, HUGE_WISH, false).count, 0);
    assert_false(batches_waits(&batches));
    batches_close(&batches);
}

static void a_failure_hands_the_rest_back(void **state)
{
    (void)state;
    struct batches batches;
    batches_open(&batches, 1000, 2, 3, 0);
    struct wire_batch batch = batches_take(&batches, 0, 100, false);
    assert_int_equal(batch.count, 100);
    struct wire_request failed = report(batch, 30, WIRE_FAILED);
    note(&batches, &failed, 0);
    assert_int_equal(batches.done, 30);
    assert_int_equal(batches.left, 970);
    batch = batches_take(&batches, 0, 50, false); // the rest first, and not what failed here
    assert_int_equal(batch.first, 31);
    assert_int_equal(batch.count, 50);
    batch = batches_take(&batches, 1, 100, false);
    assert_int_equal(batch.first, 81);
    assert_int_equal(batch.count, 19);
    batch = batches_take(&batches, 1, 100, false);
    assert_int_equal(batch.first, 30);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.attempt, 1);
    batch = batches_take(&batches, 1, 1, false);
    assert_int_equal(batch.first, 100);
    assert_int_equal(batch.attempt, 0);
    batches_close(&batches);
}

static void those_without_work_wait_for_what_may_come_back(void **state)
{
    (void)state;
    struct batches batches;
    batches_open(&batches, 16, 2, 1, 0);
    struct wire_batch batch = batches_take(&batches, 0, 8, false);
    assert_int_equal(batch.count, 2);
    while (batches.left > 0) {
        struct wire_batch other = batches_take(&batches, 1, 1, false);
        struct wire_request all = report(other, 1, WIRE_DONE);
        note(&batches, &all, 1);
    }
    assert_true(batches_waits(&batches)); // one of the two may be handed back
    struct wire_request first = report(batch, 1, WIRE_DONE);
    note(&batches, &first, 0);
    assert_true(batches_waits(&batches)); // it was
    batch = batches_take(&batches, 1, 8, false);
    assert_int_equal(batch.count, 1);
    assert_false(batches_waits(&batches)); // a single item with one attempt
    batches_close(&batches);
    batches_open(&batches, 1, 2, 2, 0);
    batches_take(&batches, 0, 1, false);
    assert_true(batches_waits(&batches)); // it may fail, and be another rank's
    batches_close(&batches);
}

// ---- many items, ranks that work in any order ----

enum { ITEMS = 100 * 1000, RANKS = 8, ATTEMPTS = 3, BATCH_TURNS = 6 };

struct walk {
    struct batches batches;
    struct wire_batch at[RANKS];
    int *runs, *last_rank; // [ITEMS]
    uint64_t stream, index;
    int most_leftovers;
};

static int below(struct walk *walk, int n)
{
    return (int)random_below(walk->stream, walk->index++, (uint64_t)n);
}

// So often an item fails: 0 for most.
static int failures(const struct walk *walk, int item)
{
    uint64_t bits = random_bits(walk->stream ^ 1, (uint64_t)item);
    return bits % 300 ? 0 : (int)(bits / 300 % 5);
}

// Runs up to `most` items; what came of them.
static struct wire_request run(struct walk *walk, int rank, int most)
{
    struct wire_batch batch = walk->at[rank];
    struct wire_request done = report(batch, 0, WIRE_DONE);
    for (int item = batch.first; item < batch.first + batch.count && done.done < most; item++) {
        assert_int_equal(batch.attempt, walk->runs[item]);
        assert_true(batch.attempt == 0 || walk->last_rank[item] != rank);
        walk->last_rank[item] = rank;
        if (walk->runs[item]++ < failures(walk, item)) {
            done.outcome = WIRE_FAILED;
            break;
        }
        done.done++;
    }
    return done;
}

static void step(struct walk *walk, int rank)
{
    if (walk->at[rank].count == 0) {
        walk->at[rank] = batches_take(&walk->batches, rank, 1 + below(walk, 2000), false);
        return;
    }
    bool early = below(walk, BATCH_TURNS) == 0;
    struct wire_request done = run(walk, rank, early ? 1 + below(walk, walk->at[rank].count) : ITEMS);
    note(&walk->batches, &done, rank);
    walk->at[rank].count = 0;
    if (walk->batches.n_leftovers > walk->most_leftovers) walk->most_leftovers = walk->batches.n_leftovers;
}

static void every_item_is_done_or_given_up(void **state)
{
    (void)state;
    struct walk walk = {.stream = random_stream(7, "handout")};
    int given_up = 0;
    walk.runs = calloc(ITEMS, sizeof *walk.runs);
    walk.last_rank = calloc(ITEMS, sizeof *walk.last_rank);
    assert_true(walk.runs && walk.last_rank);
    batches_open(&walk.batches, ITEMS, RANKS, ATTEMPTS, 0);
    for (long steps = 0; batches_waits(&walk.batches); steps++) {
        assert_true(steps < 10L * ITEMS);
        step(&walk, below(&walk, RANKS));
    }
    assert_false(walk.batches.ended);
    for (int item = 0; item < ITEMS; item++) {
        bool lost = failures(&walk, item) >= ATTEMPTS;
        assert_int_equal(walk.runs[item], lost ? ATTEMPTS : failures(&walk, item) + 1);
        given_up += lost;
    }
    assert_true(given_up > 0);
    assert_int_equal(walk.batches.given_up, given_up);
    assert_int_equal(walk.batches.done, ITEMS - given_up);
    assert_true(walk.most_leftovers > 0 && walk.most_leftovers < 20 * RANKS); // not a matter of items
    batches_close(&walk.batches);
    free(walk.runs);
    free(walk.last_rank);
}

// Of two ranks one fails with everything, much faster than the other works: what it failed with is the
// other's, also behind more of them than are looked at, and looking stays cheap.
static void one_bad_rank_spoils_nothing(void **state)
{
    (void)state;
    struct batches batches;
    const int n = 20000;
    batches_open(&batches, n, 2, 2, 0);
    int wish = 1;
    for (int turn = 0; batches_waits(&batches); turn++) {
        assert_true(turn < 12 * n);
        int rank = turn % 11 != 0; // rank 1 fails ten times while rank 0 does one item
        struct wire_batch batch = batches_take(&batches, rank, rank ? wish : 1, false);
        struct wire_request came = report(batch, rank ? 0 : batch.count, rank ? WIRE_FAILED : WIRE_DONE);
        note(&batches, &came, rank);
    }
    assert_false(batches.ended);
    assert_int_equal(batches.given_up, 0);
    assert_int_equal(batches.done, n);
    batches_close(&batches);
}

static void nothing_but_failures_ends_the_phase(void **state)
{
    (void)state;
    struct batches batches;
    batches_open(&batches, 1000, 4, 3, 0);
    int failed = 0;
    for (; !batches.ended; failed++) {
        assert_true(failed < 100);
        struct wire_request bad = report(batches_take(&batches, failed % 4, 10, false), 0, WIRE_FAILED);
        note(&batches, &bad, failed % 4);
    }
    assert_int_equal(failed, 3 * 4 + 9);
    assert_int_equal(batches_take(&batches, 0, 10, false).count, 0);
    assert_false(batches_waits(&batches));
    batches_close(&batches);
}

static void the_wish_follows_the_time(void **state)
{
    (void)state;
    struct wire_batch hundred = {.count = 100};
    struct wire_request all = report(hundred, 100, WIRE_DONE), bad = report(hundred, 99, WIRE_FAILED);
    struct wire_request none = report(hundred, 0, WIRE_DONE);
    assert_int_equal(batches_wish(&all, 100, 1e-4), 200); // twice as much at most
    assert_int_equal(batches_wish(&all, 100, 0), 200);
    assert_int_equal(batches_wish(&all, 100, 0.0401), 124); // 50 ms
    assert_int_equal(batches_wish(&all, 100, 10), 1);       // long items
    assert_int_equal(batches_wish(&bad, 100, 1e-4), 1);
    assert_int_equal(batches_wish(&none, 100, 1e-4), 1);
    int wish = 1;
    for (int i = 0; i < 64; i++)
        wish = batches_wish(&all, wish, 1e-9);
    assert_true(wish > 1 << 16 && wish <= HUGE_WISH); // no overflow
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_neighbours_and_shrink),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(a_failure_hands_the_rest_back),
        cmocka_unit_test(those_without_work_wait_for_what_may_come_back),
        cmocka_unit_test(every_item_is_done_or_given_up),
        cmocka_unit_test(one_bad_rank_spoils_nothing),
        cmocka_unit_test(nothing_but_failures_ends_the_phase),
        cmocka_unit_test(the_wish_follows_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
