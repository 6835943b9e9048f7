// SPDX-License-Identifier: Apache-2.0
// The scan of Mamba-2, token after token and chunk by chunk, and its gated RMSNorm.  Lanes are channels of a
// head, or tokens where a sum is over states; no sum crosses lanes but that of the norm.
#include "vec.h"

// States and vectors of channels that the scan token after token keeps in registers; vectors of a product.
#if defined(ISA_AVX512)
enum { SSD_STATES = 8, SSD_WIDE = 2, SSD_VECTORS = 4 };
#elif defined(ISA_ONE)
enum { SSD_STATES = 8, SSD_WIDE = 1, SSD_VECTORS = 2 };
#else
enum { SSD_STATES = 4, SSD_WIDE = 2, SSD_VECTORS = 2 };
#endif
enum { SSD_TOKENS = 64, SSD_ROWS = 4, SSD_COLUMNS = 64 };

// The first `count` lanes; the others are zero, or stay as they are in memory.
VEC vf load_part(const float *p, int count)
{
    float v[VW] = {0};
    if (count >= VW) return vf_load(p);
    if (VW > 1) memcpy(v, p, (size_t)count * sizeof *v);
    return vf_load(v);
}

VEC void store_part(float *p, vf v, int count)
{
    if (count >= VW)
        vf_store(p, v);
    else if (VW > 1)
        memcpy(p, &v, (size_t)count * sizeof *p);
}

// One vector of heads at one token.
VEC void ssd_times_at(const struct ssd *s, long row, int head)
{
    const long at = row * round_up16(s->heads) + head;
    vf d = vf_softplus(vf_load(s->dt + row * s->lddt + head) + vf_load(s->dt_bias + head));
    d = vf_max(vf_set1(s->dt_min), vf_min(vf_set1(s->dt_max), d)); // NaN comes through
    const vf a = d * vf_load(s->A + head);
    vf_store(s->delta + at, d);
    vf_store(s->dA + at, s->order == SSD_SEQUENTIAL ? vf_exp(a) : a);
}

static void ssd_times(const struct ssd *s, int row0, int row1)
{
    for (long row = row0; row < row1; row++)
        for (int head = 0; head < round_up16(s->heads); head += VW)
            ssd_times_at(s, row, head);
}

// Neighbouring channels of one head.
struct ssd_part {
    int head, first, width; // of the head's channels
    long ld_heads;
    const float *u;     // of token 0
    const float *B, *C; // of token 0 and the head's group
    float *y;           // of token 0
    float *state;       // [d_state][ld_state]
    long ld_state;
};

// Up to `most` channels from unit `unit` on, where *unit moves behind them.
VEC struct ssd_part ssd_part(const struct ssd *s, int *unit, int end, int most)
{
    const int ld = round_up16(s->head_dim), per_head = ld / KERNEL_LANES, head = *unit / per_head;
    const int first = *unit % per_head * KERNEL_LANES;
    int units = most / KERNEL_LANES;
    if (units > per_head - *unit % per_head) units = per_head - *unit % per_head;
    if (units > end - *unit) units = end - *unit;
    *unit += units;
    const long channel = (long)head * s->head_dim + first, group = head / (s->heads / s->groups);
    const int left = s->head_dim - first;
    return (struct ssd_part){.head = head,
                             .first = first,
                             .width = left < units * KERNEL_LANES ? left : units * KERNEL_LANES,
                             .ld_heads = round_up16(s->heads),
                             .u = s->u + channel,
                             .B = s->B + group * s->d_state,
                             .C = s->C + group * s->d_state,
                             .y = s->y + channel,
                             .state = s->state + (long)head * s->d_state * ld + first,
                             .ld_state = ld};
}

// ---- token after token ----

// One step of a state, x = delta u, and its share of the output.
VEC void ssd_state(vf decay, vf x, vf b, vf c, vf *state, vf *sum)
{
    *state = vf_fma(decay, *state, x * b);
    *sum = vf_fma(*state, c, *sum);
}

// Some states of some vectors of channels over `tokens`; `states` and `wide` are constants after inlining
// where they are SSD_STATES and SSD_WIDE, or 1.
VEC void ssd_steps(const struct ssd *s, const struct ssd_part *p, int t0, int tokens, int n0, int states,
                   int wide, float *home, const float *du, float *y)
{
    vf state[SSD_STATES][SSD_WIDE];
#pragma GCC unroll 16
    for (int n = 0; n < states; n++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            state[n][j] = vf_load(home + (n0 + n) * p->ld_state + j * VW);
    for (int t = 0; t < tokens; t++) {
        const float *B = p->B + (t0 + t) * s->ldbc + n0, *C = p->C + (t0 + t) * s->ldbc + n0;
        const vf decay = vf_set1(s->dA[(t0 + t) * p->ld_heads + p->head]);
        vf x[SSD_WIDE], sum[SSD_WIDE];
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++) {
            x[j] = vf_load(du + (t * wide + j) * VW);
            sum[j] = vf_load(y + (t * wide + j) * VW);
        }
#pragma GCC unroll 16
        for (int n = 0; n < states; n++) {
            const vf b = vf_set1(B[n]), c = vf_set1(C[n]);
#pragma GCC unroll 4
            for (int j = 0; j < wide; j++)
                ssd_state(decay, x[j], b, c, &state[n][j], &sum[j]);
        }
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            vf_store(y + (t * wide + j) * VW, sum[j]);
    }
#pragma GCC unroll 16
    for (int n = 0; n < states; n++)
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++)
            vf_store(home + (n0 + n) * p->ld_state + j * VW, state[n][j]);
}

// Channels from `lane` on.  scratch: delta u and y [SSD_TOKENS][wide * VW] each.
VEC void ssd_vectors(const struct ssd *s, const struct ssd_part *p, int lane, int wide, float *scratch)
{
    float *du = scratch, *y = du + SSD_TOKENS * wide * VW, *home = p->state + lane;
    const vf skip = vf_set1(s->D[p->head]);
    for (int n = 0; n < s->d_state; n++)
        for (int j = 0; j < wide; j++)
            vf_store(home + n * p->ld_state + j * VW, vf_zero());
    for (int t0 = 0; t0 < s->length; t0 += SSD_TOKENS) {
        const int tokens = s->length - t0 < SSD_TOKENS ? s->length - t0 : SSD_TOKENS;
        for (int t = 0; t < tokens; t++)
            for (int j = 0; j < wide; j++) {
                const int at = lane + j * VW;
                const vf delta = vf_set1(s->delta[(t0 + t) * p->ld_heads + p->head]);
                vf_store(du + (t * wide + j) * VW,
                         delta * load_part(p->u + (t0 + t) * s->ldu + at, p->width - at));
                vf_store(y + (t * wide + j) * VW, vf_zero());
            }
        int n0 = 0;
        for (; n0 + SSD_STATES <= s->d_state; n0 += SSD_STATES)
            ssd_steps(s, p, t0, tokens, n0, SSD_STATES, wide, home, du, y);
        for (; n0 < s->d_state; n0++)
            ssd_steps(s, p, t0, tokens, n0, 1, wide, home, du, y);
        for (int t = 0; t < tokens; t++)
            for (int j = 0; j < wide; j++) {
                const int at = lane + j * VW, left = p->width - at;
                const vf v = vf_fma(skip, load_part(p->u + (t0 + t) * s->ldu + at, left),
                                    vf_load(y + (t * wide + j) * VW));
                store_part(p->y + (t0 + t) * s->ldy + at, s->half ? vf_round_half(v) : v, left);
            }
    }
}

static void ssd_sequential(const struct ssd *s, int unit0, int unit1, float *scratch)
{
    for (int unit = unit0; unit < unit1;) {
        const struct ssd_part p = ssd_part(s, &unit, unit1, SSD_COLUMNS);
        int lane = 0;
        for (; SSD_WIDE > 1 && lane + SSD_WIDE * VW <= p.width; lane += SSD_WIDE * VW)
            ssd_vectors(s, &p, lane, SSD_WIDE, scratch);
        for (; lane < p.width; lane += VW)
            ssd_vectors(s, &p, lane, 1, scratch);
    }
}

// ---- chunk by chunk ----

VEC vf ssd_rounded(const struct ssd *s, vf v)
{
    return s->order == SSD_CHUNKED ? v : vf_round_half(v);
}

// w_ts, of C_t.B_s and the running sums of both tokens.
VEC vf ssd_weight(const struct ssd *s, vf product, vf c_t, vf c_s, vf delta_s)
{
    return ssd_rounded(s, product * vf_exp(c_t - c_s) * delta_s);
}

// What a token's B is multiplied with on its way into the state behind the chunk.
VEC vf ssd_reach(vf c_last, vf c, vf delta)
{
    return vf_exp(c_last - c) * delta;
}

// y of the sums over the tokens of the chunk and over the state in front of it; decay: exp(c_t).
VEC vf ssd_output(const struct ssd *s, vf sum, vf earlier, vf decay, vf skip, vf u)
{
    sum = vf_fma(skip, u, vf_fma(earlier, decay, sum));
    return s->half ? vf_round_half(sum) : sum;
}

// out[rows][vectors] = sum over k = 0, 1, ... of a[row][k] b[k]; both are constants after inlining.
VEC void ssd_tile(const float *a, long lda, const float *b, long ldb, int depth, int rows, int vectors,
                  float *out, long ldo)
{
    vf acc[SSD_ROWS][SSD_VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            acc[i][j] = vf_zero();
    for (int k = 0; k < depth; k++)
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const vf x = vf_set1(a[i * lda + k]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++)
                acc[i][j] = vf_fma(x, vf_load(b + k * ldb + j * VW), acc[i][j]);
        }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            vf_store(out + i * ldo + j * VW, acc[i][j]);
}

VEC void ssd_strip(const float *a, long lda, const float *b, long ldb, int depth, int rows, int vectors,
                   float *out, long ldo)
{
    int i = 0;
    for (; i + SSD_ROWS <= rows; i += SSD_ROWS)
        ssd_tile(a + i * lda, lda, b, ldb, depth, SSD_ROWS, vectors, out + i * ldo, ldo);
    for (; i < rows; i++)
        ssd_tile(a + i * lda, lda, b, ldb, depth, 1, vectors, out + i * ldo, ldo);
}

// out[rows][columns] = a[rows][depth] b[depth][columns]; columns a multiple of VW.
static void ssd_product(const float *a, long lda, const float *b, long ldb, int depth, int rows, int columns,
                        float *out, long ldo)
{
    int j = 0;
    for (; j + SSD_VECTORS * VW <= columns; j += SSD_VECTORS * VW)
        ssd_strip(a, lda, b + j, ldb, depth, rows, SSD_VECTORS, out + j, ldo);
    for (; j < columns; j += VW)
        ssd_strip(a, lda, b + j, ldb, depth, rows, 1, out + j, ldo);
}

// What a chunk of one group and its heads share; leading dimension of tokens: ld.
struct ssd_chunk {
    int t0, tokens;
    long ld;
    float *B, *B_cut;      // [d_state][ld] transposed
    float *C_cut, *C_half; // [tokens][d_state]
    float *CB;             // [tokens][ld], C_t . B_s where s <= t
    float *c, *delta;      // [ld] of a head
    float *k;              // [d_state][ld] B (exp(c_last - c) delta)
    float *u, *CS;         // [tokens][SSD_COLUMNS]
    float *state, *added;  // [d_state][SSD_COLUMNS]
    float *w, *sums;       // [SSD_ROWS][ld], [SSD_ROWS][SSD_COLUMNS]
};

static struct ssd_chunk ssd_carve(const struct ssd *s, float *scratch)
{
    const int most = s->chunk < s->length ? s->chunk : s->length;
    const long ld = round_up16(most), N = s->d_state;
    struct ssd_chunk k = {.ld = ld};
    k.B = scratch;
    k.B_cut = k.B + N * ld;
    k.k = k.B_cut + N * ld;
    k.C_cut = k.k + N * ld;
    k.C_half = k.C_cut + N * ld;
    k.CB = k.C_half + N * ld;
    k.c = k.CB + ld * ld;
    k.delta = k.c + ld;
    k.w = k.delta + ld;
    k.u = k.w + SSD_ROWS * ld;
    k.CS = k.u + SSD_COLUMNS * ld;
    k.state = k.CS + SSD_COLUMNS * ld;
    k.added = k.state + SSD_COLUMNS * N;
    k.sums = k.added + SSD_COLUMNS * N;
    return k;
}

VEC float ssd_cut(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits &= 0xffffe000u;
    memcpy(&v, &bits, sizeof v);
    return v;
}

VEC float half_of(float v)
{
    float lanes[VW];
    vf_store(lanes, vf_round_half(vf_set1(v)));
    return lanes[0];
}

// B and C of the chunk, and their products.
static void ssd_share(const struct ssd *s, const struct ssd_part *p, struct ssd_chunk *k)
{
    const int N = s->d_state;
    const bool half = s->order != SSD_CHUNKED, cut = s->order == SSD_CHUNKED_GPU;
    for (int t = 0; t < k->ld; t++)
        for (int n = 0; n < N; n++) {
            const float b = t < k->tokens ? p->B[(k->t0 + t) * s->ldbc + n] : 0;
            k->B[n * k->ld + t] = b;
            k->B_cut[n * k->ld + t] = cut ? ssd_cut(b) : b;
        }
    for (long t = 0; t < k->tokens; t++)
        for (int n = 0; n < N; n++) {
            const float c = p->C[(k->t0 + t) * s->ldbc + n];
            k->C_cut[t * N + n] = cut ? ssd_cut(c) : c;
            k->C_half[t * N + n] = half ? half_of(c) : c;
        }
    for (int t = 0; t < k->tokens; t += SSD_ROWS) {
        const int rows = k->tokens - t < SSD_ROWS ? k->tokens - t : SSD_ROWS;
        ssd_product(k->C_cut + (long)t * N, N, k->B_cut, k->ld, N, rows, round_up16(t + rows),
                    k->CB + t * k->ld, k->ld);
    }
}

// Takes c, delta and the channels of one head as the sums want them.
static void ssd_begin(const struct ssd *s, const struct ssd_part *p, struct ssd_chunk *k, int columns)
{
    float c = 0;
    for (int t = 0; t < k->tokens; t++) {
        const long at = (k->t0 + t) * p->ld_heads + p->head;
        c = t ? c + s->dA[at] : s->dA[at];
        k->c[t] = c;
        k->delta[t] = s->delta[at];
    }
    for (int t = k->tokens; t < k->ld; t++)
        k->c[t] = k->delta[t] = 0;
    for (int t = 0; t < k->tokens; t++)
        for (int j = 0; j < columns; j += VW) {
            const int left = p->width - j > 0 ? p->width - j : 0;
            const vf u = load_part(p->u + (k->t0 + t) * s->ldu + j, left);
            vf_store(k->u + (long)t * SSD_COLUMNS + j, ssd_rounded(s, u));
        }
    for (int n = 0; n < s->d_state; n++)
        for (int j = 0; j < columns; j += VW) {
            const vf v = vf_load(p->state + n * p->ld_state + j);
            vf_store(k->state + (long)n * SSD_COLUMNS + j, ssd_rounded(s, v));
        }
}

// w of tokens [t, t + rows).
VEC void ssd_weights(const struct ssd *s, const struct ssd_chunk *k, int t, int rows)
{
    for (int i = 0; i < rows; i++)
        for (int at = 0; at <= t + i; at += VW) {
            const vf product = vf_load(k->CB + (t + i) * k->ld + at);
            vf_store(k->w + i * k->ld + at, ssd_weight(s, product, vf_set1(k->c[t + i]), vf_load(k->c + at),
                                                       vf_load(k->delta + at)));
        }
}

// y of tokens [t, t + rows): all u in front of t together, the last ones row by row.
VEC void ssd_outputs(const struct ssd *s, const struct ssd_part *p, const struct ssd_chunk *k, int t,
                     int rows, int columns)
{
    const vf skip = vf_set1(s->D[p->head]);
    ssd_product(k->w, k->ld, k->u, SSD_COLUMNS, t, rows, columns, k->sums, SSD_COLUMNS);
    for (int i = 0; i < rows; i++) {
        const vf decay = vf_exp(vf_set1(k->c[t + i]));
        const long row = k->t0 + t + i;
        for (int j = 0; j < p->width; j += VW) {
            vf sum = vf_load(k->sums + i * SSD_COLUMNS + j);
            for (int at = t; at <= t + i; at++)
                sum = vf_fma(vf_set1(k->w[i * k->ld + at]), vf_load(k->u + (long)at * SSD_COLUMNS + j), sum);
            sum = ssd_output(s, sum, vf_load(k->CS + (long)(t + i) * SSD_COLUMNS + j), decay, skip,
                             load_part(p->u + row * s->ldu + j, p->width - j));
            store_part(p->y + row * s->ldy + j, sum, p->width - j);
        }
    }
}

// S = exp(c_last) S + sum_t u_t k_t
VEC void ssd_update(const struct ssd *s, const struct ssd_part *p, const struct ssd_chunk *k, int columns)
{
    const float last = k->c[k->tokens - 1];
    const vf decay = vf_exp(vf_set1(last));
    for (int at = 0; at < k->ld; at += VW) {
        const vf reach = ssd_reach(vf_set1(last), vf_load(k->c + at), vf_load(k->delta + at));
        for (int n = 0; n < s->d_state; n++)
            vf_store(k->k + n * k->ld + at, ssd_rounded(s, vf_load(k->B + n * k->ld + at) * reach));
    }
    ssd_product(k->k, k->ld, k->u, SSD_COLUMNS, k->tokens, s->d_state, columns, k->added, SSD_COLUMNS);
    for (int n = 0; n < s->d_state; n++)
        for (int j = 0; j < columns; j += VW) {
            float *at = p->state + n * p->ld_state + j;
            vf_store(at, vf_fma(decay, vf_load(at), vf_load(k->added + (long)n * SSD_COLUMNS + j)));
        }
}

static void ssd_run_chunk(const struct ssd *s, const struct ssd_part *p, struct ssd_chunk *k)
{
    const int columns = round_up16(p->width);
    if (k->t0 == 0)
        for (int n = 0; n < s->d_state; n++)
            memset(p->state + n * p->ld_state, 0, (size_t)columns * sizeof *p->state);
    ssd_begin(s, p, k, columns);
    ssd_product(k->C_half, s->d_state, k->state, SSD_COLUMNS, s->d_state, k->tokens, columns, k->CS,
                SSD_COLUMNS);
    for (int t = 0; t < k->tokens; t += SSD_ROWS) {
        const int rows = k->tokens - t < SSD_ROWS ? k->tokens - t : SSD_ROWS;
        ssd_weights(s, k, t, rows);
        ssd_outputs(s, p, k, t, rows, columns);
    }
    ssd_update(s, p, k, columns);
}

static void ssd_chunked(const struct ssd *s, int unit0, int unit1, float *scratch)
{
    struct ssd_chunk k = ssd_carve(s, scratch);
    for (k.t0 = 0; k.t0 < s->length; k.t0 += s->chunk) {
        const float *shared = NULL; // B of the group whose products are there
        k.tokens = s->length - k.t0 < s->chunk ? s->length - k.t0 : s->chunk;
        for (int unit = unit0; unit < unit1;) {
            const struct ssd_part p = ssd_part(s, &unit, unit1, SSD_COLUMNS);
            if (p.B != shared) ssd_share(s, &p, &k);
            shared = p.B;
            ssd_run_chunk(s, &p, &k);
        }
    }
}

// ---- gated norm ----

// In 16 lanes, element i in lane i mod 16, folded 8, 4, 2, 1.
VEC float ssd_squares(const float *x, int width)
{
    vf acc[KERNEL_LANES / VW];
    for (int j = 0; j < KERNEL_LANES / VW; j++)
        acc[j] = vf_zero();
    for (int i = 0; i < width; i += KERNEL_LANES)
        for (int j = 0; j < KERNEL_LANES / VW; j++) {
            const int left = width - i - j * VW;
            const vf v = load_part(x + i + j * VW, left > 0 ? left : 0);
            acc[j] = vf_fma(v, v, acc[j]);
        }
    float lane[KERNEL_LANES];
    memcpy(lane, acc, sizeof lane);
    for (int half = KERNEL_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

// y and z in front of the norm, and behind it.
VEC vf gate_before(const struct gated_norm *n, vf y, vf z)
{
    return n->gate_last ? y : y * vf_silu(z);
}

VEC vf gate_behind(const struct gated_norm *n, vf v, vf root, vf weight, vf z)
{
    v = v / root * weight;
    if (n->gate_last) v = v * vf_silu(z);
    return n->half ? vf_round_half(v) : v;
}

// gate_before() of SIDE_BY_SIDE vectors, gate first.
VEC void gate_some(const float *y, const float *z, float *out)
{
    vf gate[SIDE_BY_SIDE];
    EACH_OF(SIDE_BY_SIDE) gate[i] = vf_load(z + i * VW);
    vf_silus(gate, SIDE_BY_SIDE);
    EACH_OF(SIDE_BY_SIDE) vf_store(out + i * VW, vf_load(y + i * VW) * gate[i]);
}

static void gated_norm(const struct gated_norm *n, int row0, int row1)
{
    const int width = n->width / n->parts;
    for (long row = row0; row < row1; row++) {
        const float *y = n->y + row * n->ldy, *z = n->z + row * n->ldz;
        float *out = n->out + row * n->ldo;
        int at = 0;
        for (; !n->gate_last && at + SIDE_BY_SIDE * VW <= n->width; at += SIDE_BY_SIDE * VW)
            gate_some(y + at, z + at, out + at);
        for (; at < n->width; at += VW) {
            const int left = n->width - at;
            store_part(out + at, gate_before(n, load_part(y + at, left), load_part(z + at, left)), left);
        }
        for (int first = 0; first < n->width; first += width) {
            const vf root = vf_set1(sqrtf(ssd_squares(out + first, width) / (float)width + n->eps));
            for (int i = first, left = width; left > 0; i += VW, left -= VW) {
                const vf v = gate_behind(n, load_part(out + i, left), root, load_part(n->weight + i, left),
                                         load_part(z + i, left));
                store_part(out + i, v, left);
            }
        }
    }
}
