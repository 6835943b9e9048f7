// SPDX-License-Identifier: Apache-2.0
// Locks of open file descriptions exclude each other within a process as well.
#include <fcntl.h>
#include <unistd.h>

#include "../support.h"
#include "ssmsweep/store/claim.h"

static const char RESULT[] = "test_claim.h5", LOCK[] = "test_claim.h5.lock";

// What another run does between our open() and our lock: it ends, and takes the file away.
static int files_taken_away;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    int descriptor = __real_open(path, flags, 0666);
    if (files_taken_away > 0 && strcmp(path, LOCK) == 0) {
        files_taken_away--;
        unlink(LOCK);
    }
    return descriptor;
}

static void one_at_a_time(void **state)
{
    struct claim first = {0}, second = {0};
    struct error err = {0};
    char holder[CLAIM_HOLDER_ROOM], process[40];
    (void)state;
    assert_false(claim_look(RESULT, holder));
    assert_int_equal(claim_take(&first, RESULT, NULL, &err), STATUS_OK);
    assert_int_equal(claim_take(&first, RESULT, NULL, &err), STATUS_OK); // again
    snprintf(process, sizeof process, ", process %ld,", (long)getpid());
    assert_int_equal(claim_take(&second, RESULT, NULL, &err), STATUS_BUSY);
    expect_error(&err, STATUS_BUSY, process);
    assert_null(second.path);
    assert_true(claim_look(RESULT, holder));
    assert_non_null(strstr(holder, process));
    claim_drop(&first);
    assert_int_not_equal(access(LOCK, F_OK), 0);
    assert_false(claim_look(RESULT, holder));
    err = (struct error){0};
    assert_int_equal(claim_take(&second, RESULT, NULL, &err), STATUS_OK);
    claim_drop(&second);
    claim_drop(&second);
}

static void a_file_that_was_taken_away_is_no_lock(void **state)
{
    struct claim first = {0}, second = {0};
    struct error err = {0};
    (void)state;
    files_taken_away = 3;
    assert_int_equal(claim_take(&first, RESULT, NULL, &err), STATUS_OK);
    assert_int_equal(files_taken_away, 0);
    assert_int_equal(access(LOCK, F_OK), 0);
    assert_int_equal(claim_take(&second, RESULT, NULL, &err), STATUS_BUSY);
    claim_drop(&first);
}

static void only_its_own_file_is_removed(void **state)
{
    struct claim claim = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(claim_take(&claim, RESULT, NULL, &err), STATUS_OK);
    unlink(LOCK);
    write_whole(LOCK, "another\n", 8);
    claim_drop(&claim);
    assert_int_equal(unlink(LOCK), 0);
}

static void the_line_of_the_last_holder_is_gone(void **state)
{
    struct claim claim = {0};
    struct error err = {0};
    char old[500];
    size_t bytes;
    (void)state;
    memset(old, 'x', sizeof old);
    write_whole(LOCK, old, sizeof old);
    assert_int_equal(claim_take(&claim, RESULT, NULL, &err), STATUS_OK);
    char *text = read_whole(LOCK, &bytes);
    assert_int_equal(strncmp(text, "host ", 5), 0);
    assert_ptr_equal(strchr(text, '\n'), text + bytes - 1);
    free(text);
    claim_drop(&claim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_at_a_time),
                                       cmocka_unit_test(a_file_that_was_taken_away_is_no_lock),
                                       cmocka_unit_test(only_its_own_file_is_removed),
                                       cmocka_unit_test(the_line_of_the_last_holder_is_gone)};
    unlink(LOCK); // of a test that was ended
    return cmocka_run_group_tests(tests, NULL, NULL);
}
