// SPDX-License-Identifier: Apache-2.0
// The workspace of a forward pass and what its two kinds of layer share.
#ifndef SSMSWEEP_FORWARD_WORKSPACE_H
#define SSMSWEEP_FORWARD_WORKSPACE_H

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/forward/forward.h"
#include "weights_view.h"

// Leading dimensions as in struct weights; L is the longest sample.  x has K-1 rows of zeros in front of row
// 0.
struct forward {
    const struct weights *weights;
    struct arena arena;
    struct team *team; // of `threads`
    int max_tokens, threads;
    uint64_t dither;    // seed, 0: none
    int length;         // of the pass under way
    int broken;         // of a W8A8 layer: the first token that is not finite, or length
    bool rotated;       // its basis
    float *residual;    // [L][ldD]
    float *h;           // [L][ldD] the last mixer's output
    float *normed;      // [L][ldD] xhat or n
    float *xhat;        // [L][ldD]
    float *xz;          // [K-1 + L][2 ldI], points at row 0
    float *v;           // [L][ldI] conv1d output
    float *dbl;         // [L][ld_dbl] dt_low, B, C
    float *dt;          // [L][ldI]
    float *y;           // [L][ldI], with `captured` behind it
    int8_t *n_codes;    // [L][ldD]
    int8_t *xz_codes;   // [K-1 + L][2 ldI], points at row 0
    int8_t *u_codes;    // [L][ldI] what x_proj sees
    int8_t *scan_codes; // [L][ldI] what the scan sees, where that is quantized again
    int8_t *dbl_codes;  // [L][ld_dbl]
    int8_t *dt_codes;   // [L][ldI]
    int8_t *y_codes;    // [L][ldI]
    int32_t *bias128;   // [L]
    float *state;       // [N][ldI] scan state after the last token
    float *captured;    // [L][widest] compact copy for a capture or an observer
    float *scratch;     // [threads][scratch_floats]
    long scratch_floats;
};

// The GEMMs of a layer: rows 0 .. f->length-1 and the given panels, divided over the threads.
void run_gemm_f32(const struct forward *f, struct gemm_f32 *gemm, int panels);
void run_row_sums(const struct forward *f,
                  struct gemm_s8 *gemm); // fills f->bias128 and points the gemm to it
void run_gemm_s8(const struct forward *f, struct gemm_s8 *gemm, int panels);
void run_norm(const struct forward *f, struct norm *norm);
void run_conv1d(const struct forward *f, struct conv1d *conv1d);
void run_scan(const struct forward *f, struct scan *scan, enum scan_order order);
// In place on rows [length][ld].
void run_hadamard(const struct forward *f, const struct hadamard *hadamard, float *rows, long ld);

// A saturating cast makes a code of what is none.  So in a W8A8 layer it is looked for where it can arise, in
// the residual stream and the scan's output, and is put back into what comes of it.
//
bool row_is_finite(const float *row, int width);
void break_row(float *row, int width); // makes NaN of it
// The first row of [length][ld] with a value that is not finite, or f->length.
int first_broken(const struct forward *f, const float *rows, long ld, int width);
// Makes NaN of the rows of `to` where one of `from` is not finite.
void break_rows(const struct forward *f, const float *from, long ld_from, int width_from, float *to,
                long ld_to, int width_to);
// Makes NaN of the rows from f->broken on.
void break_rest(const struct forward *f, float *rows, long ld, int width);

// Captures: nothing happens where it is not wanted; rows from f->broken on are NaN.  False: stopped.
bool wanted(const struct capture *capture, int layer, int component);
bool give_values(const struct forward *f, const struct capture *capture, int layer, int component,
                 const float *values, long ld, int width);
bool give_codes(const struct forward *f, const struct capture *capture, int layer, int component,
                const int8_t *codes, long ld, int width, float scale);
// The same for rotated [length][ldD] rows, which are turned back; `rows` is left alone.
bool give_rotated(const struct forward *f, const struct capture *capture, int layer, int component,
                  const float *rows);

// One layer: residual and h in, residual and h out.  observation may be NULL.
bool layer_float(struct forward *f, const struct mode *mode, int layer, const struct capture *capture,
                 const struct observation *observation);
bool layer_w8a8(struct forward *f, const struct mode *mode, const float *scales, int layer,
                const struct capture *capture);

#endif
