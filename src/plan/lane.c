// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/plan/lane.h"

static void lane_carve(struct lane *lane, struct arena *arena, const struct plan *plan,
                       const struct dims *dims, int max_tokens)
{
    const size_t stream = stream_floats(dims, max_tokens) * sizeof(float);
    const size_t places = (size_t)plan->n_layer * (size_t)plan->arch->n_components;
    const bool reruns = plan_reruns(plan) > 0;
    lane->stream.residual = arena_take(arena, stream);
    lane->stream.h = arena_take(arena, stream);
    lane->moments = arena_take(arena, places * sizeof *lane->moments);
    lane->apart = arena_take(arena, reruns ? places * sizeof *lane->apart : 0);
    lane->isolated = arena_take(arena, plan->isolated ? places * sizeof *lane->isolated : 0);
    lane->histogram = arena_take(arena, places * PROFILE_BINS * sizeof *lane->histogram);
    lane->position = arena_take(arena, places * PLACE_POSITIONS * sizeof *lane->position);
    lane->normed = arena_take(arena, plan->logits ? stream_floats(dims, LOGITS_TOKENS) * sizeof(float) : 0);
    lane->predictions = arena_take(arena, plan->logits ? LOGITS_TOKENS * sizeof *lane->predictions : 0);
    lane->predictions_apart =
        arena_take(arena, plan->logits && reruns ? LOGITS_TOKENS * sizeof *lane->predictions : 0);
}

size_t lane_bytes(const struct plan *plan, const struct dims *dims, int max_tokens)
{
    struct lane unused;
    struct arena arena;
    arena_init_measure(&arena);
    lane_carve(&unused, &arena, plan, dims, max_tokens);
    return arena.used_bytes;
}

// ---- all runs of a group ----

bool group_is_first_of(const struct plan *plan, const struct group *group, int member)
{
    const int *members = plan->members + group->first; // a run in front of its re-runs
    if (plan->runs[members[member]].dither == 0) return true;
    for (int i = 0; i < member; i++)
        if (plan->runs[members[i]].repeats == plan->runs[members[member]].repeats) return false;
    return true;
}

int group_most_lanes(const struct plan *plan)
{
    int most = 0;
    for (int g = 0; g < plan->n_groups; g++) {
        const struct group *group = &plan->groups[g];
        int lanes = 1;
        for (int i = 0; i < group->count; i++) {
            const struct run *run = &plan->runs[plan->members[group->first + i]];
            lanes += run->dither != 0;
            lanes += group_is_first_of(plan, group, i) && run->repeats != group->reference;
        }
        most = lanes > most ? lanes : most;
    }
    return most;
}

void group_buffers_carve(struct group_buffers *b, struct arena *arena, const struct plan *plan,
                         const struct dims *dims, int max_tokens, int threads)
{
    struct lane unused;
    const size_t block = plan->logits ? (size_t)LOGITS_TOKENS * PREDICTION_PIECE * sizeof(float) : 0;
    const bool reruns = plan_reruns(plan) > 0;
    for (int c = 0; c < dims->arch->n_components; c++) {
        const size_t width = (size_t)arch_width(dims, c);
        const size_t bytes = (size_t)max_tokens * width * sizeof(float);
        b->reference[c] = arena_take(arena, bytes);
        b->repeated[c] = arena_take(arena, reruns ? bytes : 0);
        b->values[c] = arena_take(arena, measures_at_once(threads) ? 0 : bytes);
    }
    struct stream *const streams[] = {&b->given[0], &b->given[1], &b->alone};
    for (size_t i = 0; i < sizeof streams / sizeof streams[0] && plan->isolated; i++) {
        streams[i]->residual = arena_take(arena, stream_floats(dims, max_tokens) * sizeof(float));
        streams[i]->h = arena_take(arena, stream_floats(dims, max_tokens) * sizeof(float));
    }
    for (int i = 0; i < group_most_lanes(plan); i++)
        lane_carve(b->lanes ? &b->lanes[i] : &unused, arena, plan, dims, max_tokens);
    b->ids = arena_take(arena, (size_t)max_tokens * sizeof *b->ids);
    b->reference_logits = arena_take(arena, block);
    b->repeated_logits = arena_take(arena, reruns ? block : 0);
    b->logits = arena_take(arena, block);
}

size_t group_buffers_bytes(const struct plan *plan, const struct dims *dims, int max_tokens, int threads)
{
    struct group_buffers unused = {0};
    struct arena arena;
    arena_init_measure(&arena);
    group_buffers_carve(&unused, &arena, plan, dims, max_tokens, threads);
    return arena.used_bytes;
}
