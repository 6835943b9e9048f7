// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/option.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"

#define OFFSET(member) .offset = offsetof(struct job, member)

// Masks of commands.
enum {
    IN_SAVE = 1u << COMMAND_SAVE,
    IN_MIX = 1u << COMMAND_MIX,
    IN_ATTRIBUTE = 1u << COMMAND_ATTRIBUTE | IN_MIX, // what searches and attribution share
    IN_PIECES = 1u << COMMAND_ATTRIBUTE,
    IN_CHOICE = 1u << COMMAND_RUN | IN_SAVE, // sweeps that choose modes, layers and components
    IN_RUN = IN_CHOICE | IN_ATTRIBUTE,
    IN_COMPARE = 1u << COMMAND_COMPARE,
    IN_REPORT = 1u << COMMAND_REPORT,
    IN_INFO = 1u << COMMAND_INFO,
    IN_SYNTH = 1u << COMMAND_SYNTH,
    IN_MODES = 1u << COMMAND_MODES,
    IN_UNITS = 1u << COMMAND_UNITS,
    IN_BENCH = 1u << COMMAND_BENCH,
    IN_HELP = 1u << COMMAND_HELP,
    IN_VERSION = 1u << COMMAND_VERSION,
    IN_EXPORT = 1u << COMMAND_EXPORT,
    IN_IMPORT = 1u << COMMAND_IMPORT,
    IN_PACK = 1u << COMMAND_PACK,
    IN_BOTH = IN_CHOICE | IN_COMPARE,
    IN_ALL = IN_UNITS | IN_BOTH | IN_ATTRIBUTE | IN_REPORT | IN_EXPORT | IN_IMPORT | IN_PACK | IN_INFO |
             IN_SYNTH | IN_BENCH | IN_MODES | IN_HELP | IN_VERSION
};

static const struct option options[] = {
    {"model", 0, OPTION_TEXT, GROUP_INPUT, IN_RUN | IN_UNITS | IN_INFO | IN_BENCH, OFFSET(model_dir),
     .argument = "DIR", .brief = "model folder (default: a built-in demo model)",
     .help = "model folder: Mamba-1, float or W8A8; Falcon-Mamba, Mamba-2, float; mamba2-demo is\n"
             "the Mamba-2 demo model (default: the Mamba-1 demo model)"},
    {"pretrained_dir", 0, OPTION_TEXT, GROUP_INPUT, IN_RUN | IN_UNITS | IN_INFO | IN_BENCH,
     OFFSET(pretrained_dir), .argument = "DIR",
     .help = "folder in which a relative --model is looked up; with it, `ssmsweep NAME` takes\n"
             "DIR/NAME, or DIR itself"},
    {"reference-model", 0, OPTION_TEXT, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(reference_model),
     .argument = "DIR",
     .help = "float model of the same sizes, for the float modes beside a quantized checkpoint\n"
             "(default: the checkpoint's own weights, dequantized)"},
    {"norm-groups", 0, OPTION_INT, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(norm_groups), .argument = "N",
     .help = "parts of Mamba-2's norm behind the scan (default: the groups of B and C, or 1 where\n"
             "config.json is in Hugging Face's layout)",
     .least = 1, .most = 262144},
    {"tokenizer", 0, OPTION_TEXT, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(tokenizer), .argument = "FILE",
     .help = "tokenizer.json, or a folder that holds one (default: that of the model's folder)"},
    {"calib-data", 0, OPTION_TEXT, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(calib_data), .argument = "FILE",
     .brief = "text or token ids (default: those of the model, or the demo's)",
     .help = "text: .jsonl, .txt, a folder of .txt, each also as .gz or .zst; or token ids: .npy\n"
             "[samples, L], or .bin with --ids-dtype; - is standard input (default: calibration.jsonl or\n"
             "calibration.npy of the model, else calibration.jsonl of the demo model)"},
    {"eval-data", 0, OPTION_TEXT, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(eval_data), .argument = "FILE",
     .help = "text on which the modes are compared, as --calib-data (default: the samples of the\n"
             "calibration)"},
    {"eval_data_num", 0, OPTION_INT, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(eval_data_num), .argument = "N",
     .help = "samples on which the modes are compared (default: as many as the largest\n--calib_data_num)",
     .least = 1, .most = 1e6},
    {"text-format", 0, OPTION_CHOICE, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(text_format),
     .argument = "auto|jsonl|txt|npy|bin",
     .help = "what --calib-data and --eval-data are (default auto: by name, else by content)",
     .word = "auto|jsonl|txt|npy|bin"},
    {"ids-dtype", 0, OPTION_CHOICE, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(ids_dtype),
     .argument = "header|uint16|uint32|int32|int64",
     .help = "of the ids of .bin, which has no header: samples of --calib_seqlen ids one after the\n"
             "other (default header: as .npy says it)",
     .word = "header|uint16|uint32|int32|int64"},
    {"text-field", 0, OPTION_TEXT, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(text_field), .argument = "NAME",
     .help = "member of a JSON line that holds the text (default text)"},
    {"txt-split", 0, OPTION_CHOICE, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(txt_split),
     .argument = "auto|blank|file",
     .help = "where a document of .txt ends: at a blank line, or with the file (default auto:\n"
             "file in a folder, blank elsewhere)",
     .word = "auto|blank|file"},
    {"pad-id", 0, OPTION_INT, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(pad_id), .argument = "N",
     .help = "id that pads the rows of .npy (default -1)", .least = -2147483647, .most = 2147483647},
    {"no-special-tokens", 0, OPTION_FLAG, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(no_special_tokens),
     .help = "leave out the special tokens that tokenizer.json puts around each text (BOS, EOS)"},
    {"calib_data_num", 0, OPTION_INT_LIST, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(calib_data_num),
     .argument = "N[,N...]", .brief = "samples that give the scales (default 10)",
     .help = "samples that give the scales; each number is a sweep of its own (default 10)", .least = 1,
     .most = 1e6},
    {"calib_seqlen", 0, OPTION_INT, GROUP_INPUT, IN_RUN | IN_UNITS | IN_INFO | IN_BENCH, OFFSET(calib_seqlen),
     .argument = "N", .help = "tokens kept of each sample (default 512)", .least = 1, .most = 1e6},
    {"percentile_alpha", 0, OPTION_DOUBLE, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(percentile_alpha),
     .argument = "A", .help = "quantile of the percentile observers, above 0, up to 1 (default 0.9995)",
     .least = 0, .most = 1, .above_least = true},
    {"observer", 0, OPTION_LIST, GROUP_INPUT, IN_RUN | IN_UNITS, OFFSET(observer), .argument = "LIST",
     .help = "what makes scales of activations, for all sites or as SITE=KIND: minmax, percentile,\n"
             "ema-percentile, mse, entropy (default: x_proj_input and ssm_state ema-percentile,\n"
             "the others minmax); docs/calibration.md"},
    {"group_heads", 0, OPTION_CHOICE, GROUP_INPUT, IN_RUN, OFFSET(group_heads), .argument = "auto|on|off",
     .help = "scales of groups of heads and channels, as Quamba2 has them, or one for each site\n"
             "(default auto: on for Mamba-2 where it has 4 heads and more for each B and C)",
     .word = "auto|on|off"},
    {"scales", 0, OPTION_TEXT, GROUP_INPUT, IN_RUN, OFFSET(scales), .argument = "FILE.json",
     .help = "scales of the units of recipes that have the format int8-given (docs/recipes.md)"},
    {"shuffle-calib", 0, OPTION_INT, GROUP_INPUT, IN_RUN, OFFSET(shuffle_calib), .argument = "K",
     .help = "orders of the calibration samples, each with scales of its own (default 1: that of\nthe text)",
     .least = 1, .most = 1000},

    {"all-modes", 0, OPTION_WORD, GROUP_SWEEP, IN_BOTH | IN_REPORT | IN_BENCH, OFFSET(modes),
     .help = "every mode; the same as --modes all", .word = "all"},
    {"modes", 0, OPTION_LIST, GROUP_SWEEP, IN_BOTH | IN_REPORT | IN_BENCH, OFFSET(modes), .argument = "LIST",
     .brief = "names, all, essential, fp_only, quant_only (default all)",
     .help = "names, or all, essential, fp_only, quant_only (default all); see `ssmsweep modes`"},
    {"recipes", 0, OPTION_LINES, GROUP_SWEEP, IN_BOTH | IN_ATTRIBUTE | IN_REPORT | IN_BENCH | IN_MODES,
     OFFSET(recipes), .argument = "FILE.json", .brief = "further modes, as recipes",
     .help = "further modes, as recipes: a format for any unit of any layer; may be given again;\n"
             "docs/recipes.md"},
    {"weights", 0, OPTION_TEXT, GROUP_SWEEP, IN_RUN, OFFSET(weights), .argument = "FORMAT",
     .help = "weights of the quantized modes: int8 (default), int8-channel, int4-g128, int4-g64,\n"
             "int4-g32, fp16, float; of one mode beside others: 2-1@int4-g128"},
    {"mode", 0, OPTION_LIST, GROUP_SWEEP, IN_SAVE, OFFSET(modes), .argument = "MODE",
     .help = "save: the same as --modes"},
    {"quantize", 0, OPTION_FLAG, GROUP_SWEEP, IN_SAVE, OFFSET(quantize),
     .help = "save: accepted for old command lines; the mode says what is quantized"},
    {"all", 0, OPTION_WORD, GROUP_SWEEP, 1u << COMMAND_COMPARE, OFFSET(modes), .word = "all",
     .help = "compare: every mode of the result file (default)"},
    {"reference", 0, OPTION_TEXT, GROUP_SWEEP, IN_BOTH | IN_REPORT, OFFSET(reference), .argument = "MODE",
     .brief = "mode that the others are compared with (default fp32)",
     .help = "mode that the others are compared with (default fp32)"},
    {"layers", 0, OPTION_LIST, GROUP_SWEEP, IN_CHOICE, OFFSET(layers), .argument = "LIST",
     .brief = "whose outputs are kept: 0-3, -1, last, all (default first,last)",
     .help = "indices (negative: from the end), ranges a-b, first, last, all (default first,last)"},
    {"layers", 0, OPTION_LIST, GROUP_ATTRIBUTE, IN_ATTRIBUTE, OFFSET(piece_layers), .argument = "LIST",
     .help = "attribute, mix: layers that are taken apart (default all)"},
    {"components", 0, OPTION_LIST, GROUP_SWEEP, IN_CHOICE, OFFSET(components), .argument = "LIST",
     .help = "mixer_input, conv1d_input, conv1d_output, ssm_input, ssm_output, mixer_output, all;\n"
             "of Mamba-2 also ssm_B, ssm_C, ssm_dt, norm_output (default mixer_output)"},
    {"layers", 0, OPTION_LIST, GROUP_SWEEP, IN_COMPARE, OFFSET(compared_layers), .argument = "LIST",
     .help = "compare: layers that are compared; the file has metrics of all (default: those whose\n"
             "outputs were kept)"},
    {"components", 0, OPTION_LIST, GROUP_SWEEP, IN_COMPARE, OFFSET(compared_components), .argument = "LIST",
     .help = "compare: likewise (default: those of the sweep)"},

    {"store", 0, OPTION_CHOICE, GROUP_SWEEP, IN_CHOICE, OFFSET(store), .argument = "selected|none",
     .help = "tensors that the result file keeps: those of --layers and --components (default), or\n"
             "none; metrics of every layer and component are kept in any case",
     .word = "selected|none"},
    {"no-logits", 0, OPTION_FLAG, GROUP_SWEEP, IN_RUN, OFFSET(no_logits),
     .help = "no metrics of the predictions: perplexity, KL divergence, top-1 agreement"},
    {"isolated", 0, OPTION_FLAG, GROUP_SWEEP, IN_RUN, OFFSET(isolated),
     .help = "feed each layer of each mode with the stream of the reference as well: the error that is\n"
             "its own, beside the one that has added up"},

    {"noise", 0, OPTION_INT, GROUP_SWEEP, IN_RUN, OFFSET(noise), .argument = "K",
     .brief = "re-runs that tell rounding noise from differences (default 0)",
     .help = "re-runs of each W8A8 mode with the last bits of the scan disturbed, which give the\n"
             "differences that mean nothing; each is compared twice, and so costs more\n"
             "than its mode (default 0)",
     .least = 0, .most = 64},

    {"output_dir", 0, OPTION_TEXT, GROUP_OUTPUT,
     IN_BOTH | IN_ATTRIBUTE | IN_REPORT | IN_BENCH | IN_EXPORT | IN_IMPORT | IN_PACK, OFFSET(output_dir),
     .argument = "DIR", .brief = "folder of the result (default layer_outputs)",
     .help = "folder of the layer outputs (default layer_outputs)"},
    {"result", 0, OPTION_LINES, GROUP_OUTPUT, IN_REPORT, OFFSET(results), .argument = "FILE",
     .help = "report: result file, sweep.json, or a folder of one; may be given again, for a\n"
             "part each (default: that in --output_dir)"},
    {"npy", 0, OPTION_FLAG, GROUP_OUTPUT, IN_EXPORT, OFFSET(npy), .help = "export: as NumPy arrays"},
    {"npy-dir", 0, OPTION_TEXT, GROUP_OUTPUT, IN_EXPORT | IN_IMPORT, OFFSET(npy_dir), .argument = "DIR",
     .help = "export, import-npy: folder of the arrays, also as the argument (default: --output_dir)"},
    {"comparison-dir", 0, OPTION_TEXT, GROUP_OUTPUT, IN_BOTH | IN_ATTRIBUTE | IN_REPORT | IN_UNITS,
     OFFSET(comparison_dir), .argument = "DIR", .help = "folder of the comparisons (default comparisons)"},
    {"save_comparison", 0, OPTION_TEXT, GROUP_OUTPUT, IN_BOTH, OFFSET(save_comparison), .argument = "FILE",
     .help = "write the comparison to this file"},
    {"format", 0, OPTION_CHOICE, GROUP_OUTPUT, IN_BOTH, OFFSET(format), .argument = "table|json|csv|markdown",
     .help = "of the comparison on standard output (default table)", .word = "table|json|csv|markdown"},
    {"color", 0, OPTION_CHOICE, GROUP_OUTPUT, IN_BOTH, OFFSET(color), .argument = "auto|always|never",
     .help = "grades in colour (default auto: on a terminal, unless NO_COLOR is set)",
     .word = "auto|always|never"},
    {"per-sample", 0, OPTION_FLAG, GROUP_OUTPUT, IN_BOTH, OFFSET(per_sample),
     .help = "write per_sample.json and per_sample.csv beside the comparisons, worst samples first"},
    {"no-html", 0, OPTION_FLAG, GROUP_OUTPUT, 1u << COMMAND_RUN | IN_COMPARE, OFFSET(no_html),
     .help = "do not write report.html, the page with figures, beside the comparisons"},
    {"out", 0, OPTION_TEXT, GROUP_OUTPUT, IN_REPORT, OFFSET(page), .argument = "FILE.html",
     .help = "report: the page to write (default report.html in --comparison-dir)"},
    {"title", 0, OPTION_TEXT, GROUP_OUTPUT, 1u << COMMAND_RUN | IN_COMPARE | IN_REPORT, OFFSET(title),
     .argument = "TEXT", .help = "of report.html"},
    {"gate", 0, OPTION_LINES, GROUP_OUTPUT, IN_BOTH | IN_ATTRIBUTE, OFFSET(gates), .argument = "GATE",
     .brief = "limit to keep, as 'mode=2-4 layer=last mse<1e-3'; else exit status 1",
     .help = "limit to keep, as 'mode=2-4 layer=last correlation>=0.99 mse<1e-3'; exit status 1\n"
             "and one line where it is broken; may be given again"},
    {"gate-file", 0, OPTION_TEXT, GROUP_OUTPUT, IN_BOTH | IN_ATTRIBUTE, OFFSET(gate_file), .argument = "FILE",
     .help = "gates, one per line; # starts a comment"},
    {"baseline", 0, OPTION_TEXT, GROUP_OUTPUT, IN_BOTH, OFFSET(baseline), .argument = "OLD.json",
     .help = "comparison or summary of before; exit status 1 where the new one is worse"},
    {"junit", 0, OPTION_TEXT, GROUP_OUTPUT, IN_BOTH | IN_ATTRIBUTE, OFFSET(junit), .argument = "FILE.xml",
     .help = "write what gates and baseline found as JUnit XML"},

    {"bootstrap", 0, OPTION_INT, GROUP_STATISTICS, IN_BOTH | IN_ATTRIBUTE | IN_REPORT, OFFSET(bootstrap),
     .argument = "N", .help = "resamples behind intervals and ties (default 999)", .least = 199,
     .most = 99999},
    {"seed", 0, OPTION_INT, GROUP_STATISTICS, IN_BOTH | IN_ATTRIBUTE | IN_REPORT | IN_SYNTH, OFFSET(seed),
     .argument = "N",
     .help = "of the resamples, of --shuffle-calib and of synth: the same seed gives the same bytes\n"
             "everywhere (default 0)",
     .least = 0, .most = 2147483647},

    {"mode", 0, OPTION_TEXT, GROUP_ATTRIBUTE, IN_PIECES, OFFSET(modes), .argument = "MODE",
     .help = "attribute: the mode whose pieces are measured; needed"},
    {"by", 0, OPTION_CHOICE, GROUP_ATTRIBUTE, IN_ATTRIBUTE, OFFSET(by), .argument = "unit|layer|unit,layer",
     .help = "attribute, mix: a piece is a unit in all layers (default), a layer (default of\nmix), or a "
             "unit of a layer",
     .word = "unit|layer|unit,layer"},
    {"units", 0, OPTION_LIST, GROUP_ATTRIBUTE, IN_ATTRIBUTE, OFFSET(units), .argument = "LIST",
     .help = "attribute, mix: units that are taken apart (default all that differ)"},
    {"toward", 0, OPTION_TEXT, GROUP_ATTRIBUTE, IN_PIECES, OFFSET(toward), .argument = "MODE",
     .help = "attribute: the mode whose formats a mended piece has (default fp32)"},
    {"metric", 0, OPTION_TEXT, GROUP_ATTRIBUTE, IN_ATTRIBUTE, OFFSET(metric), .argument = "NAME",
     .help = "attribute, mix: kl_mean (default), perplexity_ratio, top1_agreement of the predictions;\n"
             "mse, mae, relative_mse, relative_mae of a layer's output"},
    {"at", 0, OPTION_TEXT, GROUP_ATTRIBUTE, IN_ATTRIBUTE, OFFSET(at), .argument = "LAYER",
     .help = "attribute, mix: the layer whose output is measured (default last)"},

    {"depth", 0, OPTION_FLAG, GROUP_ATTRIBUTE, IN_PIECES, OFFSET(depth),
     .help = "attribute: instead, the error at each layer against what the layer makes by itself, and\n"
             "where amplification begins"},
    {"bisect", 0, OPTION_FLAG, GROUP_ATTRIBUTE, IN_PIECES, OFFSET(bisect),
     .help = "attribute: in few sweeps the smallest piece whose mending brings the metric to --limit"},
    {"limit", 0, OPTION_DOUBLE, GROUP_ATTRIBUTE, IN_PIECES, OFFSET(limit), .argument = "X",
     .help = "attribute --bisect: what --metric is to reach", .least = 0, .most = 1e30},

    {"budget", 0, OPTION_TEXT, GROUP_MIX, IN_MIX, OFFSET(budget), .argument = "BUDGET",
     .help = "mix: int8>=SHARE of multiply-adds, bytes<=N of weights (as 1.2M), or cost<=X by --costs;\n"
             "needed"},
    {"modes", 0, OPTION_LIST, GROUP_MIX, IN_MIX, OFFSET(modes), .argument = "LIST",
     .help = "mix: whose formats a piece may have (default 2-1,2-4,fp32); starts as the cheapest"},
    {"costs", 0, OPTION_TEXT, GROUP_MIX, IN_ATTRIBUTE, OFFSET(costs), .argument = "FILE.json",
     .help = "attribute, mix: a table of costs of your own, UNIT: {FORMAT: COST}"},
    {"cost-template", 0, OPTION_FLAG, GROUP_MIX, IN_MIX, OFFSET(cost_template),
     .help = "mix: print such a table to start from, of the weights' bytes in a layer"},
    {"rounds", 0, OPTION_INT, GROUP_MIX, IN_MIX, OFFSET(rounds), .argument = "N",
     .help = "mix: the most changes of a piece, one in each round (default 0: as many as help)", .least = 0,
     .most = 1e6},

    {"preset", 0, OPTION_CHOICE, GROUP_SYNTH, IN_SYNTH, OFFSET(preset), .argument = "NAME",
     .help = "shape: tiny, mamba-130m, mamba-370m, mamba-790m, mamba-1.4b, mamba-2.8b; mamba2-tiny,\n"
             "mamba2-130m, mamba2-370m, mamba2-780m, mamba2-1.3b, mamba2-2.7b, mamba2-8b,\n"
             "codestral-7b (default tiny)",
     .word = "tiny|mamba-130m|mamba-370m|mamba-790m|mamba-1.4b|mamba-2.8b|mamba2-tiny|mamba2-130m|"
             "mamba2-370m|mamba2-780m|mamba2-1.3b|mamba2-2.7b|mamba2-8b|codestral-7b"},
    {"out", 0, OPTION_TEXT, GROUP_SYNTH, IN_SYNTH, OFFSET(out), .argument = "DIR",
     .help = "folder to make; needed"},
    {"dtype", 0, OPTION_CHOICE, GROUP_SYNTH, IN_SYNTH, OFFSET(synth_dtype), .argument = "F16|BF16|F32",
     .help = "of the weights (default F16)", .word = "F16|BF16|F32"},
    {"shard-bytes", 0, OPTION_BYTES, GROUP_SYNTH, IN_SYNTH, OFFSET(shard_bytes), .argument = "N",
     .help = "weights in one file at most, as 500M or 5G (default 5G)", .least = 1e6, .most = 1e15},

    {"resume", 0, OPTION_FLAG, GROUP_RUN, IN_RUN, OFFSET(resume),
     .brief = "keep what the result file holds and do the rest",
     .help = "keep what the result file holds and do the rest; without a file, start one"},
    {"overwrite", 0, OPTION_FLAG, GROUP_RUN, 1u << COMMAND_RUN | IN_ATTRIBUTE | IN_COMPARE | IN_REPORT,
     OFFSET(overwrite),
     .help = "run: remove the result file of before and its reports first, once all inputs are read;\n"
             "compare, report: remove reports of another result"},
    {"no-forks", 0, OPTION_FLAG, GROUP_RUN, IN_RUN, OFFSET(no_forks),
     .help = "compute every run in every layer; else runs share the layers in which they are the\n"
             "same, which changes no result"},
    {"grace", 0, OPTION_DOUBLE, GROUP_RUN, IN_RUN, OFFSET(grace_seconds), .argument = "SECONDS",
     .help = "after a signal, time for running items, and again for the partial reports; and for\n"
             "MPI-IO to open, sync and close the result file (default 30)",
     .least = 0, .most = 86400},
    {"io", 0, OPTION_CHOICE, GROUP_RUN, IN_RUN, OFFSET(io), .argument = "mpio|posix",
     .help = "how ranks write to the result file: through HDF5's MPI-IO driver (default), or each by\n"
             "itself with pwrite(); the same bytes in either way",
     .word = "mpio|posix"},
    {"io-hint", 0, OPTION_LINES, GROUP_RUN, IN_RUN, OFFSET(io_hints), .argument = "KEY=VALUE",
     .help = "hint for MPI-IO, as romio_ds_write=disable; may be given again; -v tells those in force"},
    {"alignment", 0, OPTION_BYTES, GROUP_RUN, IN_RUN, OFFSET(alignment), .argument = "BYTES",
     .help = "datasets of so many bytes and more begin at a multiple of it, in a new result file:\n"
             "a power of two, as 1048576 (default: none)",
     .least = 512, .most = 1 << 30},
    {"pack", 0, OPTION_FLAG, GROUP_RUN, 1u << COMMAND_RUN, OFFSET(pack),
     .help = "compress the result file when all is done, as `ssmsweep pack` does"},
    {"store-dtype", 0, OPTION_CHOICE, GROUP_RUN, 1u << COMMAND_RUN | IN_PACK, OFFSET(store_dtype),
     .argument = "f32|f16",
     .help = "of the outputs in a packed file: as they are (default), or rounded to IEEE halves;\n"
             "metrics stay those of FP32",
     .word = "f32|f16"},
    {"threads", 0, OPTION_INT, GROUP_RUN,
     IN_PACK | IN_BOTH | IN_ATTRIBUTE | IN_UNITS | IN_REPORT | IN_INFO | IN_SYNTH | IN_BENCH, OFFSET(threads),
     .argument = "N", .help = "threads of each rank (default 0: from the binding)", .least = 0, .most = 1024},
    {"device", 0, OPTION_TEXT, GROUP_RUN, IN_RUN | IN_UNITS | IN_BENCH, OFFSET(device),
     .argument = "auto|cpu|cuda[:INDEX]",
     .help = "compute on a GPU, one rank on each, the others on processors: the same bits (default auto:\n"
             "where there is one)"},
    {"progress", 0, OPTION_DOUBLE, GROUP_RUN, IN_RUN, OFFSET(progress_seconds), .argument = "WHEN",
     .help = "auto: a line that is rewritten, on a terminal, also below mpirun (default); always,\n"
             "never; or seconds between lines, for a log",
     .least = 0, .most = 86400, .word = "auto|always|never"},
    {"dry-run", 0, OPTION_FLAG, GROUP_RUN, IN_RUN, OFFSET(dry_run),
     .brief = "check everything, tell memory and time, run nothing",
     .help = "check everything, print the plan with memory and time, run nothing"},

    {"seconds", 0, OPTION_DOUBLE, GROUP_BENCH, IN_BENCH, OFFSET(bench_seconds), .argument = "N",
     .help = "seconds for each measurement (default 1); each is made three times at least, with the\n"
             "built-in model some minutes in all",
     .least = 0, .most = 3600, .above_least = true},
    {"json", 0, OPTION_TEXT, GROUP_BENCH, IN_BENCH, OFFSET(json_file), .argument = "FILE",
     .help = "write all numbers to this file"},
    {"null-items", 0, OPTION_FLAG, GROUP_BENCH, IN_BENCH, OFFSET(null_items),
     .help = "under mpirun: measure only how fast items that do nothing are handed out"},
    {"writing", 0, OPTION_FLAG, GROUP_BENCH, IN_BENCH, OFFSET(writing),
     .help = "measure only what writing the result file costs, by each --io: to a file in --output_dir"},

    {"job", 0, OPTION_FILE, GROUP_GENERAL, IN_BOTH | IN_ATTRIBUTE | IN_REPORT, OFFSET(job_file),
     .argument = "FILE.json",
     .help = "read options from a JSON object with the same names; the command line wins"},
    {"recipe", 0, OPTION_FLAG, GROUP_GENERAL, IN_MODES, OFFSET(recipe),
     .help = "modes: a mode as a recipe, to start from: ssmsweep modes 2-1 --recipe"},
    {"show", 0, OPTION_TEXT, GROUP_GENERAL, IN_MODES, OFFSET(mode_shown), .argument = "MODE",
     .help = "modes: this one alone, also as the argument"},
    {"json", 0, OPTION_FLAG, GROUP_GENERAL, IN_INFO | IN_MODES, OFFSET(json), .help = "info, modes: as JSON"},
    {"machine", 0, OPTION_FLAG, GROUP_GENERAL, IN_INFO, OFFSET(machine),
     .help = "info: instruction sets, cores and GPUs of this machine"},
    {"cpu", 0, OPTION_FLAG, GROUP_GENERAL, IN_INFO, OFFSET(machine),
     .help = "info: --machine, by its earlier name"},
    {"quiet", 'q', OPTION_LEVEL, GROUP_GENERAL, IN_ALL, OFFSET(verbosity), .help = "errors only",
     .level = LOG_QUIET},
    {"verbose", 'v', OPTION_LEVEL, GROUP_GENERAL, IN_ALL, OFFSET(verbosity), .help = "say more",
     .level = LOG_VERBOSE},
    {"help", 'h', OPTION_COMMAND, GROUP_GENERAL, IN_ALL,
     .help = "print this text; behind a command its options", .command = COMMAND_HELP},
    {"version", 'V', OPTION_COMMAND, GROUP_GENERAL, IN_ALL, .help = "print the version",
     .command = COMMAND_VERSION},

    {"shard", 0, OPTION_INT, GROUP_ADVANCED, IN_RUN, OFFSET(shard), .argument = "N",
     .help = "samples of one work item (default 0: chosen)", .least = 0, .most = 1e6},
};
enum { OPTIONS = sizeof options / sizeof options[0] };

static const char *const group_titles[GROUP_COUNT] = {
    [GROUP_INPUT] = "Model and text",
    [GROUP_SWEEP] = "What to compare",
    [GROUP_OUTPUT] = "Output",
    [GROUP_STATISTICS] = "How sure it is",
    [GROUP_ATTRIBUTE] = "What costs what (attribute)",
    [GROUP_MIX] = "The cheapest mend (mix)",
    [GROUP_SYNTH] = "Random models (synth)",
    [GROUP_RUN] = "How to run",
    [GROUP_BENCH] = "Bench",
    [GROUP_GENERAL] = "General",
    [GROUP_ADVANCED] = "Advanced",
};

static const struct command_entry commands[] = {
    {"run", COMMAND_RUN, "[MODEL]", "model", "run the sweep and compare its modes (default)"},
    {"save", COMMAND_SAVE, "[MODE|SET...]", "modes",
     "add modes to a result file, with their outputs, without comparing"},
    {"compare", COMMAND_COMPARE, "[MODE...]", "modes", "compare the modes of a finished sweep again"},
    {"attribute", COMMAND_ATTRIBUTE, "MODE", "mode",
     "measure what each unit or layer of a mode costs (--by, --toward)"},
    {"mix", COMMAND_MIX, "--budget BUDGET", NULL,
     "choose the best of several modes for each layer, under a budget"},
    {"units", COMMAND_UNITS, "[MODEL]", "model",
     "look at each unit by itself: clipped values, codes, other scales"},
    {"report", COMMAND_REPORT, "[RESULT.h5|DIR|sweep.json...]", "result",
     "make the page with figures, report.html, of results (--out, --title)"},
    {"export", COMMAND_EXPORT, "--npy [DIR]", "npy-dir",
     "write the layer outputs as NumPy arrays, with statistics"},
    {"import-npy", COMMAND_IMPORT, "[DIR]", "npy-dir", "make a result file from such a folder, for compare"},
    {"pack", COMMAND_PACK, "[RESULT.h5|DIR]", "output_dir",
     "compress a finished result file, which is not continued then"},
    {"info", COMMAND_INFO, "[PATH]", "model",
     "describe a model folder, a result file or this machine (--machine)"},
    {"synth", COMMAND_SYNTH, NULL, NULL, "write a random model of a published shape: --preset, --out"},
    {"bench", COMMAND_BENCH, NULL, NULL,
     "measure machine, kernels, forward passes and, under mpirun, sweeps"},
    {"modes", COMMAND_MODES, "[MODE]", "show", "what each mode does at each step (--json, --recipe)"},
    {"help", COMMAND_HELP, "[COMMAND]", NULL, "print this text, or the options of a command"},
    {"version", COMMAND_VERSION, NULL, NULL, "print the version"},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

// ---- look-up ----

int option_count(void)
{
    return OPTIONS;
}

const struct option *option_at(int index)
{
    return &options[index];
}

static char fold(char c)
{
    return c == '_' ? '-' : c;
}

const struct option *option_find(const char *name, size_t length)
{
    for (int i = 0; i < OPTIONS; i++) {
        if (strlen(options[i].name) != length) continue;
        size_t same = 0;
        while (same < length && fold(name[same]) == fold(options[i].name[same]))
            same++;
        if (same == length) return &options[i];
    }
    return NULL;
}

const struct option *option_find_for(const char *name, size_t length, enum command command)
{
    const struct option *first = option_find(name, length);
    for (const struct option *option = first; option && option < options + OPTIONS; option++)
        if (strcmp(option->name, first->name) == 0 && option->commands & 1u << command) return option;
    return first;
}

const struct option *option_find_letter(char letter)
{
    for (int i = 0; i < OPTIONS; i++)
        if (letter && options[i].letter == letter) return &options[i];
    return NULL;
}

const char *option_group_title(enum option_group group)
{
    return group_titles[group];
}

bool option_takes_argument(const struct option *option)
{
    return option->argument != NULL;
}

bool option_in_job_file(const struct option *option)
{
    return option->kind != OPTION_COMMAND && option->kind != OPTION_FILE;
}

int command_count(void)
{
    return COMMANDS;
}

const struct command_entry *command_at(int index)
{
    return &commands[index];
}

const struct command_entry *command_find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

const char *command_name(enum command command)
{
    for (int i = 0; i < COMMANDS; i++)
        if (commands[i].command == command) return commands[i].name;
    return "?";
}

// ---- the nearest name ----

enum { MAX_NAME = 40 };

// Levenshtein's distance; a name that is too long is far from everything.
static int edit_distance(const char *a, size_t a_length, const char *b)
{
    int row[MAX_NAME + 1];
    size_t b_length = strlen(b);
    if (a_length > MAX_NAME || b_length > MAX_NAME) return MAX_NAME;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a_length; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_length; j++) {
            int change = diagonal + (tolower((unsigned char)fold(a[i - 1])) != fold(b[j - 1]));
            int shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < shorter ? change : shorter;
        }
    }
    return row[b_length];
}

// Half of the letters may be wrong.
static const char *nearer(const char *name, size_t length, const char *candidate, const char *best,
                          int *distance)
{
    int d = edit_distance(name, length, candidate);
    if (d >= *distance || d > (int)length / 2 + 1) return best;
    *distance = d;
    return candidate;
}

const char *option_nearest(const char *name, size_t length)
{
    const char *best = NULL;
    int distance = MAX_NAME;
    for (int i = 0; i < OPTIONS; i++)
        best = nearer(name, length, options[i].name, best, &distance);
    return best;
}

const char *command_nearest(const char *name)
{
    const char *best = NULL;
    int distance = MAX_NAME;
    for (int i = 0; i < COMMANDS; i++)
        best = nearer(name, strlen(name), commands[i].name, best, &distance);
    return best;
}

// ---- option store ----

// From the text of an option to its member of the job.

static enum status bad_number(const struct option *option, const char *text, const char *where,
                              struct error *err)
{
    const char *kind = option->kind == OPTION_DOUBLE ? "a number" : "whole numbers";
    if (option->kind == OPTION_INT) kind = "a whole number";
    if (option->kind == OPTION_BYTES) kind = "bytes (500M, 5G)";
    const bool words = option->kind == OPTION_DOUBLE && option->word;
    return error_set(
        err, STATUS_USAGE, "%s: expected %s%s%s %s %.10g %s %.10g, got '%.64s'; see ssmsweep --help", where,
        words ? option->word : "", words ? ", or " : "", kind, option->above_least ? "above" : "from",
        option->least, option->above_least ? "up to" : "to", option->most, text);
}

// Reads digits (with a sign) up to *end.
static bool parse_int(const struct option *option, const char *text, char **end, int *number)
{
    errno = 0;
    long value = strtol(text, end, 10);
    bool digits = *end != text && !isspace((unsigned char)*text);
    if (!digits || errno || (double)value < option->least || (double)value > option->most) return false;
    *number = (int)value;
    return true;
}

static enum status store_int(const struct option *option, const char *text, const char *where, int *out,
                             struct error *err)
{
    char *end;
    int number;
    if (!parse_int(option, text, &end, &number) || *end) return bad_number(option, text, where, err);
    *out = number;
    return STATUS_OK;
}

// Bytes with a unit; numbers of job files come with the digits alone.
static enum status store_bytes(const struct option *option, const char *text, const char *where,
                               long long *out, struct error *err)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double bytes = (double)strtoll(text, &end, 10);
    bool good = !errno && end != text && !isspace((unsigned char)*text);
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        bytes *= 1000;
    if (!good || (unit ? end[1] : *end) || bytes < option->least || bytes > option->most)
        return bad_number(option, text, where, err);
    *out = (long long)bytes;
    return STATUS_OK;
}

// The position of the text among words that are divided by '|'; -1: it is none of them.
static int find_word(const char *words, const char *text)
{
    for (int i = 0;; i++) {
        const size_t length = strcspn(words, "|");
        if (strlen(text) == length && strncasecmp(words, text, length) == 0) return i;
        if (!words[length]) return -1;
        words += length + 1;
    }
}

static enum status store_choice(const struct option *option, const char *text, const char *where, int *out,
                                struct error *err)
{
    const int found = find_word(option->word, text);
    if (found < 0)
        return error_set(err, STATUS_USAGE, "%s: expected one of %s, got '%.64s'; see ssmsweep --help", where,
                         option->word, text);
    *out = found;
    return STATUS_OK;
}

static enum status store_double(const struct option *option, const char *text, const char *where, double *out,
                                struct error *err)
{
    char *end;
    const int found = option->word ? find_word(option->word, text) : -1;
    if (found >= 0) {
        *out = -1 - found;
        return STATUS_OK;
    }
    double number = number_read(text, &end);
    bool decimal =
        text[0] && strspn(text, "+-.0123456789eE") == strlen(text); // no hexadecimal, no "nan", no "inf"
    if (!decimal || *end || !(number >= option->least && number <= option->most) ||
        (option->above_least && number <= option->least))
        return bad_number(option, text, where, err);
    *out = number;
    return STATUS_OK;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}

static enum status store_cells(const struct option *option, const char *text, const char *where,
                               struct job *job, struct error *err)
{
    int numbers[JOB_MAX_CELLS], n = 0, kept = 0;
    char *at = (char *)(size_t)text;
    for (;; at++) {
        if (n == JOB_MAX_CELLS)
            return error_set(err, STATUS_USAGE, "%s: expected at most %d numbers; divide the job", where,
                             JOB_MAX_CELLS);
        if (!parse_int(option, at, &at, &numbers[n++]) || (*at && *at != ','))
            return bad_number(option, text, where, err);
        if (!*at) break;
    }
    qsort(numbers, (size_t)n, sizeof numbers[0], compare_ints);
    for (int i = 0; i < n; i++)
        if (i == 0 || numbers[i] != numbers[i - 1]) job->calib_data_num[kept++] = numbers[i];
    job->n_cells = kept;
    return STATUS_OK;
}

static enum status store_text(const struct option *option, const char *text, const char *where,
                              const char **out, struct error *err)
{
    if (text[option->kind == OPTION_LIST ? strspn(text, ", ") : 0] == '\0')
        return error_set(err, STATUS_USAGE, "%s: expected a text, got an empty one; see ssmsweep --help",
                         where);
    // It goes into JSON, and must come back.
    const size_t bytes = strlen(text), valid = json_utf8_bytes(text, bytes);
    if (valid < bytes)
        return error_set(
            err, STATUS_USAGE,
            "%s: expected UTF-8, got 0x%02x at byte %zu; rename it, or name it by a symbolic link", where,
            (unsigned)(unsigned char)text[valid], valid);
    *out = text;
    return STATUS_OK;
}

enum status option_store(const struct option *option, const char *text, const char *where, struct job *job,
                         struct error *err)
{
    void *out = (char *)job + option->offset;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)out = strcmp(text, "true") == 0;
        break;
    case OPTION_INT:
        return store_int(option, text, where, out, err);
    case OPTION_DOUBLE:
        return store_double(option, text, where, out, err);
    case OPTION_BYTES:
        return store_bytes(option, text, where, out, err);
    case OPTION_CHOICE:
        return store_choice(option, text, where, out, err);
    case OPTION_TEXT:
    case OPTION_LIST:
    case OPTION_LINES:
    case OPTION_FILE:
        return store_text(option, text, where, out, err);
    case OPTION_INT_LIST:
        return store_cells(option, text, where, job, err);
    case OPTION_WORD:
        *(const char **)out = option->word;
        break;
    case OPTION_LEVEL:
        *(enum log_level *)out = option->level;
        break;
    case OPTION_COMMAND:
        job->command = option->command;
        break;
    }
    return STATUS_OK;
}
