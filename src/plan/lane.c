// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/plan/lane.h"

void lane_carve(struct lane *lane, struct arena *arena, const struct plan *plan, const struct dims *dims,
                int max_tokens)
{
    const size_t stream = stream_floats(dims, max_tokens) * sizeof(float);
    const size_t places = (size_t)plan->n_layer * (size_t)plan->arch->n_components;
    const bool reruns = plan_reruns(plan) > 0;
    lane->stream.residual = arena_take(arena, stream);
    lane->stream.h = arena_take(arena, stream);
    lane->moments = arena_take(arena, places * sizeof *lane->moments);
    lane->apart = arena_take(arena, reruns ? places * sizeof *lane->apart : 0);
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
