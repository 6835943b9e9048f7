// SPDX-License-Identifier: Apache-2.0
#include "plan_order.h"

#include <stdlib.h>

#include "ssmsweep/plan/finished.h"
#include "ssmsweep/plan/plan.h"

enum { MOST_SORTED = 1 << 20 };

// ---- the order of samples ----

static bool is_sorted(const struct corpus *corpus)
{
    for (int s = 1; s < corpus->samples; s++)
        if (corpus->length[s] > corpus->length[s - 1]) return false;
    return true;
}

enum status order_samples(int **order, const struct corpus *corpus, struct error *err)
{
    *order = NULL;
    if (corpus->samples > MOST_SORTED || is_sorted(corpus)) return STATUS_OK;
    int32_t longest = 0;
    for (int s = 0; s < corpus->samples; s++)
        longest = corpus->length[s] > longest ? corpus->length[s] : longest;
    int *sorted = calloc((size_t)corpus->samples, sizeof *sorted);
    int *place = calloc((size_t)longest + 2, sizeof *place); // of the next sample with so many tokens
    if (!sorted || !place) {
        free(sorted);
        free(place);
        return error_memory(err, ((size_t)corpus->samples + (size_t)longest) * sizeof *place, "the plan");
    }
    for (int s = 0; s < corpus->samples; s++)
        place[corpus->length[s]]++;
    for (int32_t length = longest, first = 0; length >= 0; length--) {
        const int count = place[length];
        place[length] = first;
        first += count;
    }
    for (int s = 0; s < corpus->samples; s++)
        sorted[place[corpus->length[s]]++] = s;
    free(place);
    *order = sorted;
    return STATUS_OK;
}

int plan_sample(const struct plan *plan, int place)
{
    return plan->order ? plan->order[place] : place;
}

// ---- items ----

// The index-th of all items, finished ones too.
static struct item any_item(const struct plan *plan, int index)
{
    const struct stretch *stretch = plan->stretches;
    while (index - stretch->first_item >= stretch->n_items)
        stretch++;
    const int i = index - stretch->first_item, begin = i / stretch->n_groups * stretch->shard,
              rest = stretch->samples - begin;
    return (struct item){.group = stretch->first_group + i % stretch->n_groups,
                         .first_place = stretch->first_place + begin,
                         .samples = rest < stretch->shard ? rest : stretch->shard};
}

// ---- what is left of them ----

enum { WORD_BITS = 64, BLOCK_WORDS = 8 };

static int word_of(int item)
{
    return item / WORD_BITS;
}

static int all_items(const struct plan *plan)
{
    const struct stretch *last = &plan->stretches[plan->n_stretches - 1];
    return last->first_item + last->n_items;
}

static int count_blocks(const struct plan *plan)
{
    return word_of(all_items(plan) - 1) / BLOCK_WORDS + 1;
}

struct item plan_item(const struct plan *plan, int index)
{
    if (!plan->left) return any_item(plan, index);
    // The last block with no more than `index` items left before it, then the word, then the bit.
    int low = 0, high = count_blocks(plan);
    while (high - low > 1) {
        const int middle = low + (high - low) / 2;
        *(plan->left_before[middle] <= index ? &low : &high) = middle;
    }
    int word = low * BLOCK_WORDS, ahead = index - plan->left_before[low];
    for (int here; (here = __builtin_popcountll(plan->left[word])) <= ahead; word++)
        ahead -= here;
    uint64_t bits = plan->left[word];
    while (ahead-- > 0)
        bits &= bits - 1;
    return any_item(plan, word * WORD_BITS + __builtin_ctzll(bits));
}

static bool is_left(const struct plan *plan, const struct item *item, const struct finished *finished)
{
    const struct group *group = &plan->groups[item->group];
    for (int m = 0; m < group->count; m++) {
        const int run = plan->members[group->first + m];
        for (int p = item->first_place; p < item->first_place + item->samples; p++)
            if (!finished_has(finished, run, plan_sample(plan, p))) return true;
    }
    return false;
}

enum status plan_drop(struct plan *plan, const struct finished *finished, struct error *err)
{
    const int items = all_items(plan), blocks = count_blocks(plan);
    uint64_t *left = calloc((size_t)blocks * BLOCK_WORDS, sizeof *left);
    int *left_before = calloc((size_t)blocks, sizeof *left_before), n = 0;
    if (!left || !left_before) {
        free(left);
        free(left_before);
        return error_memory(err, (size_t)blocks * (BLOCK_WORDS + 1) * sizeof *left,
                            "what is left of the plan");
    }
    for (int i = 0; i < items; i++) {
        const struct item item = any_item(plan, i);
        if (i % (BLOCK_WORDS * WORD_BITS) == 0) left_before[i / (BLOCK_WORDS * WORD_BITS)] = n;
        if (!is_left(plan, &item, finished)) continue;
        left[word_of(i)] |= (uint64_t)1 << (i % WORD_BITS);
        n++;
    }
    free(plan->left);
    free(plan->left_before);
    plan->left = left;
    plan->left_before = left_before;
    plan->n_items = n;
    return STATUS_OK;
}
