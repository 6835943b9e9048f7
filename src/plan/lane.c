// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/plan/lane.h"

#include "ssmsweep/compute/kernels.h"

static void lane_carve(struct lane *lane, struct arena *arena, struct arena *there, const struct plan *plan,
                       const struct dims *dims, const struct group_shape *shape)
{
    const size_t stream = stream_floats(dims, shape->max_tokens) * sizeof(float);
    const size_t places = (size_t)shape->samples * (size_t)plan->n_layer * (size_t)plan->arch->n_components;
    const size_t profiles = plan->profiles ? places : 0;
    const size_t predictions = plan->logits ? (size_t)shape->logits_tokens : 0;
    const size_t kept =
        !plan->logits ? 0 : (size_t)(shape->on_host ? shape->logits_tokens : shape->max_tokens);
    const bool reruns = plan_reruns(plan) > 0;
    lane->stream.residual = arena_take(there, stream);
    lane->stream.h = arena_take(there, stream);
    lane->moments = arena_take(arena, places * sizeof *lane->moments);
    lane->apart = arena_take(arena, reruns ? places * sizeof *lane->apart : 0);
    lane->isolated = arena_take(arena, plan->isolated ? places * sizeof *lane->isolated : 0);
    lane->histogram = arena_take(arena, profiles * PROFILE_BINS * sizeof *lane->histogram);
    lane->position = arena_take(arena, profiles * PLACE_POSITIONS * sizeof *lane->position);
    lane->normed = arena_take(there, stream_floats(dims, (int)predictions) * sizeof(float));
    lane->predictions = arena_take(arena, kept * sizeof *lane->predictions);
    lane->predictions_apart = arena_take(arena, reruns ? kept * sizeof *lane->predictions : 0);
}

size_t lane_bytes(const struct plan *plan, const struct dims *dims, int max_tokens)
{
    struct lane unused;
    struct arena arena;
    const struct group_shape shape = group_shape_of(max_tokens, 1);
    arena_init_measure(&arena);
    lane_carve(&unused, &arena, &arena, plan, dims, &shape);
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

void group_buffers_carve(struct group_buffers *b, struct arena *arena, struct arena *there,
                         const struct plan *plan, const struct dims *dims, const struct group_shape *shape)
{
    struct lane unused;
    const size_t tokens = (size_t)shape->max_tokens,
                 stream = stream_floats(dims, shape->max_tokens) * sizeof(float);
    const size_t ids = (size_t)(shape->logits_ids + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    const size_t block = plan->logits ? (size_t)shape->logits_tokens * ids * sizeof(float) : 0;
    const bool reruns = plan_reruns(plan) > 0;
    for (int c = 0; c < dims->arch->n_components; c++) {
        const size_t bytes = tokens * (size_t)arch_width(dims, c) * sizeof(float);
        b->reference[c] = arena_take(there, bytes);
        b->repeated[c] = arena_take(there, reruns ? bytes : 0);
        b->values[c] = arena_take(there, measures_at_once(shape) ? 0 : bytes);
        const size_t blocks = (tokens * (size_t)arch_width(dims, c) + PAIR_BLOCK - 1) / PAIR_BLOCK;
        b->known[c] = arena_take(arena, measures_at_once(shape) ? blocks * sizeof *b->known[c] : 0);
    }
    struct stream *const streams[] = {&b->given[0], &b->given[1], &b->alone};
    for (size_t i = 0; i < sizeof streams / sizeof streams[0] && plan->isolated; i++) {
        streams[i]->residual = arena_take(there, stream);
        streams[i]->h = arena_take(there, stream);
    }
    for (int i = 0; i < group_most_lanes(plan); i++)
        lane_carve(b->lanes ? &b->lanes[i] : &unused, arena, there, plan, dims, shape);
    b->ids = arena_take(arena, tokens * sizeof *b->ids);
    b->reference_logits = arena_take(there, block);
    b->repeated_logits = arena_take(there, reruns ? block : 0);
    b->logits = arena_take(there, block);
}

size_t group_buffers_bytes(const struct plan *plan, const struct dims *dims, int max_tokens, int threads)
{
    struct group_buffers unused = {0};
    struct arena arena;
    const struct group_shape shape = group_shape_of(max_tokens, threads);
    arena_init_measure(&arena);
    group_buffers_carve(&unused, &arena, &arena, plan, dims, &shape);
    return arena.used_bytes;
}
