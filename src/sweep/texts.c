// SPDX-License-Identifier: Apache-2.0
#include "texts.h"

#include "ssmsweep/store/store.h"

const struct corpus *texts_calibration(const struct sweep *sweep)
{
    return sweep->calibration.samples > 0 || sweep->job->eval_data ? &sweep->calibration : &sweep->corpus;
}

bool texts_calibrate(const struct sweep *sweep)
{
    return sweep->plan.n_cells > 0 && sweep->model.kind == MODEL_FLOAT;
}

const char *texts_evaluated(const struct sweep *sweep)
{
    if (sweep->job->eval_data) return STORE_EVALUATES_OTHERS;
    return sweep->calibration.samples > 0 ? STORE_EVALUATES_ITS_TEXT : STORE_EVALUATES_CALIBRATION;
}

const char *texts_tokenizer_hex(const struct sweep *sweep)
{
    const char *hex = sweep->corpus.tokenizer_hex;
    return hex[0] ? hex : texts_calibration(sweep)->tokenizer_hex;
}

int texts_most_tokens(const struct sweep *sweep)
{
    const int calibration = sweep->calibration.max_tokens, evaluation = sweep->corpus.max_tokens;
    return calibration > evaluation ? calibration : evaluation;
}
