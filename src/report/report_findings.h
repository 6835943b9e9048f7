// SPDX-License-Identifier: Apache-2.0
// Between the sources of the sections that are made of findings (ssmsweep/report/findings.h).
#ifndef SSMSWEEP_REPORT_REPORT_FINDINGS_H
#define SSMSWEEP_REPORT_REPORT_FINDINGS_H

#include "report_parts.h"
#include "ssmsweep/report/findings.h"
#include "sweep_reader.h"

// One file on its way into sections.  What is wrong with it is in reader.err, which is the builder's too.
struct finding_builder {
    struct builder *b;
    struct reader reader;
    const struct json *root;
};

// Members VALUE, LOW, HIGH and the state of an interval of an object.
struct finding_keys {
    const char *value, *low, *high, *state;
};
extern const struct finding_keys finding_interval; // value, low, high, interval
struct report_cell finding_estimate(struct reader *r, const struct json *object,
                                    const struct finding_keys *keys);
struct report_cell finding_number(struct reader *r, const struct json *object, const char *key);

// Texts of the report: a number with so many digits; with its interval, "x 0.817 (0.767..0.870)".
const char *finding_digits(struct builder *b, double value, int digits);
const char *finding_percent(struct builder *b, double share);
const char *finding_times(struct builder *b, const struct report_cell *cell);
// A whole number; of null `none`.
const char *finding_whole(struct finding_builder *f, const struct json *object, const char *key,
                          const char *none);
// Unit and layer of a piece, either null: "scan:u of layer 3", "layer 3", "every piece".
const char *finding_piece(struct finding_builder *f, const struct json *object);
// "KL of the predictions against fp32": what metric, layer and component of a file say.
const char *finding_place(struct finding_builder *f);
const char *finding_label(struct finding_builder *f); // "KL"

// The sections of each file.
void build_attribution(struct finding_builder *f);
void build_depth(struct finding_builder *f);
void build_bisect(struct finding_builder *f);
void build_mix(struct finding_builder *f);
void build_unit_values(struct finding_builder *f);

#endif
