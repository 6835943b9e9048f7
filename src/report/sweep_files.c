// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/sweep_files.h"

#include "ssmsweep/base/file.h"

enum status sweep_files_write(const struct sweep_report *report, const char *directory, struct error *err)
{
    struct file_replacement file;
    if (file_make_directories(directory, err) || file_replacement_begin(&file, directory, "sweep.json", err))
        return err->status;
    sweep_json_write(file.out, report, err);
    if (file_replacement_end(&file, err) || file_replacement_begin(&file, directory, "sweep.csv", err))
        return err->status;
    sweep_csv_write(file.out, report);
    return file_replacement_end(&file, err);
}
