// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/findings.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"

// What is in a file tells a member that no other has.
static const struct {
    const char *file, *member;
} kinds[FINDINGS] = {
    [FINDING_ATTRIBUTION] = {"attribution.json", "interaction"},
    [FINDING_DEPTH] = {"depth.json", "amplification_begins"},
    [FINDING_BISECT] = {"bisect.json", "steps"},
    [FINDING_MIX] = {"mix.json", "budget"},
    [FINDING_UNITS] = {"units.json", "units"},
};

const char *finding_file(enum finding finding)
{
    return kinds[finding].file;
}

// In units.json it stands at the top, in the others in their provenance.
static const char *digest_of(const struct json *root)
{
    const char *own = json_string(json_get(root, "weights_digest"));
    const char *source = json_string(json_get(json_get(root, "provenance"), "weights_digest"));
    return own ? own : source ? source : "";
}

static int kind_of(const struct json *root)
{
    for (int f = 0; f < FINDINGS; f++)
        if (json_get(root, kinds[f].member)) return f;
    return FINDINGS;
}

static void take(struct findings *findings, int finding, struct json *root, char *path)
{
    json_close(findings->of[finding]);
    free(findings->paths[finding]);
    findings->of[finding] = root;
    findings->paths[finding] = path;
}

// Takes it, unless it is of other weights or no JSON.
static void look_at(struct findings *findings, int finding, char *path, const char *digest)
{
    struct error wrong = {0};
    struct json *root = NULL;
    if (json_read_file(&root, path, &wrong)) {
        notes_add(&findings->left_out, "%.300s is left out of the page: %.80s", path, wrong.text);
    } else if (digest && strcmp(digest_of(root), digest) != 0) {
        notes_add(&findings->left_out, "%.300s is of another model: left out of the page", path);
        json_close(root);
    } else {
        take(findings, finding, root, path);
        return;
    }
    free(path);
}

enum status findings_look(struct findings *findings, const char *folder, const char *digest,
                          struct error *err)
{
    for (int f = 0; f < FINDINGS; f++) {
        char *path = file_join(folder, kinds[f].file);
        if (!path) return error_memory(err, strlen(folder), "a path");
        if (file_exists(path))
            look_at(findings, f, path, digest);
        else
            free(path);
    }
    return STATUS_OK;
}

enum status findings_read(struct findings *findings, const char *path, bool *is_one, struct error *err)
{
    struct json *root = NULL;
    *is_one = false;
    if (json_read_file(&root, path, err)) return err->status;
    const int finding = kind_of(root);
    char *own = finding < FINDINGS ? strdup(path) : NULL;
    if (finding < FINDINGS && !own) error_memory(err, strlen(path), "a path");
    *is_one = own != NULL;
    if (own)
        take(findings, finding, root, own);
    else
        json_close(root);
    findings->named = true;
    return err->status;
}

void findings_close(struct findings *findings)
{
    for (int f = 0; f < FINDINGS; f++)
        take(findings, f, NULL, NULL);
    *findings = (struct findings){0};
}

bool findings_any(const struct findings *findings)
{
    for (int f = 0; f < FINDINGS; f++)
        if (findings->of[f]) return true;
    return false;
}

const char *findings_digest(const struct findings *findings)
{
    for (int f = 0; f < FINDINGS; f++)
        if (findings->of[f] && digest_of(findings->of[f])[0]) return digest_of(findings->of[f]);
    return "";
}
