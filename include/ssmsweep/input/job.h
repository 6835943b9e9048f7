// SPDX-License-Identifier: Apache-2.0
// The job: every option of the command line and of a job file, validated, const after job_parse().
//
// input/ reads what comes from outside: options (option.h, job.h), checkpoints as named tensors
// (checkpoint.h, tensor.h), tokenizers (tokenizer.h), texts as token ids (corpus.h).  A file may be refused,
// in words that name it and the remedy, and cannot crash the program.  It knows base/ alone: no model family,
// no mode, no MPI.  main.c parses the job, arch/ reads its tensors here, sweep/ its texts.
#ifndef SSMSWEEP_INPUT_JOB_H
#define SSMSWEEP_INPUT_JOB_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/base/status.h"

enum command {
    COMMAND_RUN,
    COMMAND_ATTRIBUTE, // a sweep of the pieces of a mode
    COMMAND_MIX,       // sweeps that look for the best of several modes for each piece
    COMMAND_UNITS,     // what INT8 makes of each unit by itself
    COMMAND_SAVE,      // as COMMAND_RUN, with statistics in place of the comparison
    COMMAND_COMPARE,
    COMMAND_REPORT, // a page of results, or of what `compare` wrote of them
    COMMAND_INFO,
    COMMAND_SYNTH,
    COMMAND_BENCH,
    COMMAND_MODES,
    COMMAND_EXPORT,
    COMMAND_IMPORT,
    COMMAND_PACK,
    COMMAND_HELP,
    COMMAND_VERSION
};

enum { JOB_MAX_CELLS = 64 };

enum job_io { JOB_IO_MPIO, JOB_IO_POSIX };                        // how raw data get into the result file
enum job_by { JOB_BY_UNIT, JOB_BY_LAYER, JOB_BY_UNIT_AND_LAYER }; // pieces of attribution
enum job_store_dtype { JOB_STORE_F32, JOB_STORE_F16 };            // of outputs in a packed file
// Which of the evaluated samples: all, or a part of a seeded split (corpus.h).
enum job_part { JOB_ALL_SAMPLES, JOB_CHOOSING_SAMPLES, JOB_JUDGING_SAMPLES };
enum job_groups { JOB_GROUPS_AUTO, JOB_GROUPS_ON, JOB_GROUPS_OFF }; // scales of groups of heads and channels
enum job_store { JOB_STORE_SELECTED, JOB_STORE_NONE }; // which tensors are kept: those asked for, or none

// Lists of names (modes, layers, components) stay text here; the folders below give them meaning.
struct job {
    enum command command;
    const char *topic; // of COMMAND_HELP, as help_print() takes it
    // The first word of the line is the model's name, as the original tool has it: then model_dir is
    // PRETRAINED_DIR/NAME if there is such a folder, else PRETRAINED_DIR itself.
    bool model_by_name;
    const char *job_file;  // NULL: none
    const char *model_dir; // NULL: the embedded demo model; a relative one is inside pretrained_dir, if given
    const char *reference_model; // float model of the float modes; NULL: the model itself
    int norm_groups;             // of Mamba-2's norm behind the scan; 0: as the layout of config.json has it
    const char *pretrained_dir;  // already part of model_dir after job_parse()
    const char *tokenizer;       // file, or folder of a tokenizer.json; NULL: of the model's folder
    const char *calib_data; // NULL: calibration.jsonl or .npy of the model folder, else of the demo model
    const char *eval_data;  // NULL: the text of the calibration
    int eval_data_num;      // samples that are evaluated; 0: as many as the largest calib_data_num
    int text_format;        // enum text_format
    int txt_split;          // enum text_split
    const char *text_field; // of a JSON line
    int pad_id;             // of .npy
    int calib_data_num[JOB_MAX_CELLS]; // one cell each, ascending, no duplicates
    int n_cells;
    int calib_seqlen;
    double percentile_alpha;
    const char *observer; // NULL, or as numerics/observer.h has it
    int group_heads;      // enum job_groups; once the model is known AUTO only where there is no choice
    const char *scales;   // file of scales for units of format int8-given; NULL: none
    int shuffle_calib;    // orders of the calibration samples, that of the text among them
    const char *modes;    // comma list of names and sets
    const char *recipes;  // NULL: none; recipe files, one per line
    const char *weights;  // format that weights of quantized modes start in; NULL: int8
    const char *toward, *units, *piece_layers; // of COMMAND_ATTRIBUTE: recipe/pieces.h; lists, NULL: all
    const char *metric, *at;                   // likewise: what is measured, at the output of which layer
    int by;                                    // likewise: enum job_by
    bool depth;                                // likewise: how the error adds up over the layers
    bool bisect;                               // likewise: look for the smallest piece to mend
    double limit;                              // likewise: that the metric is to reach; negative: none
    const char *budget, *costs;                // of COMMAND_MIX: what it may cost; NULL, or a file
    bool cost_template;                        // likewise: print one
    int rounds;                                // likewise: the most; 0: as many as help
    const char *mode_shown;                    // of COMMAND_MODES: NULL: all
    bool recipe;                               // likewise: as a recipe
    const char *layers;                        // comma list of indices, `first`, `last`, or `all`
    const char *components;                    // comma list or `all`
    const char *compared_layers,
        *compared_components; // of COMMAND_COMPARE: likewise; NULL: those that were kept
    int store;                // enum job_store
    int ids_dtype;            // enum ids_dtype, of .bin
    bool no_special_tokens;   // none around a text, whatever tokenizer.json says
    bool no_forks;            // every run is computed in every layer
    bool no_logits;           // no metrics of the model's predictions
    bool isolated;            // each layer also by itself, fed with the reference's stream
    int noise;                // noisy re-runs of each quantized mode
    const char *reference;    // mode name
    const char *output_dir;
    const char *result_name; // of the result file in it
    int part;                // enum job_part
    const char *comparison_dir;
    int io;                      // enum job_io
    const char *io_hints;        // of MPI-IO, KEY=VALUE, one per line; NULL: none
    long long alignment;         // bytes, of large datasets in a new result file; 0: none
    bool npy;                    // of export: the format asked for
    const char *npy_dir;         // folder of .npy files; NULL: output_dir
    const char *save_comparison; // NULL: default names
    int threads;                 // 0: from the binding
    const char *device;          // auto, cpu, cuda or cuda:INDEX
    int shard;                   // samples per item; 0: chosen
    double grace_seconds;        // that running items have after a signal
    double progress_seconds;     // between lines, or enum of sweep/progress.h
    double bench_seconds;        // for each measurement
    bool null_items;             // measure nothing but their hand-out
    bool writing;                // measure nothing but what writing costs
    const char *json_file;       // NULL: none
    int format, color;           // enum present_format, enum present_color
    bool per_sample;
    bool no_html;          // no page of the comparison
    const char *results;   // of report: one per line; NULL: that of output_dir
    const char *page;      // of report: the page to write; NULL: report.html in comparison_dir
    const char *title;     // of the page; NULL: one of its own
    const char *gates;     // NULL: none; one per line, as compare/gate.h has them
    const char *gate_file; // NULL: none
    const char *baseline;  // NULL: none; JSON of an older comparison
    const char *junit;     // NULL: none; XML file to write
    bool resume, dry_run, overwrite;
    bool pack;               // the result file, when all is done
    int store_dtype;         // enum job_store_dtype
    bool quantize;           // of old command lines: the mode says it
    bool json, machine;      // of info
    int bootstrap;           // resamples
    int seed;                // of resamples, of synth, and of what a run draws
    int preset, synth_dtype; // of synth: enum synth_preset, enum synth_dtype
    const char *out;         // of synth: the folder to make
    long long shard_bytes;   // of synth
    enum log_level verbosity;
    char *storage; // owns the texts above
};

// Local; prints nothing and touches neither MPI nor the model.  Order of force: command line, --job FILE,
// defaults.  STATUS_USAGE for unknown options or bad values (with the nearest known option), STATUS_INPUT for
// a torn job file (key named).
enum status job_parse(struct job *job, int argc, char **argv, struct error *err);
void job_clear(struct job *job);

bool job_sweeps(const struct job *job);             // the command computes a result file
int job_calibration_samples(const struct job *job); // the largest calib_data_num
int job_evaluation_samples(const struct job *job);

// The part of the job that defines the numbers (no threads, no folders, no verbosity), as JSON text; caller
// frees. Equal texts mean equal results.  NULL when memory is out.
char *job_identity_json(const struct job *job);

// The command that adds modes ("fp16 2-1") to the result file of a job: `ssmsweep save MODES`, with the
// options that differ from the default, for a shell in the same folder.  Caller frees.  NULL when memory is
// out.
char *job_save_line(const char *identity_json, const char *modes, const char *output_dir);
// The same of the command that compares all modes of the result file: `ssmsweep compare --all`.
char *job_compare_line(const char *output_dir, const char *reference);

#endif
