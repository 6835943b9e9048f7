// SPDX-License-Identifier: Apache-2.0
#include "../support.h"

#include "ssmsweep/base/json.h"
#include "ssmsweep/input/documents.h"
#include "ssmsweep/input/help.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/input/option.h"
#include "ssmsweep/tools/synth.h"

enum { MAX_WORDS = 64 };

// Words divided by blanks; "''" is an empty word.
static enum status parse(struct job *job, const char *line, struct error *err)
{
    char copy[1024], *argv[MAX_WORDS + 1] = {(char *)"ssmsweep"};
    int argc = 1;
    assert_true(strlen(line) < sizeof copy);
    strcpy(copy, line);
    for (char *word = strtok(copy, " "); word && argc < MAX_WORDS; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "''") == 0 ? (char *)"" : word;
    *err = (struct error){0};
    job_parse(job, argc, argv, err);
    memset(copy, 'x', sizeof copy); // the job must not point into what it was parsed from
    return err->status;
}

static struct job parsed(const char *line)
{
    struct job job = {0};
    struct error err;
    if (parse(&job, line, &err)) fail_msg("%s", err.text);
    return job;
}

static void expect_refused(const char *line, enum status status, const char *words)
{
    struct job job = {.calib_seqlen = -77};
    struct error err;
    parse(&job, line, &err);
    expect_error(&err, status, words);
    assert_int_equal(job.calib_seqlen, -77); // outputs only on success
}

static void defaults_are_the_documented_ones(void **state)
{
    (void)state;
    struct job job = parsed("");
    assert_int_equal(job.command, COMMAND_RUN);
    assert_null(job.model_dir);
    assert_null(job.calib_data);
    assert_int_equal(job.n_cells, 1);
    assert_int_equal(job.calib_data_num[0], 10);
    assert_null(job.eval_data);
    assert_int_equal(job_evaluation_samples(&job), 10);
    assert_int_equal(job.calib_seqlen, 512);
    assert_true(job.percentile_alpha == 0.9995);
    assert_string_equal(job.modes, "all");
    assert_string_equal(job.layers, "first,last");
    assert_string_equal(job.components, "mixer_output");
    assert_string_equal(job.reference, "fp32");
    assert_string_equal(job.output_dir, "layer_outputs");
    assert_string_equal(job.comparison_dir, "comparisons");
    assert_null(job.save_comparison);
    assert_int_equal(job.threads, 0);
    assert_int_equal(job.shard, 0);
    assert_true(job.progress_seconds < 0);
    assert_false(job.resume || job.dry_run);
    assert_int_equal(job.verbosity, LOG_NORMAL);
    job_clear(&job);
    assert_null(job.storage);
    job_clear(&job);
}

static void every_option_arrives(void **state)
{
    (void)state;
    struct job job =
        parsed("run --model m --calib-data t.jsonl --calib_data_num 30,5,30,10 --calib_seqlen=64 "
               "--eval_data e.txt --eval-data-num 9 --percentile-alpha 1 --modes 2-1,fp32 --reference fp16 "
               "--layers -1 --components all "
               "--output-dir o --comparison_dir c --save-comparison s.json --resume --threads 3 "
               "--progress 2.5 --dry_run --shard 7 -v");
    assert_string_equal(job.model_dir, "m");
    assert_string_equal(job.calib_data, "t.jsonl");
    assert_string_equal(job.eval_data, "e.txt");
    assert_int_equal(job.eval_data_num, 9);
    assert_int_equal(job_calibration_samples(&job), 30);
    assert_int_equal(job_evaluation_samples(&job), 9);
    assert_int_equal(job.n_cells, 3);
    assert_int_equal(job.calib_data_num[0], 5);
    assert_int_equal(job.calib_data_num[1], 10);
    assert_int_equal(job.calib_data_num[2], 30);
    assert_int_equal(job.calib_seqlen, 64);
    assert_true(job.percentile_alpha == 1);
    assert_string_equal(job.modes, "2-1,fp32");
    assert_string_equal(job.reference, "fp16");
    assert_string_equal(job.layers, "-1");
    assert_string_equal(job.components, "all");
    assert_string_equal(job.output_dir, "o");
    assert_string_equal(job.comparison_dir, "c");
    assert_string_equal(job.save_comparison, "s.json");
    assert_true(job.resume && job.dry_run);
    assert_int_equal(job.threads, 3);
    assert_int_equal(job.shard, 7);
    assert_true(job.progress_seconds == 2.5);
    assert_int_equal(job.verbosity, LOG_VERBOSE);
    job_clear(&job);
}

// The words of the tables stand in the order of the enums.
static void choices_and_bytes_arrive(void **state)
{
    (void)state;
    struct job job = parsed("--text-format npy --txt-split file --text-field body --pad-id -5");
    assert_int_equal(job.text_format, TEXT_NPY);
    assert_int_equal(job.txt_split, SPLIT_FILE);
    assert_string_equal(job.text_field, "body");
    assert_int_equal(job.pad_id, -5);
    char *identity = job_identity_json(&job);
    assert_non_null(strstr(identity, "\"text_format\": \"npy\""));
    assert_non_null(strstr(identity, "\"txt_split\": \"file\""));
    assert_non_null(strstr(identity, "\"store\": \"selected\""));
    free(identity);
    job_clear(&job);
    job = parsed("synth --preset MAMBA-1.4B --dtype bf16 --seed 3 --out d --shard-bytes 500m");
    assert_int_equal(job.command, COMMAND_SYNTH);
    assert_int_equal(job.preset, SYNTH_1_4B);
    assert_int_equal(job.synth_dtype, SYNTH_BF16);
    assert_int_equal(job.seed, 3);
    assert_string_equal(job.out, "d");
    assert_true(job.shard_bytes == 500000000LL);
    job_clear(&job);
    job = parsed("synth --shard-bytes 2000000");
    assert_true(job.shard_bytes == 2000000LL);
    job_clear(&job);
    expect_refused("--txt-split words", STATUS_USAGE,
                   "--txt-split: expected one of auto|blank|file, got 'words'");
    expect_refused("--text-format json", STATUS_USAGE, "auto|jsonl|txt|npy");
    expect_refused("synth --shard-bytes 5GB", STATUS_USAGE, "got '5GB'");
    expect_refused("synth --shard-bytes 5", STATUS_USAGE, "got '5'");
    expect_refused("synth --shard-bytes G", STATUS_USAGE, "got 'G'");
    expect_refused("synth --modes 0", STATUS_USAGE, "does not apply to 'synth'");
}

static void commands_are_found(void **state)
{
    (void)state;
    struct job job = parsed("--reference 0 compare 2-1 2-2 --output_dir o");
    assert_int_equal(job.command, COMMAND_COMPARE);
    assert_string_equal(job.modes, "2-1,2-2");
    assert_string_equal(job.reference, "0");
    job_clear(&job);
    job = parsed("compare");
    assert_string_equal(job.modes, "all");
    job_clear(&job);
    job = parsed("modes -q");
    assert_int_equal(job.command, COMMAND_MODES);
    assert_int_equal(job.verbosity, LOG_QUIET);
    job_clear(&job);
    job = parsed("--all-modes");
    assert_string_equal(job.modes, "all");
    job_clear(&job);
    job = parsed("info some/path --json");
    assert_int_equal(job.command, COMMAND_INFO);
    assert_string_equal(job.model_dir, "some/path");
    assert_true(job.json && !job.json_file);
    job_clear(&job);
    job = parsed("bench --json file");
    assert_true(!job.json && strcmp(job.json_file, "file") == 0);
    job_clear(&job);
}

// As the original tool names a model: inside the folder if it is there, else the folder itself.
static void first_word_may_be_a_model(void **state)
{
    (void)state;
    static const char *const lines[][2] = {{"input --pretrained_dir " SOURCE_DIR "/src", "/src/input"},
                                           {"--pretrained_dir " SOURCE_DIR "/src input", "/src/input"},
                                           {"run input --pretrained_dir " SOURCE_DIR "/src", "/src/input"},
                                           {"nowhere --pretrained_dir " SOURCE_DIR "/src", "/src"}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct job job = parsed(lines[i][0]);
        assert_int_equal(job.command, COMMAND_RUN);
        assert_string_equal(job.model_dir + strlen(SOURCE_DIR), lines[i][1]);
        job_clear(&job);
    }
}

static void help_and_version_win(void **state)
{
    (void)state;
    static const char *const help[] = {"help", "-h", "--help", "compare --help",
                                       "--calib_seqlen 0 -h --bogus"};
    static const char *const version[] = {"version", "--version", "--resume --version"};
    for (size_t i = 0; i < sizeof help / sizeof help[0]; i++) {
        struct job job = parsed(help[i]);
        assert_int_equal(job.command, COMMAND_HELP);
        job_clear(&job);
    }
    for (size_t i = 0; i < sizeof version / sizeof version[0]; i++) {
        struct job job = parsed(version[i]);
        assert_int_equal(job.command, COMMAND_VERSION);
        job_clear(&job);
    }
}

static void pretrained_dir_holds_models(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"--pretrained_dir p --model m", "p/m"},
                                           {"--model /a/m --pretrained_dir p", "/a/m"},
                                           {"--pretrained_dir p", "p"}};
    for (size_t i = 0; i < 3; i++) {
        struct job job = parsed(cases[i][0]);
        assert_string_equal(job.model_dir, cases[i][1]);
        job_clear(&job);
    }
}

static void bad_lines_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"--calib-dta x", "'--calib-dta'|'--calib-data'|ssmsweep --help"},
        {"--calib_data_nun=3", "'--calib_data_nun'|'--calib_data_num'"},
        {"--Resume", "'--Resume'|'--resume'"},
        {"--qqqqqqqqqqqqqqqq", "unknown option '--qqqqqqqqqqqqqqqq'; see"},
        {"-x", "unknown option '-x'"},
        {"-qv", "unknown option '-qv'"},
        {"--=3", "unknown option '--'"},
        {"comparee", "unknown command 'comparee'|'compare'"},
        {"synth extra", "unexpected argument 'extra'|'synth' takes none"},
        {"run one two --pretrained_dir d", "unexpected argument 'two'|'run' takes one"},
        {"one --pretrained_dir d --model m", "--model contradicts|'one'"},
        {"info p --model m", "--model contradicts|'p'"},
        {"onee", "unknown command 'onee'"},
        {"info --modes 0", "--modes|'info'"},
        {"synth 2-1", "unexpected argument '2-1'"},
        {"--calib_seqlen", "--calib_seqlen|expected an argument"},
        {"--model --resume", "--model|expected an argument"},
        {"--resume=yes", "--resume|no argument|'yes'"},
        {"--calib_seqlen 0", "--calib_seqlen|1 to 1000000|'0'"},
        {"--calib_seqlen 1000001", "--calib_seqlen|1000001"},
        {"--calib_seqlen 99999999999999999999", "--calib_seqlen|99999999999999999999"},
        {"--calib_seqlen 5x", "--calib_seqlen|'5x'"},
        {"--calib_seqlen ''", "--calib_seqlen|''"},
        {"--calib_data_num 0", "--calib_data_num|1 to 1000000|'0'"},
        {"--calib_data_num 1,,2", "--calib_data_num|1,,2"},
        {"--calib_data_num 1,", "--calib_data_num"},
        {"--calib_data_num -5", "--calib_data_num|'-5'"},
        {"--percentile_alpha 0", "--percentile_alpha|above 0 up to 1"},
        {"--percentile_alpha 1.0001", "--percentile_alpha|1.0001"},
        {"--percentile_alpha nan", "--percentile_alpha|nan"},
        {"--percentile_alpha 0x1p-1", "--percentile_alpha|0x1p-1"},
        {"--threads 1025", "--threads|0 to 1024"},
        {"--threads -1", "--threads|'-1'"},
        {"--shard 1000001", "--shard"},
        {"--progress -1", "--progress"},
        {"--modes ''", "--modes|empty"},
        {"--modes=,", "--modes|empty"},
        {"--model ''", "--model|empty"},
        {"--modes 2-1 --all_modes", "--modes|--all-modes|contradicts"},
        {"compare 2-1 --modes 2-2", "contradicts"},
        {"-q -v", "contradicts"},
        {"--job a --job b", "--job|contradicts"},
        {"compare --calib_seqlen 3", "--calib_seqlen|does not apply to 'compare'"},
        {"modes --resume", "--resume|does not apply to 'modes'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refused(cases[i][0], STATUS_USAGE, cases[i][1]);
}

static void too_many_cells(void **state)
{
    (void)state;
    char line[600] = "--calib_data_num 1";
    for (int i = 2; i <= JOB_MAX_CELLS; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), ",%d", i);
    struct job job = parsed(line);
    assert_int_equal(job.n_cells, JOB_MAX_CELLS);
    job_clear(&job);
    strcat(line, ",65");
    expect_refused(line, STATUS_USAGE, "--calib_data_num|at most 64");
}

static void put_job(const char *text)
{
    write_whole("job.json", text, strlen(text));
}

static void job_file_gives_what_the_line_does_not(void **state)
{
    (void)state;
    put_job("{\"calib_data_num\": [20, 10], \"calib_seqlen\": 64, \"modes\": [\"0\", \"2-1\"], \"layers\": "
            "[0, -1],"
            " \"percentile-alpha\": 0.5, \"components\": \"all\", \"model\": null, \"resume\": true, "
            "\"dry_run\": false,"
            " \"output_dir\": \"from file\", \"quiet\": false, \"verbose\": true, \"all_modes\": false}");
    struct job job = parsed("--job job.json --calib_seqlen 128 --layers 3");
    assert_int_equal(job.n_cells, 2);
    assert_int_equal(job.calib_data_num[0], 10);
    assert_int_equal(job.calib_seqlen, 128);
    assert_string_equal(job.modes, "0,2-1");
    assert_string_equal(job.layers, "3");
    assert_true(job.percentile_alpha == 0.5);
    assert_null(job.model_dir);
    assert_true(job.resume && !job.dry_run);
    assert_string_equal(job.output_dir, "from file");
    assert_int_equal(job.verbosity, LOG_VERBOSE);
    job_clear(&job);
    // The line may also contradict the file, and a command takes what applies to it.
    job = parsed("--job=job.json --all-modes");
    assert_string_equal(job.modes, "all");
    assert_string_equal(job.layers, "0,-1");
    job_clear(&job);
    job = parsed("compare --job job.json");
    assert_int_equal(job.calib_seqlen, 512);
    assert_string_equal(job.output_dir, "from file");
    job_clear(&job);
}

static void bad_job_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum status status;
        const char *words;
    } cases[] = {
        {"{\"calib_seqln\": 3}", STATUS_USAGE, "job.json|unknown key 'calib_seqln'|'calib_seqlen'"},
        {"{\"help\": true}", STATUS_USAGE, "unknown key 'help'"},
        {"{\"job\": \"job.json\"}", STATUS_USAGE, "unknown key 'job'"},
        {"{\"\": 1}", STATUS_USAGE, "unknown key ''"},
        {"{\"calib_seqlen\": \"3\"}", STATUS_INPUT, "job.json|key 'calib_seqlen'|expected a number"},
        {"{\"calib_seqlen\": 3.5}", STATUS_USAGE, "job.json|key 'calib_seqlen'|whole number|'3.5'"},
        {"{\"calib_seqlen\": 1e999}", STATUS_USAGE, "calib_seqlen|inf"},
        {"{\"calib_data_num\": []}", STATUS_USAGE, "calib_data_num"},
        {"{\"calib_data_num\": [\"1\"]}", STATUS_INPUT, "calib_data_num|array of numbers"},
        {"{\"modes\": {\"a\": 1}}", STATUS_INPUT, "modes|expected a string"},
        {"{\"modes\": [[\"0\"]]}", STATUS_INPUT, "modes|expected a string"},
        {"{\"modes\": []}", STATUS_USAGE, "modes|empty"},
        {"{\"resume\": 1}", STATUS_INPUT, "resume|true or false"},
        {"{\"modes\": \"0\", \"all_modes\": true}", STATUS_USAGE, "job.json|contradicts"},
        {"{\"dry_run\": true, \"dry-run\": false}", STATUS_USAGE, "contradicts"},
        {"{\"resume\": true, \"resume\": true}", STATUS_INPUT, "duplicate key"},
        {"[1]", STATUS_INPUT, "job.json|JSON object"},
        {"{\"calib_seqlen\": 3", STATUS_INPUT, "job.json|not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_job(cases[i].text);
        expect_refused("--job job.json", cases[i].status, cases[i].words);
    }
    expect_refused("--job no_such.json", STATUS_INPUT, "no_such.json|no such file");
}

// The table itself: names are unique, every option is in the help, and those with an argument say which.
static void table_is_sound(void **state)
{
    (void)state;
    char *help = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&help, &bytes);
    help_print(out, HELP_ALL);
    fclose(out);
    for (int i = 0; i < option_count(); i++) {
        const struct option *option = option_at(i);
        // A name may have a meaning for each command, but one only.
        for (int c = 0; c < 32; c++)
            if (option->commands & 1u << c)
                assert_ptr_equal(option_find_for(option->name, strlen(option->name), (enum command)c),
                                 option);
        assert_true(!option->letter || option_find_letter(option->letter) == option);
        char shown[80];
        snprintf(shown, sizeof shown, "--%s%s%s", option->name, option->argument ? " " : "",
                 option->argument ? option->argument : "\n");
        shown[strcspn(shown, "\n")] = '\0';
        if (!strstr(help, shown)) fail_msg("'%s' is not in the help", shown);
        bool wants =
            option->kind == OPTION_INT || option->kind == OPTION_DOUBLE || option->kind == OPTION_TEXT ||
            option->kind == OPTION_LIST || option->kind == OPTION_INT_LIST || option->kind == OPTION_FILE ||
            option->kind == OPTION_BYTES || option->kind == OPTION_CHOICE || option->kind == OPTION_LINES;
        assert_int_equal(option_takes_argument(option), wants);
        assert_non_null(option->help);
    }
    for (int i = 0; i < command_count(); i++)
        assert_non_null(strstr(help, command_at(i)->help));
    for (const char *line = help; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 120);
    free(help);
}

static char *identity(const char *line)
{
    struct job job = parsed(line);
    char *text = job_identity_json(&job);
    assert_non_null(text);
    job_clear(&job);
    return text;
}

static void identity_holds_what_defines_the_numbers(void **state)
{
    (void)state;
    char *base = identity("");
    static const char *const same[] = {
        "--threads 4", "--output_dir x", "--comparison-dir x",     "-v",          "--shard 3",
        "--resume",    "--progress 3",   "--calib_data_num 10,10", "--all-modes", "--eval_data_num 10"};
    static const char *const other[] = {"--calib_data_num 11", "--calib_seqlen 5", "--percentile_alpha 0.9",
                                        "--modes 0",           "--layers 1",       "--components all",
                                        "--reference fp16",    "--model m",        "--calib-data f",
                                        "--eval-data f",       "--eval_data_num 9"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        char *text = identity(same[i]);
        assert_string_equal(text, base);
        free(text);
    }
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        char *text = identity(other[i]);
        assert_string_not_equal(text, base);
        free(text);
    }
    struct json *root = NULL;
    struct error err = {0};
    assert_int_equal(json_parse(&root, base, strlen(base), "identity", &err), STATUS_OK);
    assert_true(json_number(json_get(root, "percentile_alpha")) == 0.9995);
    json_close(root);
    free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(every_option_arrives),
        cmocka_unit_test(choices_and_bytes_arrive),
        cmocka_unit_test(commands_are_found),
        cmocka_unit_test(first_word_may_be_a_model),
        cmocka_unit_test(help_and_version_win),
        cmocka_unit_test(pretrained_dir_holds_models),
        cmocka_unit_test(bad_lines_are_refused),
        cmocka_unit_test(too_many_cells),
        cmocka_unit_test(job_file_gives_what_the_line_does_not),
        cmocka_unit_test(bad_job_files_are_refused),
        cmocka_unit_test(table_is_sound),
        cmocka_unit_test(identity_holds_what_defines_the_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
