// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/compute/kernels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef SSMSWEEP_X86
#include <cpuid.h>
#endif

#include "isa/vec.h"

void scan_blocked_shape(int length, int *lanes, int *items)
{
    scan_shape(length, lanes, items);
}

long scan_scratch_floats(int max_tokens, int d_state)
{
    int lanes, items;
    scan_blocked_shape(max_tokens, &lanes, &items);
    const long blocked = 66L * d_state + 3L * 16, sequential = 2L * d_state + 3L * 64;
    const long naive = (4L * lanes * items + d_state) / KERNEL_LANES + 1;
    const long most = blocked > sequential ? blocked : sequential;
    return (most > naive ? most : naive) * KERNEL_LANES;
}

// As ssd.h and its twin carve them.
long ssd_scratch_floats(int max_tokens, int chunk, int d_state)
{
    const long tokens = chunk < max_tokens ? chunk : max_tokens, ld = (tokens + 15) / 16 * 16;
    return 5 * ld * d_state + ld * ld + 136 * ld + 128L * d_state + 4096;
}

#ifdef SSMSWEEP_AVXVNNI
enum { AVX_VNNI = 1 << 4 }; // in EAX of leaf 7, 1
#endif

// Asks the processor, which a virtual machine answers in microseconds.
static bool ask_machine(const struct kernels *kernels)
{
#ifdef SSMSWEEP_X86
    __builtin_cpu_init();
    unsigned a, b, c = 0, d; // clang's __builtin_cpu_supports() does not know F16C
    bool f16c = __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
    if (kernels == &kernels_avx2) return avx2;
#ifdef SSMSWEEP_AVXVNNI
    if (kernels == &kernels_avxvnni) return avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & AVX_VNNI;
#endif
    if (kernels == &kernels_avx512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
#endif
    (void)kernels;
    return true;
}

// In falling order of speed.
static const struct kernels *const all[] = {
#ifdef SSMSWEEP_X86
    &kernels_avx512,
#ifdef SSMSWEEP_AVXVNNI
    &kernels_avxvnni,
#endif
    &kernels_avx2,
#endif
    &kernels_scalar,  &kernels_naive,
};
enum { ALL = sizeof all / sizeof all[0] };

static bool machine_has(int i)
{
    static atomic_int known[ALL]; // 0: not yet; 1: no; 2: yes
    int found = atomic_load_explicit(&known[i], memory_order_relaxed);
    if (found == 0) {
        found = ask_machine(all[i]) ? 2 : 1;
        atomic_store_explicit(&known[i], found, memory_order_relaxed);
    }
    return found == 2;
}

const struct kernels *kernels_find(const char *name)
{
    for (int i = 0; i < ALL; i++)
        if (strcmp(all[i]->name, name) == 0 && machine_has(i)) return all[i];
    return NULL;
}

static const struct kernels *best(void)
{
    int i = 0;
    while (!machine_has(i))
        i++;
    return all[i];
}

enum status kernels_choose(const struct kernels **kernels, struct error *err)
{
    const char *asked = getenv("SSMSWEEP_ISA");
    const struct kernels *found = asked && *asked ? kernels_find(asked) : best();
    if (!found)
        return error_set(err, STATUS_USAGE,
                         "SSMSWEEP_ISA=%s: not known or not on this machine; expected avx512, avxvnni, avx2, "
                         "scalar or naive",
                         asked);
    *kernels = found;
    return STATUS_OK;
}

const struct kernels *kernels_default(void)
{
    const char *asked = getenv("SSMSWEEP_ISA");
    const struct kernels *found = asked ? kernels_find(asked) : NULL;
    return found ? found : best();
}
