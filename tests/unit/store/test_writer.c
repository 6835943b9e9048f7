// SPDX-License-Identifier: Apache-2.0
// The writer alone, with and without its thread: what it writes, in which order, and what becomes of
// failures.
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
    return (struct writer_account){.digest = DIGESTS + (long long)sample * HASH_BYTES,
                                   .seconds = SECONDS + (long long)sample * 4,
                                   .state = STATES + sample,
                                   .done = 9};
}

static void put_output(struct writer *writer, int run, int sample, int output)
{
    unsigned char values[MOST_BYTES];
    struct error err = {0};
    fill(values, sample, output);
    assert_int_equal(writer_put(writer, run, (long long)(sample * OUTPUTS + output) * STRIDE, values,
                                size_of(sample, output), &err),
                     STATUS_OK);
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
    struct writer *writer = NULL;
    struct error err = {0};
    make_file((long)(STATES + SAMPLES));
    assert_int_equal(writer_open(&writer, path, MOST_BYTES, RUNS, threaded, &err), STATUS_OK);
    for (int s = 0; s < SAMPLES; s++) {
        put_sample(writer, s);
        if (s % settle_each == 0) assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
    }
    assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
    unsigned char *data = read_file((size_t)STATES + SAMPLES);
    for (int s = 0; s < SAMPLES; s++)
        check_sample(data, s);
    free(data);
    assert_int_equal(writer_sync(writer, &err), STATUS_OK);
    writer_close(writer);
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
        struct writer *writer = NULL;
        struct error err = {0};
        make_file((long)(STATES + SAMPLES));
        assert_int_equal(writer_open(&writer, path, MOST_BYTES, RUNS, threaded, &err), STATUS_OK);
        assert_int_equal(writer_put(writer, 0, STRIDE, "torn", 4, &err), STATUS_OK);
        assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
        put_sample(writer, 5);
        assert_int_equal(writer_settle(writer, 0, &err), STATUS_OK);
        unsigned char *data = read_file((size_t)STATES + SAMPLES);
        check_sample(data, 5);
        free(data);
        writer_close(writer);
    }
}

// Samples of several runs take turns: each has its own digest, and one that is forgotten, or that fails, does
// not touch the others.
static void test_turns(void **state)
{
    (void)state;
    for (int threaded = 0; threaded < 2; threaded++) {
        struct writer *writer = NULL;
        struct error err = {0}, failed = {0}, ignored = {0};
        make_file((long)(STATES + SAMPLES));
        assert_int_equal(writer_open(&writer, path, MOST_BYTES, RUNS, threaded, &err), STATUS_OK);
        for (int o = 0; o < OUTPUTS; o++) {
            put_output(writer, 0, 10, o);
            put_output(writer, 1, 20, o);
            writer_put(writer, 2, o == 4 ? -1 : STRIDE, "lost", 4, &ignored); // no such place
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
        writer_close(writer);
    }
}

// A full disk: the error comes back once, nothing hangs, no account is written behind lost data.
static void test_full(void **state)
{
    (void)state;
    for (int threaded = 0; threaded < 2; threaded++) {
        struct writer *writer = NULL;
        struct error err = {0}, later = {0};
        unsigned char values[MOST_BYTES] = {0};
        struct writer_account account = account_of(0);
        assert_int_equal(writer_open(&writer, "/dev/full", MOST_BYTES, RUNS, threaded, &err), STATUS_OK);
        for (int i = 0; i < 50; i++) {
            struct error ignored = {0};
            writer_put(writer, 0, 0, values, sizeof values, &ignored);
        }
        writer_put_account(writer, 0, &account, 1, &err);
        writer_settle(writer, 0, &err);
        expect_error(&err, STATUS_IO, "/dev/full: cannot write layer outputs: No space left on device (");
        assert_int_equal(writer_settle(writer, 0, &later), STATUS_OK);
        writer_close(writer);
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
        struct writer *writer = NULL;
        struct error err = {0}, ignored = {0};
        struct writer_account account = {.digest = 0, .seconds = 64, .state = 128, .done = 9};
        make_file(STRIDE);
        assert_int_equal(writer_open(&writer, path, MOST_BYTES, RUNS, threaded, &err), STATUS_OK);
        setrlimit(RLIMIT_FSIZE, &limit);
        writer_put(writer, 0, 4000, "astride the limit", 8, &err);
        writer_put(writer, 0, 5000, "lost", 4, &err);
        writer_put_account(writer, 0, &account, 1, &ignored);
        writer_settle(writer, 0, &err);
        setrlimit(RLIMIT_FSIZE, &before);
        expect_error(&err, STATUS_IO, "writer.bin: cannot write layer outputs: File too large");
        unsigned char *data = read_file(STRIDE);
        for (int i = 0; i < 129; i++)
            assert_int_equal(data[i], 0);
        free(data);
        writer_close(writer);
    }
}

static void test_missing_file(void **state)
{
    (void)state;
    struct writer *writer = NULL;
    struct error err = {0};
    assert_int_equal(writer_open(&writer, "nowhere.bin", MOST_BYTES, RUNS, true, &err), STATUS_IO);
    assert_null(writer);
    writer_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),      cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_full),         cmocka_unit_test(test_no_account_of_lost_data),
        cmocka_unit_test(test_missing_file), cmocka_unit_test(test_turns),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
