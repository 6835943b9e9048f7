// SPDX-License-Identifier: Apache-2.0
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "ssmsweep/store/store.h"
#include "store_layout.h"

struct deepest {
    char text[400];
};

// The ordinary driver adds time, buffers and offsets; of all that only errno's text is kept.
static void shorten(char *text, size_t room)
{
    char cause[100] = "";
    const char *message = strstr(text, "error message = '");
    if (!message) return;
    sscanf(message, "error message = '%99[^']", cause);
    char *colon = strchr(text, ':');
    if (colon) snprintf(colon, room - (size_t)(colon - text), ": %s", cause);
}

static herr_t take_first(unsigned n, const H5E_error2_t *entry, void *context)
{
    struct deepest *deepest = context;
    if (n > 0 || !entry->desc) return 0;
    snprintf(deepest->text, sizeof deepest->text, "%s", entry->desc);
    shorten(deepest->text, sizeof deepest->text);
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

void store_hdf5_reason(char *text, size_t room)
{
    struct deepest deepest = {"no reason given"};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &deepest);
    H5Eclear2(H5E_DEFAULT);
    snprintf(text, room, "%s", deepest.text);
}

enum status store_hdf5_error(struct error *err, const char *path, const char *what)
{
    char reason[400], space[64];
    store_hdf5_reason(reason, sizeof reason);
    free_space(path, space, sizeof space);
    return error_set(err, STATUS_IO, "%s: %s: %s%s", path, what, reason, space);
}

void store_hdf5_silence(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void store_prepare(void)
{
    H5dont_atexit();
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1); // overrules what it was; store_lock.h does it
    H5open();                                    // before MPI_Init, else HDF5 hooks itself into MPI_Finalize
    store_hdf5_silence();
}
