// SPDX-License-Identifier: Apache-2.0
#include "../support.h"

#include <dirent.h>
#include <unistd.h>

#include "ssmsweep/base/file.h"

static char root[] = "file_test_XXXXXX";

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void path_of(char path[256], const char *name)
{
    snprintf(path, 256, "%s/%s", root, name);
}

static void maps_whole_files(void **state)
{
    (void)state;
    char path[256];
    path_of(path, "data");
    write_whole(path, "hello", 5);
    struct file_map map = {0};
    struct error err = {0};
    assert_int_equal(file_map(&map, path, &err), STATUS_OK);
    assert_int_equal(map.size_bytes, 5);
    assert_memory_equal(map.data, "hello", 5);
    file_unmap(&map);
    assert_null(map.data);
    file_unmap(&map);

    path_of(path, "empty");
    write_whole(path, "", 0);
    assert_int_equal(file_map(&map, path, &err), STATUS_OK);
    assert_int_equal(map.size_bytes, 0);
    file_unmap(&map);
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    char path[256];
    struct file_map map = {0};
    struct error missing = {0}, folder = {0};
    path_of(path, "nothing");
    file_map(&map, path, &missing);
    expect_error(&missing, STATUS_INPUT, "nothing|no such file");
    file_map(&map, root, &folder);
    expect_error(&folder, STATUS_INPUT, "regular file, got a folder");
    assert_null(map.data);
    assert_false(file_exists(path));
    assert_true(file_exists(root));
    assert_true(file_is_directory(root));
}

static int count_entries(const char *directory)
{
    DIR *dir = opendir(directory);
    int n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static void replaces_and_leaves_nothing_else(void **state)
{
    (void)state;
    char folder[256], path[300];
    path_of(folder, "a/b/c");
    struct error err = {0};
    assert_int_equal(file_make_directories(folder, &err), STATUS_OK);
    assert_int_equal(file_make_directories(folder, &err), STATUS_OK);
    snprintf(path, sizeof path, "%s/out", folder);
    assert_int_equal(file_replace(path, "one", 3, &err), STATUS_OK);
    assert_int_equal(file_replace(path, "second", 6, &err), STATUS_OK);
    size_t bytes;
    char *data = read_whole(path, &bytes);
    assert_string_equal(data, "second");
    free(data);
    assert_int_equal(count_entries(folder), 1);
}

static void removes_what_it_made_and_is_empty(void **state)
{
    (void)state;
    static const char *const paths[] = {"r/s/t", "r//s/t//", "r/./s/t/.", "r"};
    char path[256], kept[256];
    struct error err = {0};
    path_of(kept, "kept");
    assert_int_equal(file_make_directories(kept, &err), STATUS_OK);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "kept/%s", paths[i]);
        path_of(path, name);
        const size_t existing = file_existing_bytes(path);
        assert_int_equal(existing, strlen(kept));
        assert_int_equal(file_make_directories(path, &err), STATUS_OK);
        assert_true(file_is_directory(path));
        assert_true(file_existing_bytes(path) == strlen(path));
        file_remove_directories(path, strlen(path));
        assert_true(file_is_directory(path));
        file_remove_directories(path, existing);
        assert_int_equal(count_entries(kept), 0);
    }
    path_of(path, "kept/a/b");
    assert_int_equal(file_make_directories(path, &err), STATUS_OK);
    path_of(kept, "kept/a/file");
    write_whole(kept, "x", 1);
    file_remove_directories(path, 0);
    assert_false(file_exists(path));
    assert_true(file_exists(kept));
}

static void write_errors_are_named(void **state)
{
    (void)state;
    char path[256];
    path_of(path, "missing/out");
    struct error err = {0};
    assert_int_equal(file_replace(path, "x", 1, &err), STATUS_IO);
    expect_error(&err, STATUS_IO, "missing/out|No such file");

    // The target is a folder: the rename fails, and the temporary file goes away.
    char folder[256];
    path_of(folder, "d/target");
    struct error rename_error = {0}, ignored = {0};
    file_make_directories(folder, &ignored);
    file_replace(folder, "x", 1, &rename_error);
    expect_error(&rename_error, STATUS_IO, "d/target|rename");
    path_of(folder, "d");
    assert_int_equal(count_entries(folder), 1);

    struct error in_the_way = {0};
    path_of(path, "data2");
    write_whole(path, "", 0);
    path_of(path, "data2/sub");
    file_make_directories(path, &in_the_way);
    expect_error(&in_the_way, STATUS_IO, "data2|Not a directory");
}

static void joins(void **state)
{
    (void)state;
    char *path = file_join("a", "b.json");
    assert_string_equal(path, "a/b.json");
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_whole_files),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(replaces_and_leaves_nothing_else),
        cmocka_unit_test(removes_what_it_made_and_is_empty),
        cmocka_unit_test(write_errors_are_named),
        cmocka_unit_test(joins),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
