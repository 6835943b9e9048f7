// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/footprint.h"

#include <stdio.h>
#include <string.h>

static bool take(const char *line, const char *key, unsigned long long *bytes)
{
    unsigned long long kibibytes;
    const size_t length = strlen(key);
    if (strncmp(line, key, length) != 0 || sscanf(line + length, ": %llu kB", &kibibytes) != 1) return false;
    *bytes = kibibytes << 10;
    return true;
}

bool footprint_read(struct footprint *footprint)
{
    struct footprint read = {0};
    int found = 0;
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof line, file))
        found += take(line, "Pss_Anon", &read.own_bytes) || take(line, "Pss_Shmem", &read.shared_bytes);
    if (file) fclose(file);
    *footprint = found == 2 ? read : (struct footprint){0};
    return found == 2;
}

void footprint_log(const struct log *log, const char *what)
{
    struct footprint footprint;
    if (log->level < LOG_VERBOSE || !footprint_read(&footprint)) return;
    log_rank(log, LOG_VERBOSE, "memory: %.1f MiB own, %.1f MiB of shared, %s",
             (double)footprint.own_bytes / (1 << 20), (double)footprint.shared_bytes / (1 << 20), what);
}
