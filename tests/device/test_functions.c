// SPDX-License-Identifier: Apache-2.0
// Functions of one float on the GPU against the processor's formulas: the same bits, any NaN for any NaN.  Of
// all 2^32 floats each where SSMSWEEP_LONG is set, else of a 64th of them.  Without a GPU it is skipped.
#include "support.h"

#include "cpu/isa/vec.h"
#include "cuda/device.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/cuda.h"

enum { PIECE = 1 << 24, PART = 1 << 12 };

static vf on_host(enum device_function function, vf x)
{
    int8_t codes[VW];
    switch (function) {
    case DEVICE_EXP:
    case DEVICE_EXP_NEAR:
        return vf_exp(x);
    case DEVICE_SILU:
        return vf_silu(x);
    case DEVICE_SOFTPLUS:
        return vf_softplus(x);
    case DEVICE_ROUND_HALF:
        return vf_round_half(x);
    case DEVICE_SQRT:
        return vf_sqrt(x);
    case DEVICE_QUANTIZE_EVEN:
        vf_store_s8_sat(codes, x / vf_set1(DEVICE_STEP));
        return vf_load_s8(codes);
    default:
        vf_store_s8(codes, vf_sat8(vf_round_away(x / vf_set1(DEVICE_STEP))));
        return vf_load_s8(codes);
    }
}

struct piece {
    enum device_function function;
    uint32_t first;
    const float *device;
    long differ[PIECE / PART];
};

static void compare_part(void *context, int part, int begin, int end)
{
    (void)part;
    struct piece *piece = context;
    for (int p = begin; p < end; p++)
        for (int i = p * PART; i < (p + 1) * PART; i += VW) {
            float x[VW], want[VW];
            for (int j = 0; j < VW; j++) {
                const uint32_t bits = piece->first + (uint32_t)(i + j);
                memcpy(&x[j], &bits, sizeof bits);
            }
            vf_store(want, on_host(piece->function, vf_load(x)));
            piece->differ[p] += differing(want, piece->device + i, VW);
        }
}

int main(void)
{
    static const char *const names[DEVICE_FUNCTIONS] = {"exp",           "exp of the scan", "silu",
                                                        "softplus",      "round to FP16",   "sqrt",
                                                        "quantize even", "quantize away"};
    const int parts = getenv("SSMSWEEP_LONG") ? 1 : 64;
    float *device, *host = malloc(PIECE * sizeof *host);
    struct team *team;
    struct error err = {0};
    int failures = 0;
    if (!backend_cuda() || cuda_devices() == 0) {
        printf("SKIP: %s\n", backend_cuda() ? "no GPU on this machine" : "built without CUDA");
        return 77;
    }
    const int threads = cores_usable();
    MUST(team_open(&team, threads, &err));
    MUST(cudaMalloc((void **)&device, PIECE * sizeof *device));
    static struct piece piece;
    for (int f = 0; f < DEVICE_FUNCTIONS; f++) {
        long differ = 0, all = 0;
        for (int64_t first = 0; first < (int64_t)1 << 32; first += (int64_t)PIECE * parts) {
            // One PIECE of each PIECE * parts floats, wherever that falls.
            piece = (struct piece){(enum device_function)f,
                                   (uint32_t)first + PIECE * (uint32_t)(first / PIECE / parts % parts),
                                   host,
                                   {0}};
            device_map(NULL, piece.function, piece.first, PIECE, device);
            MUST(cudaMemcpy(host, device, PIECE * sizeof *host, cudaMemcpyDeviceToHost));
            team_divide(team, threads, PIECE / PART, 1, compare_part, &piece);
            for (int p = 0; p < PIECE / PART; p++)
                differ += piece.differ[p];
            all += PIECE;
        }
        printf("%s: %ld floats, %ld differ\n", names[f], all, differ);
        failures += differ != 0;
    }
    team_close(team);
    MUST(cudaFree(device));
    free(host);
    return failures ? 1 : 0;
}
