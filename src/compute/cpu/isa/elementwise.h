// SPDX-License-Identifier: Apache-2.0
// RMSNorm, conv1d + SiLU, quantizers, FP16 rounding.
#include "vec.h"

// sum of squares in 16 lanes, whatever the width, folded 8, 4, 2, 1.
VEC float sum_of_squares(const float *x, int width16)
{
    vf acc[KERNEL_LANES / VW];
    for (int j = 0; j < KERNEL_LANES / VW; j++)
        acc[j] = vf_zero();
    for (int i = 0; i < width16; i += KERNEL_LANES)
        for (int j = 0; j < KERNEL_LANES / VW; j++) {
            vf v = vf_load(x + i + j * VW);
            acc[j] = vf_fma(v, v, acc[j]);
        }
    float lane[KERNEL_LANES];
    memcpy(lane, acc, sizeof lane);
    for (int half = KERNEL_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

// One vector from column i of the row that begins at `at`.
VEC void norm_at(const struct norm *n, long at, int i, vf divisor, vf step)
{
    vf xhat = vf_load(n->residual + at + i) / divisor;
    if (n->xhat) vf_store(n->xhat + at + i, xhat);
    if (n->scaled) {
        vf v = xhat * vf_load(n->weight + i);
        vf_store(n->scaled + at + i, n->half ? vf_round_half(v) : v);
    }
    if (n->codes) vf_store_s8_sat(n->codes + at + i, xhat / step);
}

VEC void norm_row(const struct norm *n, long at, int width16, float root)
{
    const vf divisor = vf_set1(root), step = vf_set1(n->step);
    for (int i = 0; i < width16; i += VW)
        norm_at(n, at, i, divisor, step);
}

static void norm(const struct norm *n, int row0, int row1)
{
    const int width16 = (n->width + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    for (int row = row0; row < row1; row++) {
        const long at = row * n->ld;
        if (n->h)
            for (int i = 0; i < width16; i += VW)
                vf_store(n->residual + at + i, vf_load(n->residual + at + i) + vf_load(n->h + at + i));
        float mean = sum_of_squares(n->residual + at, width16) / (float)n->width;
        norm_row(n, at, width16, sqrtf(mean + n->eps));
    }
}

// What becomes of the sum over the taps, in front of SiLU; constants after inlining: codes or
// float, a scale for each channel.
VEC vf conv1d_linear(const struct conv1d *c, int channel, vf sum, int codes, int channels)
{
    if (channels) sum = (vf_load(c->tap_scales + channel) * vf_set1(c->tap_scale)) * sum;
    if (codes && !channels) sum = vf_set1(c->tap_scale) * sum;
    return sum + vf_load(c->b + channel);
}

// That of one vector of channels at one step.  The first `before` taps are left out, where what they would
// meet is known to be zero: the sum is the same.
VEC vf conv1d_taps(const struct conv1d *c, long row, int channel, int codes, int channels, int before)
{
    vf sum = vf_zero();
    const long first = (row - (c->d_conv - 1)) * c->ldx + channel;
    for (int k = before; k < c->d_conv; k++) {
        vf w = vf_load(c->w + k * c->ldw + channel);
        vf x = codes ? vf_load_s8(c->x_codes + first + k * c->ldx) : vf_load(c->x_float + first + k * c->ldx);
        sum = vf_fma(w, x, sum);
    }
    return conv1d_linear(c, channel, sum, codes, channels);
}

VEC vf conv1d_at(const struct conv1d *c, long row, int channel, int codes, int channels, int before)
{
    return vf_silu(conv1d_taps(c, row, channel, codes, channels, before));
}

VEC vf conv1d_code(const struct conv1d *c, vf v)
{
    const vf q = v / vf_set1(c->step);
    return vf_sat8(c->ties_away ? vf_round_away(q) : vf_rint(q));
}

VEC void conv1d_finish(const struct conv1d *c, long row, int channel, vf v)
{
    if (c->v) vf_store(c->v + row * c->ldv + channel, c->half ? vf_round_half(v) : v);
#if defined(__CUDACC__)
    if (c->codes) vf_store_s8(c->codes + row * c->ldq + channel, conv1d_code(c, v));
#else
    if (c->codes && c->ties_away)
        vf_store_s8_away(c->codes + row * c->ldq + channel, v / vf_set1(c->step));
    else if (c->codes)
        vf_store_s8_sat(c->codes + row * c->ldq + channel, v / vf_set1(c->step));
#endif
}

// Four taps, CONV1D_TOGETHER rows at a time, so that a code is converted for 11 / 8 taps, not for 4.
enum { CONV1D_USUAL = 4, CONV1D_TOGETHER = 8 };

VEC vf conv1d_input(const struct conv1d *c, long at, int codes)
{
    return codes ? vf_load_s8(c->x_codes + at) : vf_load(c->x_float + at);
}

VEC void conv1d_block(const struct conv1d *c, long row, int channel, int codes, int channels)
{
    const long first = (row - (CONV1D_USUAL - 1)) * c->ldx + channel;
    vf x[CONV1D_USUAL - 1 + CONV1D_TOGETHER], w[CONV1D_USUAL];
    UNROLL_16
    for (int k = 0; k < CONV1D_USUAL; k++)
        w[k] = vf_load(c->w + k * c->ldw + channel);
    UNROLL_16
    for (int r = 0; r < CONV1D_USUAL - 1 + CONV1D_TOGETHER; r++)
        x[r] = conv1d_input(c, first + r * c->ldx, codes);
    UNROLL_16
    for (int r = 0; r < CONV1D_TOGETHER; r++) {
        vf sum = vf_zero();
        UNROLL_16
        for (int k = 0; k < CONV1D_USUAL; k++)
            sum = vf_fma(w[k], x[r + k], sum);
        x[r] = conv1d_linear(c, channel, sum, codes, channels);
    }
    UNROLL_16
    for (int r = 0; r < CONV1D_TOGETHER; r += SIDE_BY_SIDE)
        vf_silus(x + r, SIDE_BY_SIDE);
    UNROLL_16
    for (int r = 0; r < CONV1D_TOGETHER; r++)
        conv1d_finish(c, row + r, channel, x[r]);
}

VEC void conv1d_rows(const struct conv1d *c, int row, int row1, int channel0, int channel1, int codes,
                     int channels)
{
    for (; c->d_conv == CONV1D_USUAL && row + CONV1D_TOGETHER <= row1; row += CONV1D_TOGETHER)
        for (int channel = channel0; channel < channel1; channel += VW)
            conv1d_block(c, row, channel, codes, channels);
    for (; row < row1; row++)
        for (int channel = channel0; channel < channel1; channel += VW)
            conv1d_finish(c, row, channel, conv1d_at(c, row, channel, codes, channels, 0));
}

static void conv1d(const struct conv1d *caller, int row0, int row1, int channel0, int channel1)
{
    const struct conv1d copy = *caller, *c = &copy; // which cannot be aliased by the stores
    if (c->x_codes && c->tap_scales)
        conv1d_rows(c, row0, row1, channel0, channel1, 1, 1);
    else if (c->x_codes)
        conv1d_rows(c, row0, row1, channel0, channel1, 1, 0);
    else
        conv1d_rows(c, row0, row1, channel0, channel1, 0, 0);
}

static void quantize_away(const float *x, long count, float step, int8_t *codes)
{
    for (long i = 0; i < count; i += VW)
        vf_store_s8_away(codes + i, vf_load(x + i) / vf_set1(step));
}

static void quantize_even(const float *x, long count, float step, int8_t *codes)
{
    for (long i = 0; i < count; i += VW)
        vf_store_s8_sat(codes + i, vf_load(x + i) / vf_set1(step));
}

VEC vf columns_code(const struct columns *c, vf x, vf step)
{
    const vf code = x / step;
    return vf_sat8(c->ties_away ? vf_round_away(code) : vf_rint(code)) + vf_zero(); // no -0
}

VEC void columns_at(const struct columns *c, long row, int i)
{
    const vf step = vf_load(c->steps + i);
    const vf code = c->x ? columns_code(c, vf_load(c->x + row * c->ldx + i), step)
                         : vf_load_s8(c->given + row * c->ldg + i);
    if (c->codes) vf_store_s8(c->codes + row * c->ldq + i, code);
    if (c->values) vf_store(c->values + row * c->ldv + i, code * step);
}

static void columns(const struct columns *c, int row0, int row1)
{
    for (long row = row0; row < row1; row++)
        for (int i = 0; i < c->width; i += VW)
            columns_at(c, row, i);
}

static void round_half(float *x, long count)
{
    for (long i = 0; i < count; i += VW)
        vf_store(x + i, vf_round_half(vf_load(x + i)));
}

static float absmax(const float *x, long count)
{
    vf most = vf_zero();
    for (long i = 0; i < count; i += VW)
        most = vf_max(vf_abs(vf_load(x + i)), most); // NaN on the left gives `most`
    float best = 0, lane[VW];
    vf_store(lane, most);
    for (int j = 0; j < VW; j++)
        best = lane[j] > best ? lane[j] : best;
    return best;
}

static bool all_finite(const float *x, long count)
{
    vf spoiled[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()}; // NaN where something is not finite
    float last = 0, lane[VW];
    long i = 0;
    for (; i + 4 * VW <= count; i += 4 * VW)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            spoiled[j] += vf_load(x + i + j * VW) * vf_zero();
    for (; i < count; i++)
        last += x[i] * 0.0f;
    vf_store(lane, (spoiled[0] + spoiled[1]) + (spoiled[2] + spoiled[3]));
    for (int j = 0; j < VW; j++)
        last += lane[j];
    return last == 0;
}

static void exp_array(const float *x, long count, float *out)
{
    for (long i = 0; i < count; i += VW)
        vf_store(out + i, vf_exp(vf_load(x + i)));
}

static void softplus_array(const float *x, long count, float *out)
{
    for (long i = 0; i < count; i += VW)
        vf_store(out + i, vf_softplus(vf_load(x + i)));
}
