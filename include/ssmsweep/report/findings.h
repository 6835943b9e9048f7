// SPDX-License-Identifier: Apache-2.0
// What attribute, mix and units left behind (attribution.json, depth.json, bisect.json, mix.json,
// units.json), read back to be shown with a comparison of the same model, or by itself.
//
// Called by: report_pages.c and reporting.c, which read them; report_findings.c, which makes sections of
// them.
#ifndef SSMSWEEP_REPORT_FINDINGS_H
#define SSMSWEEP_REPORT_FINDINGS_H

#include <stdbool.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"

enum finding {
    FINDING_ATTRIBUTION,
    FINDING_DEPTH,
    FINDING_BISECT,
    FINDING_MIX,
    FINDING_UNITS,
    FINDINGS,
};

// The versions of the files that are written, and read.
enum {
    ATTRIBUTION_SCHEMA_VERSION = 3,
    DEPTH_SCHEMA_VERSION = 1,
    BISECT_SCHEMA_VERSION = 1,
    MIX_SCHEMA_VERSION = 2,
    UNITS_SCHEMA_VERSION = 1
};

// In caller memory, zeroed before use; findings_close() frees.
struct findings {
    struct json *of[FINDINGS]; // NULL: not there
    char *paths[FINDINGS];
    bool named;            // by the user: what is wrong with one is an error, else it is left out with a note
    struct notes left_out; // why a file that lies there is not taken
};

const char *finding_file(enum finding finding); // "mix.json"

// Local.  Those that a folder holds; without `digest` whatever they are of, else those of a model with these
// weights.  What cannot be taken is noted.  STATUS_IO: memory is out.
enum status findings_look(struct findings *findings, const char *folder, const char *digest,
                          struct error *err);
// Local.  One file, which tells by its members what it is.  *is_one false: it is none.  STATUS_INPUT: it is
// no JSON.
enum status findings_read(struct findings *findings, const char *path, bool *is_one, struct error *err);
void findings_close(struct findings *findings); // a zeroed one is fine

bool findings_any(const struct findings *findings);
// The digest of the weights; "": not known.
const char *findings_digest(const struct findings *findings);

#endif
