// SPDX-License-Identifier: Apache-2.0
// Opens the folders that make_model.py wrote into ./models, and broken variants of one of them.
#include "../support.h"

#include <unistd.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/compute/kernels.h"

#define SIZES(...) ((struct dims){__VA_ARGS__, .arch = &arch_mamba1})

static const char broken[] = "models/broken"; // rewritten by every case

static void opens(const char *directory, const struct dims *expected, enum dtype dtype, bool tied)
{
    struct model model = {0};
    struct error err = {0};
    model_open(&model, directory, &err);
    if (err.status) fail_msg("%s", err.text);
    const struct dims *d = &model.dims;
    assert_int_equal(d->n_layer, expected->n_layer);
    assert_int_equal(d->d_model, expected->d_model);
    assert_int_equal(d->d_inner, expected->d_inner);
    assert_int_equal(d->d_state, expected->d_state);
    assert_int_equal(d->d_conv, expected->d_conv);
    assert_int_equal(d->dt_rank, expected->dt_rank);
    assert_int_equal(d->vocab_size, expected->vocab_size);
    assert_true(d->norm_eps == 1e-5f);
    assert_int_equal(model.dtype, dtype);
    assert_int_equal(model.lm_head == model.embedding, tied);
    for (int l = 0; l < d->n_layer; l++) {
        char name[80];
        snprintf(name, sizeof name, "backbone.layers.%d.mixer.D", l);
        assert_string_equal(model_tensor(&model, l, TENSOR_D_SKIP)->name, name);
        assert_int_equal(model_tensor(&model, l, TENSOR_CONV_W)->shape[0], d->d_inner);
        assert_int_equal(model_tensor(&model, l, TENSOR_OUT_PROJ)->shape[0], d->d_model);
    }
    assert_int_equal(strlen(model.digest_hex), HASH_HEX_CHARS);
    model_close(&model);
    model_close(&model);
}

static void opens_good_models(void **state)
{
    (void)state;
    opens("models/f32", &SIZES(2, 64, 128, 16, 4, 4, 256), DTYPE_F32, true);
    opens("models/f16", &SIZES(3, 96, 192, 16, 4, 6, 300), DTYPE_F16, false);
    opens("models/bf16", &SIZES(1, 160, 320, 8, 3, 10, 64), DTYPE_BF16, true);
    opens("models/original", &SIZES(2, 40, 160, 5, 2, 3, 64), DTYPE_F32, true);
}

static void opens_the_demo_model(void **state)
{
    (void)state;
    unsetenv("SSMSWEEP_DEMO");
    char *directory = NULL;
    struct error err = {0};
    assert_int_equal(model_demo_directory(&directory, &err), STATUS_OK);
    opens(directory, &SIZES(24, 96, 192, 16, 4, 6, 2048), DTYPE_F16, true);
    struct model model = {0};
    assert_int_equal(model_open(&model, directory, &err), STATUS_OK);
    assert_string_equal(model.digest_hex, "121df6e88031d0760519c54ccf5f20c95c909c386f0c2cd1519a59dcb9cf0587");
    model_close(&model);
    free(directory);
}

static void demo_can_be_moved(void **state)
{
    (void)state;
    char *directory = NULL;
    struct error err = {0};
    setenv("SSMSWEEP_DEMO", "models/f32", 1);
    assert_int_equal(model_demo_directory(&directory, &err), STATUS_OK);
    assert_string_equal(directory, "models/f32");
    free(directory);
    setenv("SSMSWEEP_DEMO", "models/nowhere", 1);
    model_demo_directory(&directory, &err);
    unsetenv("SSMSWEEP_DEMO");
    expect_error(&err, STATUS_INPUT, "models/nowhere|SSMSWEEP_DEMO");
}

// ---- broken variants of models/f32 ----

static char *config, *weights; // of the good model
static size_t config_bytes, weights_bytes;

static int load_good(void **state)
{
    (void)state;
    config = read_whole("models/f32/config.json", &config_bytes);
    weights = read_whole("models/f32/model.safetensors", &weights_bytes);
    struct error err = {0};
    return file_make_directories(broken, &err) != STATUS_OK;
}

static int free_good(void **state)
{
    (void)state;
    free(config);
    free(weights);
    return 0;
}

static void put(const char *name, const void *data, size_t bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", broken, name);
    unlink(path);
    if (data) write_whole(path, data, bytes);
}

static void expect_refused(const char *words)
{
    struct model model = {0};
    struct error err = {0};
    model_open(&model, broken, &err);
    expect_error(&err, STATUS_INPUT, words);
    assert_null(model.checkpoint);
    assert_null(model.tensors);
}

// The file with `from`, which must occur, changed to `to`; the caller frees.
static char *replaced(const char *text, size_t *bytes, const char *from, const char *to)
{
    size_t at = 0, cut = strlen(from), grow = strlen(to);
    while (at + cut <= *bytes && memcmp(text + at, from, cut) != 0)
        at++;
    if (at + cut > *bytes) fail_msg("'%s' does not occur", from);
    char *changed = malloc(*bytes - cut + grow + 1);
    memcpy(changed, text, at);
    memcpy(changed + at, to, grow);
    memcpy(changed + at + grow, text + at + cut, *bytes - at - cut);
    *bytes = *bytes - cut + grow;
    changed[*bytes] = '\0';
    return changed;
}

static void refuse_config(const char *from, const char *to, const char *words)
{
    size_t bytes = config_bytes;
    char *changed = replaced(config, &bytes, from, to);
    put("config.json", changed, bytes);
    put("model.safetensors", weights, weights_bytes);
    free(changed);
    expect_refused(words);
}

// `to` must be as long as `from`, so that the header keeps its length.
static void refuse_header(const char *from, const char *to, const char *words)
{
    size_t bytes = weights_bytes;
    char *changed = replaced(weights, &bytes, from, to);
    assert_int_equal(bytes, weights_bytes);
    put("config.json", config, config_bytes);
    put("model.safetensors", changed, bytes);
    free(changed);
    expect_refused(words);
}

static void other_architectures_are_named(void **state)
{
    (void)state;
    static const char *const types[][2] = {{"jamba", "Jamba"},
                                           {"zamba", "Zamba"},
                                           {"zamba2", "Zamba2"},
                                           {"bamba", "Bamba"},
                                           {"llama", "another"}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char to[64], words[128];
        snprintf(to, sizeof to, "\"model_type\": \"%s\"", types[i][0]);
        snprintf(words, sizeof words, "config.json|model_type|'%s'|%s|not supported", types[i][0],
                 types[i][1]);
        refuse_config("\"model_type\": \"mamba\"", to, words);
    }
    refuse_config("\"model_type\": \"mamba\"", "\"model_type\": 3", "'model_type'|a string");
    refuse_config("{", "{\"ssm_cfg\": {\"layer\": \"Mamba2\"},", "ssm_cfg.layer|'Mamba2'");
    refuse_config("{", "{\"ssm_cfg\": {\"layer\": \"W2A16QMamba\"},", "ssm_cfg.layer|W2A16QMamba|W8A8");
    refuse_config("{", "{\"ssm_cfg\": {\"layer\": \"W8A8QMamba\"},", "norm.weight|expected 64 ones");
    refuse_config("{", "{\"attn_layer_idx\": [3],", "attn_layer_idx|hybrid");
    refuse_config("{", "{\"mixer_rms_eps\": 1e-6,", "mixer_rms_eps|Falcon-Mamba");
    refuse_config("MambaForCausalLM", "FalconMambaForCausalLM", "architectures|Falcon-Mamba|model_type");
    refuse_config("MambaForCausalLM", "Mamba2ForCausalLM", "architectures|Mamba-2");
    refuse_config("{", "{\"d_intermediate\": -1e300,", "d_intermediate");
    refuse_config("{", "{\"quantization_config\": {\"bits\": 8},", "quantization_config|quantized");
    refuse_config("{", "{\"rms_norm\": false,", "rms_norm|expected true");
    refuse_config("\"use_bias\": false", "\"use_bias\": true", "use_bias|expected false");
    refuse_config("\"use_conv_bias\": true", "\"use_conv_bias\": false", "use_conv_bias|expected true");
    refuse_config("\"silu\"", "\"gelu\"", "hidden_act|'gelu'");
}

static void bad_numbers_are_named(void **state)
{
    (void)state;
    refuse_config("\"hidden_size\": 64", "\"hidden_size\": 65537", "hidden_size|1 to 65536|65537");
    refuse_config("\"hidden_size\": 64", "\"hidden_size\": 1.5", "hidden_size|1.5");
    refuse_config("\"hidden_size\": 64", "\"hidden_size\": \"64\"", "hidden_size|no number");
    refuse_config("\"hidden_size\": 64,", "", "'hidden_size' is missing");
    refuse_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0",
                  "num_hidden_layers|1 to 1024|got 0");
    refuse_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1e999", "num_hidden_layers|inf");
    refuse_config("\"vocab_size\": 256", "\"vocab_size\": -3", "vocab_size|-3");
    refuse_config("\"state_size\": 16", "\"state_size\": 257", "state_size|257");
    refuse_config("\"conv_kernel\": 4", "\"conv_kernel\": 17", "conv_kernel|17");
    refuse_config("\"time_step_rank\": 4", "\"time_step_rank\": \"some\"", "time_step_rank|auto");
    refuse_config("\"intermediate_size\": 128", "\"intermediate_size\": 192",
                  "in_proj.weight|[384, 64]|[256, 64]");
    refuse_config("\"intermediate_size\": 128", "\"intermediate_size\": -1",
                  "intermediate_size|1 to 262144|-1");
    refuse_config("\"expand\": 2", "\"expand\": 65", "expand|up to 64");
    refuse_config("1e-05", "0", "layer_norm_epsilon");
    refuse_config("1e-05", "\"x\"", "layer_norm_epsilon");
    refuse_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": NaN", "num_hidden_layers|nan");
    refuse_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": Infinity", "num_hidden_layers|inf");
    refuse_config("1e-05", "NaN", "layer_norm_epsilon");
    refuse_config("{", "[", "not valid JSON");
    refuse_config("{", "{\"hidden_size\": 64,", "duplicate key 'hidden_size'");
}

static void auto_rank_is_understood(void **state)
{
    (void)state;
    size_t bytes = config_bytes;
    char *changed = replaced(config, &bytes, "\"time_step_rank\": 4", "\"time_step_rank\": \"auto\"");
    put("config.json", changed, bytes);
    put("model.safetensors", weights, weights_bytes);
    free(changed);
    opens(broken, &SIZES(2, 64, 128, 16, 4, 4, 256), DTYPE_F32, true);
}

static void hadamard_needs_its_sizes(void **state)
{
    (void)state;
    static const char inner[] = "{\"model_type\": \"mamba\", \"hidden_size\": %d, \"num_hidden_layers\": 1,"
                                "\"vocab_size\": 8, \"expand\": %d}";
    static const struct {
        int d_model, expand;
        const char *words;
    } refused[] = {{72, 2, "Hadamard|d_model = 72"}, {64, 9, "Hadamard|d_inner = 576"}};
    for (size_t i = 0; i < 2; i++) {
        char text[256];
        snprintf(text, sizeof text, inner, refused[i].d_model, refused[i].expand);
        put("config.json", text, strlen(text));
        expect_refused(refused[i].words);
    }
    static const struct {
        int dim, base, power;
    } good[] = {{768, 12, 64}, {1536, 12, 128}, {2560, 40, 64}, {5120, 40, 128}, {1024, 1, 1024},
                {12, 12, 1},   {40, 40, 1},     {1, 1, 1},      {96, 12, 8},     {160, 40, 4}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int base = 0, power = 0;
        assert_true(rotation_exists(good[i].dim, &base, &power));
        assert_int_equal(base, good[i].base);
        assert_int_equal(power, good[i].power);
    }
    static const int bad[] = {0, -12, 3, 36, 72, 120, 480, 100, 1000, 2147483647};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(rotation_exists(bad[i], &(int){0}, &(int){0}));
}

static void weights_must_agree_with_config(void **state)
{
    (void)state;
    refuse_config("\"vocab_size\": 256", "\"vocab_size\": 257", "embeddings.weight|[257, 64]|[256, 64]");
    refuse_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
                  "'backbone.layers.2.norm.weight' is missing");
    refuse_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
                  "unknown tensor|backbone.layers.1.");
    refuse_config("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
                  "'lm_head.weight' is missing");
    refuse_config("\"state_size\": 16", "\"state_size\": 8", "x_proj.weight|[20, 128]|[36, 128]");
    refuse_header("\"shape\": [256, 64]", "\"shape\": [64, 256]",
                  "in_proj.weight|[256, 64]|[64, 256]|differ");
}

static void broken_weights_are_named(void **state)
{
    (void)state;
    refuse_header("layers.1.mixer.A_log", "layers.1.mixer.A_lok",
                  "'backbone.layers.1.mixer.A_log' is missing");
    refuse_header("backbone.norm_f.weight", "backbone.norm_g.weight", "'backbone.norm_f.weight' is missing");
    refuse_header("layers.1.mixer.D\"", "layers.0.mixer.D\"", "duplicate key 'backbone.layers.0.mixer.D'");
    refuse_header("\"dtype\": \"F32\", \"shape\": [128]", "\"dtype\": \"I32\", \"shape\": [128]",
                  "F32, F16, BF16 or F64|I32");
    refuse_header("\"F32\", \"shape\": [64]", "\"F8X\", \"shape\": [64]", "F8X");
}

static void extra_tensors_are_refused(void **state)
{
    (void)state;
    // An empty tensor more, in front; the padding behind the header gives room for nothing, so the header
    // grows.
    static const char *const extra[][2] = {
        {"backbone.layers.0.mixer.dt_bias", "unknown tensor|backbone.layers.0.mixer.dt_bias|Mamba-2"},
        {"backbone.layers.0.mixer.norm.weight", "unknown tensor|Mamba-2"},
        {"backbone.layers.1.mixer.dt_layernorm.weight", "unknown tensor|Jamba"},
        {"backbone.layers.00.norm.weight", "unknown tensor|layers.00."},
        {"backbone.layers.-1.norm.weight", "unknown tensor"},
        {"backbone.embedding.weight", "unknown tensor"},
        {"lm_head.bias", "unknown tensor|lm_head.bias"}};
    for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++) {
        char entry[256];
        snprintf(entry, sizeof entry,
                 "{\"%s\": {\"dtype\": \"F32\", \"shape\": [0], \"data_offsets\": [0, 0]},", extra[i][0]);
        size_t bytes = weights_bytes;
        char *changed = replaced(weights, &bytes, "{", entry);
        uint64_t length;
        memcpy(&length, changed, sizeof length); // little-endian host
        length += bytes - weights_bytes;
        memcpy(changed, &length, sizeof length);
        put("config.json", config, config_bytes);
        put("model.safetensors", changed, bytes);
        free(changed);
        expect_refused(extra[i][1]);
    }
}

// Byte offset in the file of element `index` of a tensor of the good model.
static size_t element_offset(const char *name, size_t index)
{
    uint64_t header_bytes;
    memcpy(&header_bytes, weights, sizeof header_bytes);
    struct json *root = NULL;
    struct error err = {0};
    assert_int_equal(json_parse(&root, weights + 8, header_bytes, "header", &err), STATUS_OK);
    const struct json *offsets = json_get(json_get(root, name), "data_offsets");
    assert_int_equal(json_count(offsets), 2);
    size_t begin = (size_t)json_number(json_first(offsets));
    json_close(root);
    return 8 + header_bytes + begin + 4 * index;
}

static void every_weight_must_be_finite(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t index;
        uint32_t bits;
    } cases[] = {{"backbone.embeddings.weight", 0, 0x7fc00000},
                 {"backbone.norm_f.weight", 63, 0x7f800000},
                 {"backbone.layers.0.mixer.D", 5, 0xff800000},
                 {"backbone.layers.1.mixer.out_proj.weight", 8191, 0xffffffff}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *changed = malloc(weights_bytes), words[128];
        memcpy(changed, weights, weights_bytes);
        memcpy(changed + element_offset(cases[i].name, cases[i].index), &cases[i].bits, 4);
        put("config.json", config, config_bytes);
        put("model.safetensors", changed, weights_bytes);
        free(changed);
        snprintf(words, sizeof words, "%s|NaN or Inf at element %zu;", cases[i].name, cases[i].index);
        expect_refused(words);
    }
}

static void torn_files_are_named(void **state)
{
    (void)state;
    const size_t cuts[] = {0, 7, 8, 9, 100, weights_bytes / 2, weights_bytes - 1};
    put("config.json", config, config_bytes);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        put("model.safetensors", weights, cuts[i]);
        char words[64];
        snprintf(words, sizeof words, "model.safetensors|torn file|got %zu",
                 cuts[i] < 8 || cuts[i] > 10000 ? cuts[i] : cuts[i] - 8);
        expect_refused(words);
    }
}

// What was fetched or saved in the place of a file.
static void other_files_are_named(void **state)
{
    (void)state;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
                      page[] = "<!DOCTYPE html><html>", zip[] = "PK\3\4";
    put("config.json", pointer, sizeof pointer - 1);
    put("model.safetensors", weights, weights_bytes);
    expect_refused("models/broken/config.json: expected JSON, got a git-lfs pointer");
    put("config.json", config, config_bytes);
    put("model.safetensors", pointer, sizeof pointer - 1);
    expect_refused("models/broken/model.safetensors: expected a safetensors file, got a git-lfs pointer");
    put("model.safetensors", zip, sizeof zip - 1);
    expect_refused("models/broken/model.safetensors: expected a safetensors file, got a zip archive");
    put("model.safetensors", NULL, 0);
    put("pytorch_model.bin", page, sizeof page - 1);
    expect_refused(
        "models/broken/pytorch_model.bin: expected a zip archive as PyTorch writes it, got an HTML");
    put("pytorch_model.bin", weights, weights_bytes);
    expect_refused("models/broken/pytorch_model.bin: expected a zip archive|got a safetensors file");
    put("pytorch_model.bin", NULL, 0);
}

static void missing_files_are_named(void **state)
{
    (void)state;
    struct model model = {0};
    struct error err = {0};
    model_open(&model, "models/nowhere", &err);
    expect_error(&err, STATUS_INPUT, "models/nowhere|no such folder");
    put("config.json", NULL, 0);
    put("model.safetensors", weights, weights_bytes);
    expect_refused("models/broken/config.json|no such file");
    put("config.json", config, config_bytes);
    put("model.safetensors", NULL, 0);
    static const char *const others[][2] = {
        {"pytorch_model.bin", "models/broken/pytorch_model.bin|expected a zip archive"},
        {"pytorch_model.bin.index.json", "models/broken/pytorch_model.bin.index.json|JSON"},
        {"model.safetensors.index.json", "models/broken/model.safetensors.index.json|JSON"}};
    for (int i = 0; i < 3; i++)
        put(others[i][0], NULL, 0); // a run that failed may have left it
    expect_refused("models/broken/model.safetensors|no such file");
    for (int i = 0; i < 3; i++) {
        put(others[i][0], "x", 1);
        expect_refused(others[i][1]);
        put(others[i][0], NULL, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_good_models),           cmocka_unit_test(opens_the_demo_model),
        cmocka_unit_test(demo_can_be_moved),           cmocka_unit_test(other_architectures_are_named),
        cmocka_unit_test(bad_numbers_are_named),       cmocka_unit_test(auto_rank_is_understood),
        cmocka_unit_test(hadamard_needs_its_sizes),    cmocka_unit_test(weights_must_agree_with_config),
        cmocka_unit_test(broken_weights_are_named),    cmocka_unit_test(extra_tensors_are_refused),
        cmocka_unit_test(every_weight_must_be_finite), cmocka_unit_test(torn_files_are_named),
        cmocka_unit_test(missing_files_are_named),     cmocka_unit_test(other_files_are_named),
    };
    return cmocka_run_group_tests(tests, load_good, free_good);
}
