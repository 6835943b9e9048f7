// SPDX-License-Identifier: Apache-2.0
// The plain twin of every kernel: simple loops that say what is computed, in which order, with which
// roundings. Tests compare the fast ones with these, bit for bit.
#include "ssmsweep/compute/kernels.h"

#include <math.h>
#include <string.h>

// ---- sums in double ----

static double naive_exp_double(double x)
{
    static const double c[] = {0x1.af38b54e1e505p-26,
                               0x1.28918590c4da6p-22,
                               0x1.71de0da7cb8b6p-19,
                               0x1.a019b90cf6663p-16,
                               0x1.a01a01a7c6c86p-13,
                               0x1.6c16c1788bea9p-10,
                               0x1.11111111109acp-7,
                               0x1.5555555553d63p-5,
                               0x1.5555555555556p-3,
                               0x1.0000000000001p-1,
                               1.0,
                               1.0};
    x = x > -700 ? x : -700;
    const double n = fma(x, 0x1.71547652b82fep+0, 0x1.8p+52) - 0x1.8p+52; // nearest integer
    const double r = fma(n, -0x1.a39ef35793c76p-33, fma(n, -0x1.62e42fee00000p-1, x));
    double p = c[0];
    for (int i = 1; i < 12; i++)
        p = fma(p, r, c[i]);
    return ldexp(p, (int)n);
}

static void naive_logit_side(const float *row, int count, struct logit_side *side, double *exps)
{
    double sum[SUM_LANES] = {0};
    int top = 0;
    side->finite = true;
    for (int i = 0; i < count; i++) {
        if (!isfinite(row[i])) side->finite = false;
        if (row[i] > row[top]) top = i;
    }
    if (!side->finite) return;
    side->top = top, side->most = row[top];
    for (int i = 0; i < count; i++) {
        exps[i] = naive_exp_double((double)row[i] - (double)side->most);
        sum[i % SUM_LANES] += exps[i];
    }
    side->sum = fold(sum);
}

static void naive_logit_sums(const float *reference, const struct logit_side *side, const double *exps,
                             const float *mode, int count, struct logit_sums *sums)
{
    double product[SUM_LANES] = {0};
    struct logit_side other;
    double other_exps[PREDICTION_PIECE];
    naive_logit_side(mode, count, &other, other_exps);
    sums->finite = side->finite && other.finite;
    if (!sums->finite) return;
    const struct logit_side *sides[] = {side, &other};
    for (int k = 0; k < 2; k++)
        sums->top[k] = sides[k]->top, sums->most[k] = sides[k]->most, sums->sum[k] = sides[k]->sum;
    for (int i = 0; i < count; i++) {
        const double r = (double)reference[i] - (double)side->most;
        const double m = (double)mode[i] - (double)other.most;
        product[i % SUM_LANES] = fma(exps[i], r - m, product[i % SUM_LANES]);
    }
    sums->product = fold(product);
}

static void naive_pair_ranges(const float *v, int count, struct pair_ranges *ranges)
{
    for (int j = 0; j < KERNEL_LANES; j++)
        ranges->min[j] = INFINITY, ranges->max[j] = -INFINITY;
    for (int i = 0; i < count || i % KERNEL_LANES != 0; i++) {
        const float x = v[i < count ? i : count - 1];
        float *min = &ranges->min[i % KERNEL_LANES], *max = &ranges->max[i % KERNEL_LANES];
        *min = x < *min ? x : *min;
        *max = x > *max ? x : *max;
    }
}

static void anchored_sums(const float *v, int count, double anchor, double *high, double *low)
{
    for (int j = 0; j < SUM_LANES; j++) {
        high[j] = anchor, low[j] = 0;
        for (int i = j; i < count; i += PAIR_STEP) {
            double row[PAIR_ROWS];
            for (int r = 0; r < PAIR_ROWS; r++)
                row[r] = i + r * SUM_LANES < count ? (double)v[i + r * SUM_LANES] : 0.0;
            const double sum = (row[0] + row[1]) + (row[2] + row[3]), before = high[j];
            high[j] = before + sum;
            low[j] += sum - (high[j] - before);
        }
    }
}

static void naive_pair_sums(const float *a, const float *b, int count, const struct pair_centre *centre,
                            struct pair_lanes *lanes, uint16_t (*histograms)[PAIR_BINS])
{
    memset(lanes, 0, sizeof *lanes);
    anchored_sums(a, count, centre->anchor[0], lanes->high[0], lanes->low[0]);
    anchored_sums(b, count, centre->anchor[1], lanes->high[1], lanes->low[1]);
    for (int j = 0; j < SUM_LANES; j++)
        lanes->diff_min[j] = INFINITY, lanes->diff_max[j] = -INFINITY;
    for (int i = 0; i < count; i++) {
        const int j = i % SUM_LANES;
        const double u = (double)a[i], v = (double)b[i], d = v - u;
        const double x = u - centre->ref, y = v - centre->mode, z = d - centre->diff;
        lanes->abs[0][j] += fabs(u);
        lanes->abs[1][j] += fabs(v);
        lanes->abs_diff[j] += fabs(d);
        lanes->squares[0][j] = fma(x, x, lanes->squares[0][j]);
        lanes->squares[1][j] = fma(y, y, lanes->squares[1][j]);
        lanes->products[j] = fma(x, y, lanes->products[j]);
        lanes->diff_squares[j] = fma(z, z, lanes->diff_squares[j]);
        lanes->raw_squares[j] = fma(d, d, lanes->raw_squares[j]);
        lanes->diff_min[j] = d < lanes->diff_min[j] ? d : lanes->diff_min[j];
        lanes->diff_max[j] = d > lanes->diff_max[j] ? d : lanes->diff_max[j];
        histograms[i % PAIR_STEP][profile_bin(fabs(d))]++;
    }
}

// ---- the other kernels ----

static float as_float(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float naive_exp(float x)
{
    x = 89.0f < x ? 89.0f : x;
    x = -104.0f > x ? -104.0f : x;
    if (isnan(x)) return x;
    float n = rintf(x * 0x1.715476p+0f);
    float r = fmaf(n, -0x1.7f7d1cp-20f, fmaf(n, -0x1.62e400p-1f, x));
    static const float c[] = {
        0x1.6a2430p-10f, 0x1.1239e4p-7f, 0x1.5558f2p-5f, 0x1.555492p-3f, 0x1.fffffcp-2f, 1.0f, 1.0f};
    float p = c[0];
    for (int i = 1; i < 7; i++)
        p = fmaf(p, r, c[i]);
    return ldexpf(p, (int)n);
}

static float naive_silu(float x)
{
    return x / (1.0f + naive_exp(-x));
}

static float naive_softplus(float v)
{
    static const float c[] = {0x1.0a1aacp-9f,
                              -0x1.b7555cp-7f,
                              0x1.53c988p-5f,
                              -0x1.51ae16p-4f,
                              0x1.fca87cp-4f,
                              -0x1.49d826p-3f,
                              0x1.975ccap-3f,
                              -0x1.ffbd42p-3f,
                              0x1.55534ep-2f,
                              -0x1.fffff4p-2f,
                              1.0f};
    float e = naive_exp(-fabsf(v)), p = c[0];
    for (int i = 1; i < 11; i++)
        p = fmaf(p, e, c[i]);
    return (0.0f > v ? 0.0f : v) + e * p;
}

// IEEE binary16 and back, by way of the spacing of its numbers.
static float naive_half(float x)
{
    if (isnan(x)) {
        int32_t bits;
        memcpy(&bits, &x, sizeof bits);
        return as_float((bits & (int32_t)0xffffe000) | 0x00400000);
    }
    if (fabsf(x) >= 65520.0f) return copysignf(INFINITY, x);
    int exponent;
    frexpf(x, &exponent);                                 // |x| in [2^(e-1), 2^e)
    int step = exponent - 11 > -24 ? exponent - 11 : -24; // 11 significant bits, down to 2^-24
    return copysignf((float)ldexp(rint(ldexp((double)x, -step)), step), x);
}

static int8_t naive_sat8(float q)
{
    q = q < 127.0f ? q : 127.0f;
    return (int8_t)(q > -128.0f ? q : -128.0f);
}

static float naive_away(float q)
{
    return copysignf(floorf(fabsf(q) + 0.5f), q);
}

static void gemm_f32(const struct gemm_f32 *g, int row0, int row1, int panel0, int panel1)
{
    for (int m = row0; m < row1; m++)
        for (int n = panel0 * KERNEL_LANES; n < panel1 * KERNEL_LANES; n++) {
            const float *w = g->w + (long)(n / KERNEL_LANES) * g->depth * KERNEL_LANES + n % KERNEL_LANES;
            float sum = 0;
            for (int k = 0; k < g->depth; k++)
                sum = fmaf(g->a[m * g->lda + k], w[(long)k * KERNEL_LANES], sum);
            g->out[m * g->ldo + n] = g->half ? naive_half(sum) : sum;
        }
}

static void row_sums(const struct gemm_s8 *g, int row0, int row1, int32_t *bias128)
{
    for (int m = row0; m < row1; m++) {
        bias128[m] = 0;
        for (int k = 0; k < g->depth; k++)
            bias128[m] -= 128 * g->a[m * g->lda + k];
    }
}

static float factor(float one, const float *rows, const float *outputs, int m, int n)
{
    return outputs ? outputs[n] : rows ? rows[m] : one;
}

static void gemm_s8(const struct gemm_s8 *g, int row0, int row1, int panel0, int panel1)
{
    const long depth4 = (g->depth + 3) / 4;
    for (int m = row0; m < row1; m++)
        for (int n = panel0 * KERNEL_LANES; n < panel1 * KERNEL_LANES; n++) {
            const uint8_t *w = g->w + (long)(n / KERNEL_LANES) * depth4 * 64 + (n % KERNEL_LANES) * 4;
            int32_t sum = 0;
            for (int k = 0; k < g->depth; k++)
                sum += g->a[m * g->lda + k] * ((int)w[(k / 4) * 64 + k % 4] - 128);
            const float v = ((float)sum * factor(g->first, g->first_rows, g->first_outputs, m, n)) *
                            factor(g->second, g->second_rows, g->second_outputs, m, n);
            if (g->result == GEMM_S8_CODES)
                ((int8_t *)g->out)[m * g->ldo + n] = naive_sat8(rintf(v));
            else
                ((float *)g->out)[m * g->ldo + n] = g->result == GEMM_S8_HALF ? naive_half(v) : v;
        }
}

static void norm(const struct norm *n, int row0, int row1)
{
    const int padded = (n->width + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    for (int row = row0; row < row1; row++) {
        float *r = n->residual + row * n->ld, lane[KERNEL_LANES] = {0};
        for (int i = 0; i < padded; i++) {
            if (n->h) r[i] += n->h[row * n->ld + i];
            lane[i % KERNEL_LANES] = fmaf(r[i], r[i], lane[i % KERNEL_LANES]);
        }
        for (int half = 8; half > 0; half /= 2)
            for (int j = 0; j < half; j++)
                lane[j] += lane[j + half];
        const float root = sqrtf(lane[0] / (float)n->width + n->eps);
        for (int i = 0; i < padded; i++) {
            const float xhat = r[i] / root;
            const long at = row * n->ld + i;
            if (n->xhat) n->xhat[at] = xhat;
            if (n->scaled) n->scaled[at] = n->half ? naive_half(xhat * n->weight[i]) : xhat * n->weight[i];
            if (n->codes) n->codes[at] = naive_sat8(rintf(xhat / n->step));
        }
    }
}

static void conv1d(const struct conv1d *c, int row0, int row1, int channel0, int channel1)
{
    for (int row = row0; row < row1; row++)
        for (int i = channel0; i < channel1; i++) {
            float sum = 0;
            for (int k = 0; k < c->d_conv; k++) {
                const long at = (long)(row - (c->d_conv - 1) + k) * c->ldx + i;
                sum = fmaf(c->w[k * c->ldw + i], c->x_codes ? (float)c->x_codes[at] : c->x_float[at], sum);
            }
            if (c->x_codes) sum = (c->tap_scales ? c->tap_scales[i] * c->tap_scale : c->tap_scale) * sum;
            const float v = naive_silu(sum + c->b[i]), q = v / c->step;
            if (c->v) c->v[row * c->ldv + i] = c->half ? naive_half(v) : v;
            if (c->codes) c->codes[row * c->ldq + i] = naive_sat8(c->ties_away ? naive_away(q) : rintf(q));
        }
}

static float operand(const struct scan_operand *o, int t, int i)
{
    return o->values ? o->values[t * o->ld + i] : (float)o->codes[t * o->ld + i] * o->scale;
}

static void put_y(const struct scan *s, int t, int i, float y)
{
    y = y * naive_silu(operand(&s->z, t, i));
    s->y[t * s->ldy + i] = s->half ? naive_half(y) : y;
}

static void scan_sequential(const struct scan *s, int channel0, int channel1, float *scratch)
{
    float *state = scratch;
    for (int i = channel0; i < channel1; i++) {
        for (int n = 0; n < s->d_state; n++)
            state[n] = 0;
        for (int t = 0; t < s->length; t++) {
            const float delta = naive_softplus(operand(&s->dt, t, i) + s->dt_bias[i]),
                        u = operand(&s->u, t, i);
            const float du = delta * u;
            float y = 0;
            for (int n = 0; n < s->d_state; n++) {
                const float decay = naive_exp(delta * s->A[n * s->ld_inner + i]);
                state[n] = fmaf(decay, state[n], du * s->B[t * s->ld_bc + n]);
                y = fmaf(state[n], s->C[t * s->ld_bc + n], y);
            }
            put_y(s, t, i, fmaf(s->D[i], u, y));
        }
        if (s->last_state)
            for (int n = 0; n < s->d_state; n++)
                s->last_state[n * s->ld_inner + i] = state[n];
    }
}

// One affine step s -> a s + b; right after left.
struct map {
    float a, b;
};

static struct map combine(struct map left, struct map right)
{
    return (struct map){right.a * left.a, fmaf(right.a, left.b, right.b)};
}

enum { WARP = 32, MAX_LANES = 128, MAX_ITEMS = 16 };

// One block of one channel and state: maps of every step in, states after every step out.
static float block_scan(const struct map *step, int lanes, int items, float carry, float *state)
{
    struct map inclusive[MAX_LANES];
    for (int lane = 0; lane < lanes; lane++) {
        inclusive[lane] = step[lane * items];
        for (int i = 1; i < items; i++)
            inclusive[lane] = combine(inclusive[lane], step[lane * items + i]);
    }
    for (int warp = 0; warp < lanes; warp += WARP) {
        for (int offset = 1; offset < WARP; offset *= 2)
            for (int j = WARP - 1; j >= offset; j--)
                inclusive[warp + j] = combine(inclusive[warp + j - offset], inclusive[warp + j]);
        for (int j = 0; j < WARP; j++) {
            float s = carry;
            if (j > 0) s = fmaf(inclusive[warp + j - 1].a, carry, inclusive[warp + j - 1].b);
            for (int i = 0; i < items; i++) {
                const int t = (warp + j) * items + i;
                state[t] = s = fmaf(step[t].a, s, step[t].b);
            }
        }
        carry = fmaf(inclusive[warp + WARP - 1].a, carry, inclusive[warp + WARP - 1].b);
    }
    return carry;
}

static void scan_blocked(const struct scan *s, int channel0, int channel1, float *scratch)
{
    int lanes, items;
    scan_blocked_shape(s->length, &lanes, &items);
    const int size = lanes * items;
    struct map *step = (struct map *)(void *)scratch;
    float *state = scratch + 2 * size, *y = state + size, *carry = y + size;
    for (int i = channel0; i < channel1; i++) {
        memset(carry, 0, (size_t)s->d_state * sizeof *carry);
        for (int t0 = 0; t0 < s->length; t0 += size) {
            const int steps = s->length - t0 < size ? s->length - t0 : size;
            for (int t = 0; t < steps; t++)
                y[t] = operand(&s->u, t0 + t, i) * s->D[i];
            for (int n = 0; n < s->d_state; n++) {
                for (int t = 0; t < size; t++) {
                    step[t] = (struct map){1, 0};
                    if (t >= steps) continue;
                    const float delta = naive_softplus(operand(&s->dt, t0 + t, i) + s->dt_bias[i]);
                    step[t].a = naive_exp(delta * s->A[n * s->ld_inner + i]);
                    step[t].b = s->B[(t0 + t) * s->ld_bc + n] * (delta * operand(&s->u, t0 + t, i));
                }
                carry[n] = block_scan(step, lanes, items, carry[n], state);
                for (int t = 0; t < steps; t++)
                    y[t] = fmaf(state[t], s->C[(t0 + t) * s->ld_bc + n], y[t]);
            }
            for (int t = 0; t < steps; t++)
                put_y(s, t0 + t, i, y[t]);
        }
    }
}

static void hadamard(const struct hadamard *h, float *row)
{
    for (int stage = 1; stage < h->power; stage *= 2)
        for (int i = 0; i < h->dim; i += 2 * stage)
            for (int j = i; j < i + stage; j++) {
                const float a = row[j], b = row[j + stage];
                row[j] = a + b;
                row[j + stage] = a - b;
            }
    for (int j = 0; j < h->power; j++) {
        float y[40];
        for (int c = 0; c < h->base; c++)
            y[c] = row[c * h->power + j];
        for (int i = 0; i < h->base; i++) {
            float sum = 0;
            for (int c = 0; c < h->base; c++)
                sum = fmaf(h->matrix ? h->matrix[i * h->base + c] : 1.0f, y[c], sum);
            row[i * h->power + j] = sum * h->factor;
        }
    }
}

static void quantize_away(const float *x, long count, float step, int8_t *codes)
{
    for (long i = 0; i < count; i++)
        codes[i] = naive_sat8(naive_away(x[i] / step));
}

static void quantize_even(const float *x, long count, float step, int8_t *codes)
{
    for (long i = 0; i < count; i++)
        codes[i] = naive_sat8(rintf(x[i] / step));
}

static void round_half(float *x, long count)
{
    for (long i = 0; i < count; i++)
        x[i] = naive_half(x[i]);
}

static bool all_finite(const float *x, long count)
{
    bool all = true;
    for (long i = 0; i < count; i++)
        all &= isfinite(x[i]) != 0;
    return all;
}

static float absmax(const float *x, long count)
{
    float most = 0;
    for (long i = 0; i < count; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

static void exp_array(const float *x, long count, float *out)
{
    for (long i = 0; i < count; i++)
        out[i] = naive_exp(x[i]);
}

static void softplus_array(const float *x, long count, float *out)
{
    for (long i = 0; i < count; i++)
        out[i] = naive_softplus(x[i]);
}

static double peak_f32(long rounds)
{
    volatile float sink;
    float acc[4] = {0, 1, 2, 3};
    for (long r = 0; r < rounds; r++)
        for (int j = 0; j < 4; j++)
            acc[j] = fmaf(0.5f, 0x1p-10f, acc[j]);
    sink = acc[0] + acc[1] + acc[2] + acc[3];
    (void)sink;
    return 2.0 * 4 * (double)rounds;
}

static void columns(const struct columns *c, int row0, int row1)
{
    for (int row = row0; row < row1; row++)
        for (int i = 0; i < c->width; i++) {
            float code = c->x ? c->x[row * c->ldx + i] / c->steps[i] : (float)c->given[row * c->ldg + i];
            if (c->x) code = (float)naive_sat8(c->ties_away ? naive_away(code) : rintf(code));
            if (c->codes) c->codes[row * c->ldq + i] = (int8_t)code;
            if (c->values) c->values[row * c->ldv + i] = code * c->steps[i];
        }
}

// ---- Mamba-2 ----

static void ssd_times(const struct ssd *s, int row0, int row1)
{
    const long ld = round_up16(s->heads);
    for (int row = row0; row < row1; row++)
        for (int h = 0; h < ld; h++) {
            float d = naive_softplus(s->dt[row * s->lddt + h] + s->dt_bias[h]);
            d = d > s->dt_max ? s->dt_max : d;
            d = d < s->dt_min ? s->dt_min : d;
            const float a = d * s->A[h];
            s->delta[row * ld + h] = d;
            s->dA[row * ld + h] = s->order == SSD_SEQUENTIAL ? naive_exp(a) : a;
        }
}

// A channel of a head.
struct channel {
    int head, lane;
    long at; // among all heads
    const float *B, *C;
    float *state; // of n = 0
    long ld_state;
};

static struct channel channel_of(const struct ssd *s, int unit, int lane)
{
    const int ld = round_up16(s->head_dim), per_head = ld / KERNEL_LANES, head = unit / per_head;
    const int first = unit % per_head * KERNEL_LANES + lane;
    const long group = head / (s->heads / s->groups) * (long)s->d_state;
    return (struct channel){.head = head,
                            .lane = first,
                            .at = (long)head * s->head_dim + first,
                            .B = s->B + group,
                            .C = s->C + group,
                            .state = s->state + (long)head * s->d_state * ld + first,
                            .ld_state = ld};
}

static void put_output(const struct ssd *s, const struct channel *c, int t, float y)
{
    y = fmaf(s->D[c->head], s->u[t * s->ldu + c->at], y);
    s->y[t * s->ldy + c->at] = s->half ? naive_half(y) : y;
}

static void ssd_sequential_channel(const struct ssd *s, const struct channel *c)
{
    const long ld = round_up16(s->heads);
    for (int n = 0; n < s->d_state; n++)
        c->state[n * c->ld_state] = 0;
    for (int t = 0; t < s->length; t++) {
        const float du = s->delta[t * ld + c->head] * s->u[t * s->ldu + c->at];
        float y = 0;
        for (int n = 0; n < s->d_state; n++) {
            float *state = &c->state[n * c->ld_state];
            *state = fmaf(s->dA[t * ld + c->head], *state, du * c->B[t * s->ldbc + n]);
            y = fmaf(*state, c->C[t * s->ldbc + n], y);
        }
        put_output(s, c, t, y);
    }
}

static float rounded(const struct ssd *s, float v)
{
    return s->order == SSD_CHUNKED ? v : naive_half(v);
}

static float cut(const struct ssd *s, float v)
{
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return s->order == SSD_CHUNKED_GPU ? as_float(bits & (int32_t)0xffffe000) : v;
}

// y of token t of the chunk from t0 on, whose running sums are c.
static float chunk_output(const struct ssd *s, const struct channel *c, int t0, int t, const float *sums)
{
    const long ld = round_up16(s->heads);
    const float *C = c->C + t * s->ldbc;
    float earlier = 0, here = 0;
    for (int n = 0; n < s->d_state; n++)
        earlier = fmaf(rounded(s, C[n]), rounded(s, c->state[n * c->ld_state]), earlier);
    for (int at = t0; at <= t; at++) {
        float cb = 0;
        for (int n = 0; n < s->d_state; n++)
            cb = fmaf(cut(s, C[n]), cut(s, c->B[at * s->ldbc + n]), cb);
        const float w = cb * naive_exp(sums[t - t0] - sums[at - t0]) * s->delta[at * ld + c->head];
        here = fmaf(rounded(s, w), rounded(s, s->u[at * s->ldu + c->at]), here);
    }
    return fmaf(earlier, naive_exp(sums[t - t0]), here);
}

static void ssd_chunked_channel(const struct ssd *s, const struct channel *c, float *sums)
{
    const long ld = round_up16(s->heads);
    for (int n = 0; n < s->d_state; n++)
        c->state[n * c->ld_state] = 0;
    for (int t0 = 0; t0 < s->length; t0 += s->chunk) {
        const int t1 = s->length - t0 < s->chunk ? s->length : t0 + s->chunk;
        for (int t = t0; t < t1; t++)
            sums[t - t0] = s->dA[t * ld + c->head] + (t > t0 ? sums[t - t0 - 1] : 0.0f);
        for (int t = t0; t < t1; t++)
            put_output(s, c, t, chunk_output(s, c, t0, t, sums));
        const float last = sums[t1 - t0 - 1];
        for (int n = 0; n < s->d_state; n++) {
            float added = 0, *state = &c->state[n * c->ld_state];
            for (int t = t0; t < t1; t++) {
                const float decay = naive_exp(last - sums[t - t0]) * s->delta[t * ld + c->head];
                added = fmaf(rounded(s, c->B[t * s->ldbc + n] * decay), rounded(s, s->u[t * s->ldu + c->at]),
                             added);
            }
            *state = fmaf(naive_exp(last), *state, added);
        }
    }
}

static void ssd_units(const struct ssd *s, int unit0, int unit1, float *scratch)
{
    for (int unit = unit0; unit < unit1; unit++)
        for (int lane = 0; lane < KERNEL_LANES; lane++) {
            const struct channel c = channel_of(s, unit, lane);
            if (c.lane >= s->head_dim) break;
            if (s->order == SSD_SEQUENTIAL)
                ssd_sequential_channel(s, &c);
            else
                ssd_chunked_channel(s, &c, scratch);
        }
}

static void gated_norm(const struct gated_norm *g, int row0, int row1)
{
    const int width = g->width / g->parts;
    for (int row = row0; row < row1; row++) {
        const float *z = g->z + row * g->ldz;
        float *out = g->out + row * g->ldo;
        for (int i = 0; i < g->width; i++) {
            const float y = g->y[row * g->ldy + i];
            out[i] = g->gate_last ? y : y * naive_silu(z[i]);
        }
        for (int first = 0; first < g->width; first += width) {
            float lane[KERNEL_LANES] = {0};
            for (int i = 0; i < width; i++)
                lane[i % KERNEL_LANES] = fmaf(out[first + i], out[first + i], lane[i % KERNEL_LANES]);
            for (int half = 8; half > 0; half /= 2)
                for (int j = 0; j < half; j++)
                    lane[j] += lane[j + half];
            const float root = sqrtf(lane[0] / (float)width + g->eps);
            for (int i = first; i < first + width; i++) {
                float v = out[i] / root * g->weight[i];
                if (g->gate_last) v = v * naive_silu(z[i]);
                out[i] = g->half ? naive_half(v) : v;
            }
        }
    }
}

static double peak_s8(long rounds)
{
    volatile int32_t x = 1, sink;
    int32_t acc[4] = {0, 1, 2, 3};
    for (long r = 0; r < rounds; r++) {
        const int32_t factor = x;
        for (int j = 0; j < 4; j++)
            acc[j] = (int32_t)((uint32_t)acc[j] + (uint32_t)(factor * j));
    }
    sink = (int32_t)((uint32_t)acc[0] + (uint32_t)acc[1] + (uint32_t)acc[2] + (uint32_t)acc[3]);
    (void)sink;
    return 2.0 * 4 * (double)rounds;
}

const struct kernels kernels_naive = {
    .name = "naive",
    .tile_rows = 1,
    .tile_panels = 1,
    .scan_channels = 1,
    .gemm_f32 = gemm_f32,
    .row_sums = row_sums,
    .gemm_s8 = gemm_s8,
    .norm = norm,
    .conv1d = conv1d,
    .scan_sequential = scan_sequential,
    .scan_blocked = scan_blocked,
    .ssd_times = ssd_times,
    .ssd_sequential = ssd_units,
    .ssd_chunked = ssd_units,
    .gated_norm = gated_norm,
    .columns = columns,
    .hadamard = hadamard,
    .quantize_away = quantize_away,
    .round_half = round_half,
    .absmax = absmax,
    .finite = all_finite,
    .quantize_even = quantize_even,
    .exp = exp_array,
    .softplus = softplus_array,
    .logit_side = naive_logit_side,
    .logit_sums = naive_logit_sums,
    .pair_ranges = naive_pair_ranges,
    .pair_sums = naive_pair_sums,
    .pair_sums_known = naive_pair_sums,
    .peak_f32 = peak_f32,
    .peak_s8 = peak_s8,
};
