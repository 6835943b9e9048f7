// SPDX-License-Identifier: Apache-2.0
// Reading codes and scales out of a quantized checkpoint, for the families (codes.c).
#ifndef SSMSWEEP_ARCH_CODES_PARTS_H
#define SSMSWEEP_ARCH_CODES_PARTS_H

#include "ssmsweep/arch/config.h"

enum { CODES_NAME_CHARS = 128 };

// "backbone.layers.<layer>.<rest>"
void codes_layer_name(int layer, const char *rest, char name[CODES_NAME_CHARS]);
// The other way round, of one of so many layers; false: it is none.
bool codes_split_name(const char *name, int n_layer, int *layer, const char **rest);
enum status codes_missing(const struct model *model, const char *name, struct error *err);
// `view` becomes [rows, columns], or [rows] where shape[1] is 0, of the tensor's codes.
enum status codes_bind(const struct model *model, const char *name, const int64_t shape[2],
                       bool stored_by_input, struct tensor *view, struct error *err);
// A tensor of a float dtype, finite; `view` is it as [rows, columns] or [rows].
enum status codes_bind_float(const struct model *model, const char *name, const int64_t shape[2],
                             struct tensor *view, struct error *err);
// A plain number, or a float tensor of one element; *found is false where there is neither.
enum status codes_find_number(const struct model *model, const char *name, double *number, bool *found,
                              struct error *err);
enum status codes_scale(const struct model *model, const char *name, float *scale, struct error *err);
// A number that may be missing, and else is near the one that the others give.
enum status codes_check(const struct model *model, const char *name, double expected, struct error *err);
bool codes_are_near(double number, double expected);
// All ones, as the weight of the norm lies in `folded`.
enum status codes_norm(const struct model *model, const char *name, const char *folded,
                       const struct tensor **norm, struct error *err);
// Embedding and lm_head where they are codes.
enum status codes_embedding(struct model *model, const struct config *config, struct error *err);
enum status codes_head(struct model *model, const struct config *config, struct tensor *view,
                       struct error *err);
bool codes_is_end(const char *name); // is it a part of those?
enum status codes_check_strangers(const struct model *model, struct error *err);

#endif
