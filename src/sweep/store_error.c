// SPDX-License-Identifier: Apache-2.0
#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "store_layout.h"

struct deepest {
    char text[400];
};

static herr_t take_first(unsigned n, const H5E_error2_t *entry, void *context)
{
    struct deepest *deepest = context;
    if (n == 0)
        snprintf(deepest->text, sizeof deepest->text, "%s", entry->desc ? entry->desc : "no reason given");
    return 0;
}

// errno is stale after an HDF5 call, so the room on the file system is told instead.
static void free_space(const char *path, char *text, size_t room)
{
    char folder[1024];
    struct statvfs info;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    text[0] = '\0';
    if (statvfs(slash ? folder : ".", &info) == 0)
        snprintf(text, room, " (%llu MiB free there)",
                 (unsigned long long)info.f_bavail * info.f_frsize / (1024ull * 1024ull));
}

enum status store_hdf5_error(struct error *err, const char *path, const char *what)
{
    struct deepest deepest = {"no reason given"};
    char room[64];
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &deepest);
    H5Eclear2(H5E_DEFAULT);
    free_space(path, room, sizeof room);
    return error_set(err, STATUS_IO, "%s: %s: %s%s", path, what, deepest.text, room);
}

void store_hdf5_silence(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}
