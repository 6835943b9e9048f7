// SPDX-License-Identifier: Apache-2.0
// What a stranger reads in the file itself (h5dump -A): what each group and dataset is, what its axes are
// called.
#include <stdio.h>
#include <string.h>

#include "describe.h"
#include "hdf.h"

enum { SENTENCE_ROOM = 400, MOST_DEPTH = 8 };

// Sentences are those of docs/result_file.md without the marks of Markdown and without what refers to it.
static void plain_text(char text[SENTENCE_ROOM], const char *marked)
{
    size_t used = 0;
    const char *end = strstr(marked, "see below");
    const size_t length = end ? (size_t)(end - marked) : strlen(marked);
    for (size_t i = 0; i < length && used + 1 < SENTENCE_ROOM; i++)
        if (marked[i] != '`' && marked[i] != '\\') text[used++] = marked[i];
    while (end && used > 0 && strchr(" :;,", text[used - 1]))
        used--;
    text[used] = '\0';
}

static void put_text(hid_t object, const char *name, const char *text, struct describing *describing)
{
    if (describing->err->status || H5Aexists(object, name) > 0) return;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, text) < 0)
        hdf_error(describing->err, describing->path, name);
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

static void put_axes(hid_t data, const struct layout_row *row, struct describing *describing)
{
    layout_names names;
    hsize_t rank = 0;
    if (describing->err->status) return;
    memset(names, 0, sizeof names);
    for (; rank < HDF_RANKS && row->axes[rank] != AXIS_END; rank++)
        snprintf(names[rank], LAYOUT_NAME_ROOM, "%s", layout_axis_names[row->axes[rank]]);
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &rank, NULL);
    H5Tset_size(type, LAYOUT_NAME_ROOM);
    hid_t attribute = H5Acreate2(data, DESCRIBE_AXES, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, names) < 0)
        hdf_error(describing->err, describing->path, DESCRIBE_AXES);
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

void describe_data(hid_t data, enum layout_data which, struct describing *describing)
{
    const struct layout_row *row = &layout_rows[which];
    char text[SENTENCE_ROOM];
    plain_text(text, row->holds);
    put_text(data, "description", text, describing);
    put_text(data, "units", row->units ? row->units : "1", describing);
    put_axes(data, row, describing);
}

unsigned long long describe_bytes(enum layout_data which)
{
    enum { HEADERS = 3 * 64, A_NAME = LAYOUT_NAME_ROOM };
    int rank = 0;
    while (rank < HDF_RANKS && layout_rows[which].axes[rank] != AXIS_END)
        rank++;
    return HEADERS + strlen(layout_rows[which].holds) + (unsigned long long)rank * A_NAME;
}

// ---- groups ----

// By the names on the way from the root: "/items/10/2-1" has three.
static const struct {
    const char *top, *of[3]; // the group itself, a cell in it, a mode in that
} groups[] = {
    {"samples", {"the texts that the modes are compared on", "", ""}},
    {"calibration", {"what made the activation scales", "scales of a calibration: its calib_data_num", ""}},
    {"items",
     {"which samples are done, by calibration and mode",
      "modes with the scales of one calibration; float: those that need none",
      "state of the samples of a mode"}},
    {"metrics",
     {"sums of each sample from which every metric follows",
      "modes with the scales of one calibration; float: those that need none",
      "sums of the samples of a mode, of every layer and component"}},
    {"outputs",
     {"what the layers gave, by calibration and mode",
      "modes with the scales of one calibration; float: those that need none",
      "what the chosen layers of a mode gave"}},
};

static herr_t describe_group(hid_t file, const char *name, const hdf_object_info *info, void *context)
{
    struct describing *describing = context;
    if (info->type != H5O_TYPE_GROUP || strcmp(name, &LAYOUT_RECIPES[1]) == 0)
        return 0; // its attributes are recipes
    int depth = 1;
    for (const char *c = name; *c; c++)
        depth += *c == '/';
    const char *text = depth > 3 ? "a layer, counted from 0: its components" : "";
    const size_t length = strcspn(name, "/");
    for (size_t g = 0; g < sizeof groups / sizeof groups[0] && depth <= 3; g++)
        if (strlen(groups[g].top) == length && strncmp(groups[g].top, name, length) == 0)
            text = groups[g].of[depth - 1];
    if (strcmp(name, ".") == 0)
        text = "outputs and metrics of quantization modes of a Mamba model, made by ssmsweep; "
               "docs/result_file.md has the format";
    hid_t group = H5Oopen(file, name, H5P_DEFAULT);
    if (group < 0)
        hdf_error(describing->err, describing->path, name);
    else
        put_text(group, "description", text, describing);
    if (group >= 0) H5Oclose(group);
    return describing->err->status ? -1 : 0;
}

enum status describe_groups(hid_t file, struct describing *describing)
{
    if (describing->err->status) return describing->err->status;
    if (HDF_VISIT(file, H5_INDEX_NAME, H5_ITER_NATIVE, describe_group, describing, H5O_INFO_BASIC) < 0)
        hdf_error(describing->err, describing->path, "cannot describe its groups");
    return describing->err->status;
}
