// SPDX-License-Identifier: Apache-2.0
// The writer and its sink alone, with and without the thread: what they write, in which order, and what
// becomes of failures.
#include "writer.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../support.h"
#include "ssmsweep/base/hash.h"

enum { RUNS = 3, MOST_BYTES = 5000, SAMPLES = 40, OUTPUTS = 7, STRIDE = 8192 };

static const char path[] = "writer.bin";

static void make_file(long bytes)
{
    write_whole(path, "", 0);
    assert_int_equal(truncate(path, bytes), 0);
}

static unsigned char *read_file(size_t expected)
{
    size_t bytes;
    unsigned char *data = (unsigned char *)read_whole(path, &bytes);
    assert_int_equal(bytes, expected);
    return data;
}

static size_t size_of(int sample, int output)
{
    return output == 3 ? MOST_BYTES : (size_t)((sample * 331 + output * 977) % MOST_BYTES + 1);
}

static void fill(unsigned char *values, int sample, int output)
{
    for (size_t i = 0; i < size_of(sample, output); i++)
        values[i] = (unsigned char)(sample * 7 + output * 3 + (int)(i % 251));
}

// Behind the outputs: digests, seconds, states.
static const long long DIGESTS = (long long)SAMPLES * OUTPUTS * STRIDE;
static const long long SECONDS = (long long)SAMPLES * OUTPUTS * STRIDE + (long long)SAMPLES * HASH_BYTES;
static const long long STATES = (long long)SAMPLES * OUTPUTS * STRIDE + (long long)SAMPLES * (HASH_BYTES + 4);

static struct writer_account account_of(int sample)
{
    return (struct writer_account){.digest = {{DIGESTS, 0}, sample, HASH_BYTES},
                                   .seconds = {{SECONDS, 0}, sample, sizeof(float)},
                                   .state = {{STATES, 0}, sample, 1},
                                   .done = 9};
}

static enum status put_at(struct writer *writer, int run, long long offset, const void *data, size_t bytes,
                          struct error *err)
{
    const struct slot slot = {{offset, 0}, 0, bytes};
    return writer_put(writer, run, &slot, data, bytes, err);
}

struct open {
    struct sink *sink;
    struct writer *writer;
};

static struct open open_both(const char *at, bool threaded)
{
    struct open open = {0};
    struct error err = {0};
    assert_int_equal(sink_open_posix(&open.sink, at, &err), STATUS_OK);
    assert_int_equal(writer_open(&open.writer, open.sink, MOST_BYTES, RUNS, threaded, &err), STATUS_OK);
    return open;
}

static void close_both(struct open *open)
{
    struct error err = {0};
    writer_close(open->writer);
    sink_close(open->sink, &err, &err);
}

static void put_output(struct writer *writer, int run, int sample, int output)
{
    unsigned char values[MOST_BYTES];
    struct error err = {0};
    fill(values, sample, output);
    const struct slot slot = {{0, 0}, sample * OUTPUTS + output, STRIDE};
    assert_int_equal(writer_put(writer, run, &slot, values, size_of(sample, output), &err), STATUS_OK);
    memset(values, 0, sizeof values); // the writer has a copy
}

static void put_account(struct writer *writer, int run, int sample)
{
    struct error err = {0};
    struct writer_account account = account_of(sample);
    assert_int_equal(writer_put_account(writer, run, &account, (float)sample * 0.5f, &err), STATUS_OK);
}

static void put_sample(struct writer *writer, int sample)
{
    for (int o = 0; o < OUTPUTS; o++)
        put_output(writer, 0, sample, o);
    put_account(writer, 0, sample);
}

static void check_sample(const unsigned char *data, int sample)
{
    unsigned char values[MOST_BYTES], digest[HASH_BYTES];
    struct hash *hash = hash_open();
    float seconds = (float)sample * 0.5f;
    for (int o = 0; o < OUTPUTS; o++) {
        fill(values, sample, o);
        hash_update(hash, values, size_of(sample, o));
        assert_memory_equal(data + (size_t)(sample * OUTPUTS + o) * STRIDE, values, size_of(sample, o));
    }
    hash_finish(hash, digest);
    hash_close(hash);
    assert_memory_equal(data + DIGESTS + sample * HASH_BYTES, digest, HASH_BYTES);
    assert_memory_equal(data + SECONDS + sample * 4, &seconds, 4);
    assert_int_equal(data[STATES + sample], 9);
}

static void check_samples(bool threaded, int settle_each)
{
    struct error err = {0};
    make_file((long)(STATES + SAMPLES));
    struct open open = open_both(path, threaded);
    struct writer *writer = open.writer;
    for (int s = 0; s < SAMPLES; s++) {
        put_sample(writer, s);
        if (s % settle_each == 0) assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
        if (s != SAMPLES / 2) continue;
        assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
        assert_int_equal(writer_widen(writer, 7, 3, 3, &err),
                         STATUS_OK); // and what follows goes on as before
    }
    assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
    unsigned char *data = read_file((size_t)STATES + SAMPLES);
    for (int s = 0; s < SAMPLES; s++)
        check_sample(data, s);
    free(data);
    assert_int_equal(sink_sync(open.sink, &err), STATUS_OK);
    close_both(&open);
}

static void test_samples(void **state)
{
    (void)state;
    check_samples(true, 1);
    check_samples(true, SAMPLES);
    check_samples(false, 3);
}

// A sample that was begun leaves no trace in the digest of the next.
static void test_forgotten(void **state)
{
    (void)state;
    for (int threaded = 0; threaded < 2; threaded++) {
        struct error err = {0};
        make_file((long)(STATES + SAMPLES));
        struct open open = open_both(path, threaded);
        struct writer *writer = open.writer;
        assert_int_equal(put_at(writer, 0, STRIDE, "torn", 4, &err), STATUS_OK);
        assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
        put_sample(writer, 5);
        assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
        unsigned char *data = read_file((size_t)STATES + SAMPLES);
        check_sample(data, 5);
        free(data);
        close_both(&open);
    }
}

// Samples of several runs take turns: each has its own digest, and one that is forgotten, or that fails, does
// not touch the others.
static void test_turns(void **state)
{
    (void)state;
    for (int threads = 0; threads <= WRITER_MOST_THREADS; threads++) {
        struct error err = {0}, failed = {0}, ignored = {0};
        make_file((long)(STATES + SAMPLES));
        struct open open = open_both(path, threads > 0);
        struct writer *writer = open.writer;
        assert_int_equal(writer_widen(writer, RUNS, 1, threads, &err), STATUS_OK);
        for (int o = 0; o < OUTPUTS; o++) {
            put_output(writer, 0, 10, o);
            put_output(writer, 1, 20, o);
            put_at(writer, 2, o == 4 ? -1 : STRIDE, "lost", 4, &ignored); // no such place
        }
        put_account(writer, 1, 20);
        assert_int_equal(writer_settle(writer, 1, &err), STATUS_OK);
        put_account(writer, 0, 10);
        assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
        writer_settle(writer, 2, &failed);
        assert_int_equal(failed.status, STATUS_IO);
        put_output(writer, 0, 11, 0);
        assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
        for (int o = 0; o < OUTPUTS; o++)
            put_output(writer, 2, 12, o);
        put_account(writer, 2, 12);
        assert_int_equal(writer_settle(writer, 2, &err), STATUS_OK);
        unsigned char *data = read_file((size_t)STATES + SAMPLES);
        check_sample(data, 10);
        check_sample(data, 20);
        check_sample(data, 12);
        free(data);
        close_both(&open);
    }
}

// A full disk: the error comes back once, nothing hangs, no account is written behind lost data.
static void test_full(void **state)
{
    (void)state;
    for (int threaded = 0; threaded < 2; threaded++) {
        struct error err = {0}, later = {0};
        unsigned char values[MOST_BYTES] = {0};
        struct writer_account account = account_of(0);
        struct open open = open_both("/dev/full", threaded);
        struct writer *writer = open.writer;
        for (int i = 0; i < 50; i++) {
            struct error ignored = {0};
            put_at(writer, 0, 0, values, sizeof values, &ignored);
        }
        writer_put_account(writer, 0, &account, 1, &err);
        writer_settle(writer, 0, &err);
        expect_error(&err, STATUS_IO, "/dev/full: cannot write layer outputs: No space left on device (");
        assert_int_equal(writer_settle(writer, 0, &later), STATUS_OK);
        close_both(&open);
    }
}

// What cannot be written lies behind a limit, its account before it: the account must not be there either.
static void test_no_account_of_lost_data(void **state)
{
    (void)state;
    struct rlimit before, limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = (struct rlimit){.rlim_cur = 4096, .rlim_max = before.rlim_max};
    for (int threaded = 0; threaded < 2; threaded++) {
        struct error err = {0}, ignored = {0};
        struct writer_account account = {
            .digest = {{0, 0}, 0, 32}, .seconds = {{0, 0}, 16, 4}, .state = {{128, 0}, 0, 1}, .done = 9};
        make_file(STRIDE);
        struct open open = open_both(path, threaded);
        struct writer *writer = open.writer;
        setrlimit(RLIMIT_FSIZE, &limit);
        put_at(writer, 0, 4000, "astride the limit", 8, &err);
        put_at(writer, 0, 5000, "lost", 4, &err);
        writer_put_account(writer, 0, &account, 1, &ignored);
        writer_settle(writer, 0, &err);
        setrlimit(RLIMIT_FSIZE, &before);
        expect_error(&err, STATUS_IO, "writer.bin: cannot write layer outputs: File too large");
        unsigned char *data = read_file(STRIDE);
        for (int i = 0; i < 129; i++)
            assert_int_equal(data[i], 0);
        free(data);
        close_both(&open);
    }
}

static void test_missing_file(void **state)
{
    (void)state;
    struct sink *sink = NULL;
    struct error err = {0};
    assert_int_equal(sink_open_posix(&sink, "nowhere.bin", &err), STATUS_IO);
    assert_null(sink);
    sink_close(NULL, &err, &err);
    writer_close(NULL);
}

// Rows are read back from any byte on, and not behind the end of the file.
static void test_reading(void **state)
{
    (void)state;
    struct open open;
    const struct slot slot = {.of.data = 8, .row = 3, .row_bytes = 16};
    struct error err = {0};
    char read[16] = "";
    make_file(8 + 4 * 16);
    open = open_both(path, false);
    assert_int_equal(sink_put(open.sink, &slot, "sixteen letters.", 16, "cannot", &err), STATUS_OK);
    assert_true(sink_get(open.sink, &slot, 8, read, 7));
    assert_string_equal(read, "letters");
    assert_false(sink_get(open.sink, &slot, 8, read, 9));
    close_both(&open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),      cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_full),         cmocka_unit_test(test_no_account_of_lost_data),
        cmocka_unit_test(test_missing_file), cmocka_unit_test(test_turns),
        cmocka_unit_test(test_reading),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
