// SPDX-License-Identifier: Apache-2.0
// The core library behind a command line, so that the Python reference can drive it: raw little-endian arrays
// in and out.  Usage:
//   probe observe MODEL ALPHA IDS OUT              -> float32 observed[samples][n_layer][sites], then
//                                                     scales[n_layer][sites] of all samples
//   probe groups MODEL MEANS OUT                   -> MEANS: float32 [n_layer][d_inner]; OUT: the integers of
//   the
//                                                     groups of heads, as floats
//   probe observe_groups MODEL IDS OUT             -> means, groups as above, and the scales that have groups
//   probe forward MODEL MODE SCALES IDS OUT        -> per sample: components of all layers in order, then
//                                                     logits
//   probe rerun MODEL MODE K SCALES IDS OUT        -> the same of the K-th noisy re-run
//   probe layers MODEL MODE SCALES LENGTH IN OUT   -> IN: residual, h [LENGTH][D] per layer; OUT: per layer
//                                                     the six components, then residual, h
//   probe hadamard DIM IN OUT                      -> rows of DIM, forward then inverse of each
//   probe ssd ORDER L H P G N Q IN OUT             -> the scan of Mamba-2.  IN: u [L][H*P], dt [L][H], bias,
//   A
//                                                     [H], B, C [L][G*N], D [H]; OUT: y, then [H][N][P]
//                                                     states
//   probe four_bits FOLDER PREFIX OUTPUTS DEPTH KIND INPUT OUT
//                                                  -> a weight in 4 bits of a checkpoint.  KIND: w4a8 or
//                                                  w4a16;
//                                                     INPUT: the scale of what goes in; OUT: [OUTPUTS][DEPTH]
//                                                     of q - 8, of INT8 codes and of values, then [OUTPUTS]
//                                                     scales of the codes
//   probe int8 ROWS DEPTH OUTPUTS A W OUT          -> INT8 GEMM as float with both factors 1
// PROBE_REFERENCE in the environment: the folder of a float model beside a quantized one.
// MODE: the name of a mode, or @FILE: a recipe, a line for each of its parts: LAYERS UNIT=FORMAT ...
// IDS: int32 length, ids, length, ids, ...   SCALES: float32 [n_layer][sites], or - for float modes;
// SCALES:GROUPS with groups of heads:
//   behind the scales of the sites those of groups, [n_layer][...], and int32 [n_layer][...] in another file.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/codes4.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"

static _Noreturn void fail(const char *what, const struct error *err)
{
    fprintf(stderr, "probe: %s%s%s\n", what, err ? ": " : "", err ? err->text : "");
    exit(1);
}

struct probe {
    struct model model, reference;
    struct recipe recipe; // of a mode; none where nothing is computed by unit
    struct needs *needs;
    struct groups groups;
    struct weights *weights;
    struct forward *forward;
    void *memory;
    FILE *out;
};

static struct file_map map_file(const char *path)
{
    struct error err = {0};
    struct file_map map = {0};
    if (strcmp(path, "-") != 0 && file_map(&map, path, &err)) fail(path, &err);
    return map;
}

static void write_floats(FILE *out, const float *values, size_t count)
{
    if (fwrite(values, sizeof *values, count, out) != count) fail("cannot write", NULL);
}

// ---- recipes ----

enum { MOST_PARTS = 256, MOST_CHOICES = 64 };

// "LAYERS UNIT=FORMAT ..." of a line that must stay.
static struct recipe_part read_part(char *line)
{
    char *state = NULL, *layers = strtok_r(line, " ", &state), *word;
    struct choice *choices = calloc(MOST_CHOICES, sizeof *choices);
    for (int n = 0; (word = strtok_r(NULL, " ", &state)) && n + 1 < MOST_CHOICES; n++) {
        char *format = strchr(word, '=');
        if (!format) fail("no UNIT=FORMAT", NULL);
        *format++ = '\0';
        choices[n].unit = word;
        if (!format_find(format, &choices[n].format)) fail("no such format", NULL);
    }
    return (struct recipe_part){.layers = strcmp(layers, "-") == 0 ? NULL : layers, .choices = choices};
}

// What it points to stays to the end of the program.
static const struct mode *read_mode(const char *path)
{
    static struct recipe_part *parts; // held here, else it counts as lost
    static char *text;
    struct file_map file = map_file(path);
    char *state = NULL, *line;
    parts = calloc(MOST_PARTS, sizeof *parts);
    text = strndup((const char *)file.data, file.size_bytes);
    static struct mode read, *mode = &read;
    *mode = (struct mode){.name = path, .precision = PRECISION_BY_UNIT, .parts = parts, .added = true};
    for (line = strtok_r(text, "\n", &state); line && mode->n_parts < MOST_PARTS;
         line = strtok_r(NULL, "\n", &state))
        parts[mode->n_parts++] = read_part(line);
    file_unmap(&file);
    return mode;
}

static void find_recipe(struct probe *p, const char *name)
{
    struct error err = {0};
    const struct dims *dims = &p->model.dims;
    const struct mode *mode = name[0] == '@' ? read_mode(name + 1) : mode_find(name);
    if (!mode) fail("no such mode", NULL);
    if (recipe_make(&p->recipe, mode, &dims->arch->units, dims->n_layer, &err)) fail("recipe", &err);
    p->needs = calloc((size_t)dims->n_layer, sizeof *p->needs);
    for (int l = 0; l < dims->n_layer && dims->arch->need && !recipe_is_float(&p->recipe); l++)
        dims->arch->need(&p->recipe.layers[l], &p->needs[l]);
}

static void pack(struct probe *p)
{
    struct error err = {0};
    for (int task = 0; task < weights_tasks(p->weights); task++)
        if (weights_pack(p->weights, task, NULL, &err)) fail("pack", &err);
}

// The weights by unit in the order of the groups, the integers of which lie in a file.
static void take_groups(struct probe *p, const char *path)
{
    struct error err = {0};
    struct file_map file = map_file(path);
    if (groups_open(&p->groups, &p->model.dims, &err)) fail("groups", &err);
    memcpy(p->groups.rows, file.data, file.size_bytes);
    if (!groups_settle(&p->groups)) fail("no groups", NULL);
    weights_set_groups(p->weights, &p->groups);
    pack(p);
    file_unmap(&file);
}

// "SCALES:GROUPS" becomes SCALES; gives GROUPS, or NULL.
static char *split_scales(char *text)
{
    char *groups = strchr(text, ':');
    if (groups) *groups++ = '\0';
    return groups;
}

// mode: NULL where none is run.  groups: a file; NULL: no groups of heads.
static void open_probe(struct probe *p, const char *model, const char *mode, const char *out, int max_tokens,
                       const char *groups)
{
    struct error err = {0};
    memset(p, 0, sizeof *p);
    const unsigned parts = WEIGHTS_FP32 | WEIGHTS_FP16 | WEIGHTS_BY_UNIT | WEIGHTS_LM_HEAD;
    if (model_open(&p->model, model, &err)) fail("model", &err);
    const char *reference = getenv("PROBE_REFERENCE");
    if (reference && model_open(&p->reference, reference, &err)) fail("reference", &err);
    if (reference && model_set_reference(&p->model, &p->reference, kernels_default(), &err))
        fail("reference", &err);
    p->model.dims.grouped = groups != NULL;
    model_set_modes(&p->model, false);
    if (mode) find_recipe(p, mode);
    const size_t bytes = weights_bytes(&p->model, parts, p->needs);
    p->memory = aligned_alloc(64, bytes);
    if (!p->memory) fail("memory", NULL);
    memset(p->memory, 0xa5, bytes); // packing must fill everything
    if (weights_open(&p->weights, &p->model, parts, p->needs, p->memory, &err)) fail("weights", &err);
    pack(p);
    if (groups && groups[0]) take_groups(p, groups);
    const char *threads = getenv("PROBE_THREADS");
    if (forward_open(&p->forward, p->weights, max_tokens, threads ? atoi(threads) : 1, &err))
        fail("forward", &err);
    p->out = fopen(out, "wb");
    if (!p->out) fail(out, NULL);
}

static void close_probe(struct probe *p)
{
    if (fclose(p->out) != 0) fail("cannot close the output", NULL);
    forward_close(p->forward);
    weights_close(p->weights);
    groups_clear(&p->groups);
    recipe_clear(&p->recipe);
    free(p->needs);
    free(p->memory);
    model_close(&p->model);
    model_close(&p->reference);
}

static bool take(void *context, int layer, int component, const float *values, int length, int width)
{
    (void)layer, (void)component;
    write_floats(((struct probe *)context)->out, values, (size_t)length * (size_t)width);
    return true;
}

static struct capture capture_all(struct probe *p)
{
    uint32_t *want = calloc((size_t)p->model.dims.n_layer, sizeof *want);
    memset(want, 0xff, (size_t)p->model.dims.n_layer * sizeof *want);
    return (struct capture){.want = want, .take = take, .context = p};
}

static int longest(const struct file_map *ids)
{
    const int32_t *at = (const int32_t *)(const void *)ids->data, *end = at + ids->size_bytes / 4;
    int most = 1;
    for (; at < end; at += 1 + *at)
        most = *at > most ? *at : most;
    return most;
}

static void observe(char **a)
{
    struct file_map ids = map_file(a[2]);
    struct probe p;
    open_probe(&p, a[0], NULL, a[3], longest(&ids), NULL);
    const size_t per_sample = (size_t)p.model.dims.n_layer * (size_t)p.model.dims.arch->n_sites;
    float *observed = NULL;
    struct observers observers = {.percentile_alpha = atof(a[1])};
    struct error err = {0};
    if (observers_parse(&observers, p.model.dims.arch, NULL, &err)) exit(1);
    int samples = 0;
    const int32_t *at = (const int32_t *)(const void *)ids.data, *end = at + ids.size_bytes / 4;
    for (; at < end; at += 1 + *at) {
        observed = realloc(observed, (size_t)(samples + 2) * per_sample * sizeof *observed);
        const struct observation observation = {.observers = &observers,
                                                .numbers = observed + (size_t)samples++ * per_sample};
        forward_observe(p.forward, &observation, at + 1, *at, NULL);
    }
    const struct calibration_set set = {.observed = observed, .samples = samples};
    calibrate_scales(&observers, &set, p.model.dims.n_layer, observed + (size_t)samples * per_sample);
    write_floats(p.out, observed, (size_t)(samples + 1) * per_sample);
    free(observed);
    close_probe(&p);
    file_unmap(&ids);
}

// ---- groups of heads ----

static void form_groups(struct probe *p, const float *means)
{
    struct error err = {0};
    if (groups_open(&p->groups, &p->model.dims, &err)) fail("groups", &err);
    for (int l = 0; l < p->model.dims.n_layer; l++)
        if (groups_form(&p->groups, l, means + (long)l * p->model.dims.d_inner, &err)) fail("groups", &err);
    if (!groups_settle(&p->groups)) fail("no groups", NULL);
}

static void write_groups(const struct probe *p)
{
    const int count = p->model.dims.n_layer * groups_row(&p->model.dims);
    for (int i = 0; i < count; i++) {
        const float value = (float)p->groups.rows[i];
        write_floats(p->out, &value, 1);
    }
}

static void groups(char **a)
{
    struct file_map means = map_file(a[1]);
    struct probe p;
    open_probe(&p, a[0], NULL, a[2], 1, "");
    form_groups(&p, (const float *)(const void *)means.data);
    write_groups(&p);
    close_probe(&p);
    file_unmap(&means);
}

// What each sample shows to an observation that is cleared before; gives how many there are.
static int observe_all(struct probe *p, const struct file_map *ids, struct observation *observation,
                       void (*keep)(void *context, int sample), void *context)
{
    int samples = 0;
    const int32_t *at = (const int32_t *)(const void *)ids->data, *end = at + ids->size_bytes / 4;
    for (; at < end; at += 1 + *at) {
        forward_observe(p->forward, observation, at + 1, *at, NULL);
        keep(context, samples++);
    }
    return samples;
}

struct keeping {
    float *row, *kept;
    size_t count;
    bool all; // rows one behind the other; else their largest
};

static void keep(void *context, int sample)
{
    struct keeping *k = context;
    if (k->all) {
        k->kept = realloc(k->kept, (size_t)(sample + 1) * k->count * sizeof *k->kept);
        memcpy(k->kept + (size_t)sample * k->count, k->row, k->count * sizeof *k->kept);
        return;
    }
    for (size_t i = 0; i < k->count; i++)
        if (k->row[i] > k->kept[i]) k->kept[i] = k->row[i];
}

static void observe_groups(char **a)
{
    struct file_map ids = map_file(a[1]);
    struct probe p;
    struct error err = {0};
    open_probe(&p, a[0], NULL, a[2], longest(&ids), "");
    const struct dims *d = &p.model.dims;
    const size_t channels = (size_t)d->n_layer * (size_t)d->d_inner;
    const long of_groups = (long)d->n_layer * groups_scales(d).count;
    const size_t numbers = (size_t)(d->n_layer * d->arch->n_sites + of_groups);
    struct keeping means = {calloc(channels, sizeof(float)), calloc(channels, sizeof(float)), channels,
                            false};
    observe_all(&p, &ids, &(struct observation){.channel_means = means.row}, keep, &means);
    write_floats(p.out, means.kept, channels);
    form_groups(&p, means.kept);
    write_groups(&p);
    weights_set_groups(p.weights, &p.groups);
    struct observers observers = {.percentile_alpha = 0.9995, .grouped = true};
    if (observers_parse(&observers, d->arch, NULL, &err)) exit(1);
    struct keeping rows = {calloc(numbers, sizeof(float)), NULL, numbers, true};
    const int samples = observe_all(
        &p, &ids, &(struct observation){.observers = &observers, .numbers = rows.row}, keep, &rows);
    const struct calibration_set set = {.observed = rows.kept, .of_groups = of_groups, .samples = samples};
    calibrate_scales(&observers, &set, d->n_layer, rows.row);
    write_floats(p.out, rows.row, numbers);
    free(means.row), free(means.kept), free(rows.row), free(rows.kept);
    close_probe(&p);
    file_unmap(&ids);
}

static void put_logits(struct probe *p, int length)
{
    const int vocab = p->model.dims.vocab_size, ld = (vocab + 15) / 16 * 16;
    float *logits = malloc((size_t)length * (size_t)ld * sizeof *logits);
    for (int t = 0; t < length; t += 7) // in pieces, which must not matter
        forward_logits(p->forward, t, length - t < 7 ? length - t : 7, logits + (size_t)t * (size_t)ld);
    for (int t = 0; t < length; t++)
        write_floats(p->out, logits + (size_t)t * (size_t)ld, (size_t)vocab);
    free(logits);
}

// `again`: K of a noisy re-run, or 0.
static void run_forward(char **a, uint64_t again, char **files)
{
    const char *groups = split_scales(files[0]);
    struct file_map scales = map_file(files[0]), ids = map_file(files[1]);
    struct probe p;
    open_probe(&p, a[0], a[1], files[2], longest(&ids), groups);
    const struct capture capture = capture_all(&p);
    const int32_t *at = (const int32_t *)(const void *)ids.data, *end = at + ids.size_bytes / 4;
    for (uint64_t sample = 0; at < end; at += 1 + *at, sample++) {
        forward_set_dither(p.forward, again ? random_bits(random_stream(again, "dither"), sample) | 1 : 0);
        forward_run(p.forward, &p.recipe, (const float *)(const void *)scales.data, at + 1, *at, &capture);
        put_logits(&p, *at);
    }
    free((void *)(size_t)capture.want);
    close_probe(&p);
    file_unmap(&scales), file_unmap(&ids);
}

static void forward(char **a)
{
    run_forward(a, 0, a + 2);
}

static void rerun(char **a)
{
    run_forward(a, (uint64_t)atoll(a[2]), a + 3);
}

static void layers(char **a)
{
    const char *groups = split_scales(a[2]);
    struct file_map scales = map_file(a[2]), in = map_file(a[4]);
    const int length = atoi(a[3]);
    struct probe p;
    open_probe(&p, a[0], a[1], a[5], length, groups);
    const struct capture capture = capture_all(&p);
    const size_t count = (size_t)length * (size_t)p.model.dims.d_model;
    float *residual = malloc(count * sizeof *residual), *h = malloc(count * sizeof *h);
    const float *from = (const float *)(const void *)in.data;
    for (int l = 0; l < p.model.dims.n_layer; l++, from += 2 * count) {
        memcpy(residual, from, count * sizeof *h);
        memcpy(h, from + count, count * sizeof *h);
        forward_layer(p.forward, &p.recipe, (const float *)(const void *)scales.data, l, length, residual, h,
                      &capture);
        write_floats(p.out, residual, count);
        write_floats(p.out, h, count);
    }
    free(residual), free(h), free((void *)(size_t)capture.want);
    close_probe(&p);
    file_unmap(&scales), file_unmap(&in);
}

static const struct kernels *choose(void)
{
    struct error err = {0};
    const struct kernels *kernels;
    if (kernels_choose(&kernels, &err)) fail("kernels", &err);
    return kernels;
}

static void hadamard(char **a)
{
    const int dim = atoi(a[0]);
    struct file_map in = map_file(a[1]);
    FILE *out = fopen(a[2], "wb");
    if (!out) fail(a[2], NULL);
    struct rotation rotation;
    rotation_init(&rotation, dim);
    float *row = malloc((size_t)dim * sizeof *row);
    for (size_t at = 0; at < in.size_bytes; at += (size_t)dim * sizeof *row)
        for (int way = 0; way < 2; way++) {
            memcpy(row, in.data + at, (size_t)dim * sizeof *row);
            choose()->hadamard(way ? &rotation.inverse : &rotation.forward, row);
            write_floats(out, row, (size_t)dim);
        }
    free(row);
    if (fclose(out) != 0) fail("cannot close the output", NULL);
    file_unmap(&in);
}

// A: int8 [rows][depth], W: int8 [outputs][depth], both dense.
static void int8(char **a)
{
    const int rows = atoi(a[0]), depth = atoi(a[1]), outputs = atoi(a[2]);
    const int depth4 = (depth + 3) / 4 * 4, lda = (depth + 15) / 16 * 16, ldo = (outputs + 15) / 16 * 16;
    struct file_map am = map_file(a[3]), wm = map_file(a[4]);
    int8_t *ap = calloc((size_t)rows, (size_t)lda);
    uint8_t *wp = malloc((size_t)ldo * (size_t)depth4);
    int32_t *bias = calloc((size_t)rows, sizeof *bias);
    float *out = calloc((size_t)rows * (size_t)ldo, sizeof *out);
    for (int t = 0; t < rows; t++)
        memcpy(ap + t * lda, am.data + (size_t)t * (size_t)depth, (size_t)depth);
    for (int n = 0; n < ldo; n++)
        for (int k = 0; k < depth4; k++)
            wp[(n / 16) * depth4 * 16 + k / 4 * 64 + n % 16 * 4 + k % 4] =
                (uint8_t)(128 + (n < outputs && k < depth ? (int8_t)wm.data[n * depth + k] : 0));
    struct gemm_s8 g = {.a = ap,
                        .lda = lda,
                        .w = wp,
                        .depth = depth,
                        .bias128 = bias,
                        .result = GEMM_S8_FLOAT,
                        .first = 1,
                        .second = 1,
                        .out = out,
                        .ldo = ldo};
    choose()->row_sums(&g, 0, rows, bias);
    choose()->gemm_s8(&g, 0, rows, 0, ldo / 16);
    FILE *file = fopen(a[5], "wb");
    if (!file) fail(a[5], NULL);
    for (int t = 0; t < rows; t++)
        write_floats(file, out + t * ldo, (size_t)outputs);
    if (fclose(file) != 0) fail("cannot close the output", NULL);
    free(ap), free(wp), free(bias), free(out);
    file_unmap(&am), file_unmap(&wm);
}

static void write_integers(FILE *out, const int8_t *integers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        write_floats(out, &(float){integers[i]}, 1);
}

static void four_bits(char **a)
{
    enum { AT_ONCE = 7 }; // as from within a tile
    const int outputs = atoi(a[2]), depth = atoi(a[3]);
    const size_t count = (size_t)outputs * (size_t)depth;
    const bool a8 = strcmp(a[4], "w4a8") == 0;
    struct error err = {0};
    struct model model = {0};
    struct codes4 codes;
    struct arena scratch = {0};
    if (checkpoint_open(&model.checkpoint, a[0], &model.notes, &err)) fail("checkpoint", &err);
    if (codes4_bind(&codes, &model, a[1], outputs, depth, a8, strtof(a[5], NULL), &err)) fail("bind", &err);
    if (arena_init(&scratch, 1 << 16, "scratch", &err)) fail("scratch", &err);
    int8_t *levels = malloc(count), *int8 = malloc(count);
    float *values = malloc(count * sizeof *values), *scales = malloc((size_t)outputs * sizeof *scales);
    FILE *out = fopen(a[6], "wb");
    if (!levels || !int8 || !values || !scales || !out) fail(a[6], NULL);
    codes4_levels(&codes, 0, outputs, levels);
    for (int n = 0; n < outputs; n += AT_ONCE)
        codes4_load(&codes, choose(), &scratch, n, outputs - n < AT_ONCE ? outputs - n : AT_ONCE,
                    int8 + (long)n * depth, scales + n, values + (long)n * depth);
    write_integers(out, levels, count);
    write_integers(out, int8, count);
    write_floats(out, values, count);
    write_floats(out, scales, (size_t)outputs);
    if (fclose(out) != 0) fail("cannot close the output", NULL);
    free(levels), free(int8), free(values), free(scales);
    arena_clear(&scratch);
    checkpoint_close(model.checkpoint);
}

// Rows of `width` as they stand in the file, with gaps up to `ld`.
static float *spread(const float **at, long rows, long width, long ld)
{
    float *out = calloc((size_t)(rows * ld), sizeof *out);
    for (long t = 0; t < rows; t++, *at += width)
        memcpy(out + t * ld, *at, (size_t)width * sizeof *out);
    return out;
}

static void ssd(char **a)
{
    const int L = atoi(a[1]), H = atoi(a[2]), P = atoi(a[3]), G = atoi(a[4]), N = atoi(a[5]), Q = atoi(a[6]);
    const long ldh = round_up16(H), ldp = round_up16(P);
    struct file_map in = map_file(a[7]);
    const float *at = (const float *)(const void *)in.data;
    float *u = spread(&at, L, (long)H * P, (long)H * P), *dt = spread(&at, L, H, ldh);
    float *bias = spread(&at, 1, H, ldh), *A = spread(&at, 1, H, ldh);
    float *B = spread(&at, L, (long)G * N, (long)G * N), *C = spread(&at, L, (long)G * N, (long)G * N);
    float *D = spread(&at, 1, H, ldh), *y = calloc((size_t)L * (size_t)H * (size_t)P, sizeof *y);
    float *delta = calloc((size_t)(L * ldh), sizeof *y), *dA = calloc((size_t)(L * ldh), sizeof *y);
    float *state = calloc((size_t)H * (size_t)N * (size_t)ldp, sizeof *y);
    float *scratch = calloc((size_t)ssd_scratch_floats(L, Q, N), sizeof *scratch);
    const struct ssd s = {L,
                          H,
                          P,
                          G,
                          N,
                          Q,
                          (enum ssd_order)atoi(a[0]),
                          u,
                          (long)H * P,
                          dt,
                          ldh,
                          bias,
                          A,
                          D,
                          0,
                          INFINITY,
                          B,
                          C,
                          (long)G * N,
                          y,
                          (long)H * P,
                          false,
                          delta,
                          dA,
                          .state = state};
    const int units = H * (int)(ldp / KERNEL_LANES);
    choose()->ssd_times(&s, 0, L);
    (s.order == SSD_SEQUENTIAL ? choose()->ssd_sequential : choose()->ssd_chunked)(&s, 0, units, scratch);
    FILE *out = fopen(a[8], "wb");
    if (!out) fail(a[8], NULL);
    write_floats(out, y, (size_t)L * (size_t)H * (size_t)P);
    for (long row = 0; row < (long)H * N; row++)
        write_floats(out, state + row * ldp, (size_t)P);
    if (fclose(out) != 0) fail("cannot close the output", NULL);
    free(u), free(dt), free(bias), free(A), free(B), free(C), free(D), free(y), free(delta), free(dA);
    free(state), free(scratch);
    file_unmap(&in);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
        void (*run)(char **);
    } commands[] = {{"groups", 3, groups},       {"observe_groups", 3, observe_groups},
                    {"observe", 4, observe},     {"forward", 5, forward},
                    {"rerun", 6, rerun},         {"layers", 6, layers},
                    {"hadamard", 3, hadamard},   {"int8", 6, int8},
                    {"four_bits", 7, four_bits}, {"ssd", 9, ssd}};
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0 && argc == commands[i].arguments + 2) {
            commands[i].run(argv + 2);
            return 0;
        }
    fputs("probe: see the head of probe.c\n", stderr);
    return 2;
}
