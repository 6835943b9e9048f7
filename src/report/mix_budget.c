// SPDX-License-Identifier: Apache-2.0
// What a mix may cost, and what a recipe takes of it.
#include <math.h>
#include <string.h>

#include "mix.h"
#include "ssmsweep/base/number.h"

// ---- the option ----

static const struct {
    const char *name, *sign;
} kinds[] = {
    [BUDGET_INT8] = {"int8", ">="}, [BUDGET_BYTES] = {"bytes", "<="}, [BUDGET_COST] = {"cost", "<="}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

const char *budget_kind_name(enum budget_kind kind)
{
    return kinds[kind].name;
}

// A number, of bytes maybe with K, M, G or T behind it.
static bool read_limit(const char *text, enum budget_kind kind, double *limit)
{
    static const char suffixes[] = "KMGT";
    char *end;
    double value = number_read(text, &end);
    const char *suffix = *end && kind == BUDGET_BYTES ? strchr(suffixes, *end) : NULL;
    if (end == text || !isfinite(value) || value < 0) return false;
    for (const char *s = suffixes; suffix && s <= suffix; s++)
        value *= 1000;
    *limit = value;
    return end[suffix != NULL] == '\0' && (kind != BUDGET_INT8 || value <= 1);
}

enum status budget_parse(struct budget *budget, const char *text, struct error *err)
{
    for (int k = 0; k < KINDS; k++) {
        const size_t name = strlen(kinds[k].name), sign = strlen(kinds[k].sign);
        budget->kind = (enum budget_kind)k;
        if (strncmp(text, kinds[k].name, name) == 0 && strncmp(text + name, kinds[k].sign, sign) == 0 &&
            read_limit(text + name + sign, budget->kind, &budget->limit))
            return STATUS_OK;
    }
    return error_set(err, STATUS_USAGE,
                     "--budget: expected int8>=SHARE (up to 1), bytes<=N (as 1.2M) or cost<=X, got '%.64s'",
                     text);
}

// ---- what a recipe takes ----

void budget_clear(struct budget *budget)
{
    costs_clear(&budget->costs);
    *budget = (struct budget){0};
}

enum status budget_takes(const struct budget *budget, const struct dims *dims, const struct recipe *recipe,
                         struct takes *takes, struct error *err)
{
    struct takes t = {.price = price_of(dims, recipe), .user = (double)NAN};
    if (budget->costs.table && costs_sum(&budget->costs, dims, recipe, &t.user, err)) return err->status;
    const double all = (double)t.price.multiply_adds;
    t.int8_share = all > 0 ? (double)t.price.int8_multiply_adds / all : 0;
    if (budget->kind == BUDGET_INT8) {
        t.cost = all > 0 ? (double)(t.price.multiply_adds - t.price.int8_multiply_adds) / all : 1;
        t.fits = t.int8_share >= budget->limit;
    } else {
        t.cost = budget->kind == BUDGET_BYTES ? (double)t.price.weight_bytes : t.user;
        t.fits = t.cost <= budget->limit;
    }
    *takes = t;
    return STATUS_OK;
}
