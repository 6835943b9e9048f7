# SPDX-License-Identifier: Apache-2.0
"""Reads the results of ssmsweep: outputs, scales and samples from the result file, metrics with intervals from sweep.json.

    results = ssmsweep_results.open_results("layer_outputs/sweep.h5", "comparisons")
    results.output("2-1", layer=-1)                    float32 [tokens, width], the valid tokens of all samples
    results.metric("mse", mode="2-1")                  rows (layer, value, low, high), one for each layer
    results.scales()["x_proj:input"]                   float32 [n_layer]

Needs h5py and numpy; frame() also pandas.  One file: copy it where you need it.
"""
import json
import os

import h5py
import numpy as np

__all__ = ["Results", "ResultsError", "open_results"]

SCHEMAS = (5, 6, 7)    # of the result file
ROW = np.dtype([("layer", "i4"), ("value", "f8"), ("low", "f8"), ("high", "f8")])
INFINITE = {"inf": np.inf, "-inf": -np.inf, "nan": np.nan}


class ResultsError(Exception):
    """What is not there, what there is instead, and what to do."""


def open_results(path="layer_outputs", comparisons=None):
    """path: a result file, or the folder of one.  comparisons: the folder of its reports, or a sweep.json; by default the
    folder "comparisons" beside the result's, if there is one."""
    return Results(path, comparisons)


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _number(entry, key):
    value = entry.get(key)
    return float(value) if value is not None else INFINITE.get(entry.get(key + "_flag"), np.nan)


class Results:
    """A result file; also a context manager.  Modes, cells, components and sites are names, as ssmsweep has them."""

    def __init__(self, path, comparisons=None):
        path = os.fspath(path)
        self.path = os.path.join(path, "sweep.h5") if os.path.isdir(path) else path
        if not os.path.exists(self.path):
            raise ResultsError("%s: no such file; ssmsweep makes it, --output_dir says where" % self.path)
        try:
            self.file = h5py.File(self.path, "r")
        except OSError as error:
            raise ResultsError("%s: no HDF5 file, or one that is being written: %s" % (self.path, error)) from error
        schema = self.file.attrs.get("schema_version")
        if schema not in SCHEMAS:
            self.file.close()
            raise ResultsError("%s: expected a result file of schema %s, got %s; use the ssmsweep_results.py of the ssmsweep "
                               "that made it" % (self.path, " or ".join(map(str, SCHEMAS)), schema))
        self.job = json.loads(_text(self.file.attrs["job"]))
        self.reference = _text(self.file.attrs["reference_mode"])
        self.attributes = {name: _text(value) for name, value in self.file.attrs.items() if not isinstance(value, np.ndarray)}
        self.lengths = self.file["samples/length"][:]
        self._report_path = self._find_report(comparisons)
        self._report = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()

    def _find_report(self, comparisons):
        if comparisons is None:
            comparisons = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(self.path))), "comparisons")
        comparisons = os.fspath(comparisons)
        return os.path.join(comparisons, "sweep.json") if not comparisons.endswith(".json") else comparisons

    # ---- what there is ----

    @property
    def cells(self):
        """Names of the calibrations, as "10" or "10_order2"; "float" for modes that need none."""
        return list(self.file["items"])

    @property
    def modes(self):
        """Names of the modes in every cell, noisy re-runs left out."""
        found = {mode for cell in self.file["items"].values() for mode in cell if "_dither" not in mode}
        return sorted(found, key=lambda mode: (mode != self.reference, mode))

    @property
    def components(self):
        """Of the model's family; which were stored, layers() tells."""
        names = self.file.attrs.get("components")
        return [_text(name) for name in names] if names is not None else sorted(
            {component for mode in self._modes_of_outputs() for layer in mode.values() for component in layer})

    def _modes_of_outputs(self):
        return [mode for cell in self.file.get("outputs", {}).values() for mode in cell.values()]

    def layers(self, component="mixer_output"):
        """Layers whose outputs the file keeps."""
        return sorted({int(name[len("layer_"):]) for mode in self._modes_of_outputs() for name, layer in mode.items()
                       if component in layer})

    def complete(self, mode, cell=None):
        """Which samples of a mode are done, as bool [samples]."""
        return self.file["items"][self._cell(mode, cell)][mode]["state"][:] == 1

    def _cell(self, mode, cell):
        cells = [name for name, modes in self.file["items"].items() if mode in modes]
        if not cells:
            raise ResultsError("%s: no mode '%s'; it has %s" % (self.path, mode, ", ".join(self.modes)))
        if cell is None and len(cells) == 1:
            return cells[0]
        if str(cell) not in cells:
            raise ResultsError("%s: mode '%s' is in the cells %s: say which, got %s" % (self.path, mode, ", ".join(cells), cell))
        return str(cell)

    # ---- arrays ----

    def output(self, mode, layer=-1, component="mixer_output", cell=None, sample=None):
        """float32 [tokens, width]: of all samples one after the other, or of one.  A negative layer counts from the last of
        those that the file keeps.  Only valid tokens; samples that are not done are an error."""
        kept = self.layers(component)
        if not kept:
            raise ResultsError("%s: no outputs of '%s'; sweep with --components %s, without --store none"
                               % (self.path, component, component))
        if layer < 0 and -layer <= len(kept):
            layer = kept[layer]
        if layer not in kept:
            raise ResultsError("%s: no outputs of layer %d; it has %s; sweep with --layers %d"
                               % (self.path, layer, ", ".join(map(str, kept)), layer))
        cell = self._cell(mode, cell)
        wanted = range(len(self.lengths)) if sample is None else [sample]
        done = self.complete(mode, cell)
        if not done[list(wanted)].all():
            raise ResultsError("%s: mode '%s' is not complete; go on with: ssmsweep --resume" % (self.path, mode))
        data = self.file["outputs"][cell][mode]["layer_%d" % layer][component]
        return np.concatenate([np.asarray(data[s, :self.lengths[s]], dtype=np.float32) for s in wanted])

    def tokens(self, sample=None):
        """int32: the token ids of all samples one after the other, or of one."""
        ids = self.file["samples/token_ids"]
        return np.concatenate([ids[s, :self.lengths[s]] for s in (range(len(self.lengths)) if sample is None else [sample])])

    def scales(self, cell=None):
        """{site: float32 [n_layer]}: the activation scales of a calibration (the only one, or that of the cell)."""
        cells = [name for name, group in self.file.get("calibration", {}).items() if isinstance(group, h5py.Group)]
        if cell is None and len(cells) == 1:
            cell = cells[0]
        if str(cell) not in cells:
            raise ResultsError("%s: scales of the cells %s: say which, got %s" % (self.path, ", ".join(cells) or "(none)", cell))
        data = self.file["calibration"][str(cell)]["scales"]
        return {_text(site): data[:, k] for k, site in enumerate(data.attrs["sites"])}

    # ---- metrics ----

    @property
    def report(self):
        """sweep.json, of the same model and text as the file."""
        if self._report is None:
            try:
                with open(self._report_path, encoding="utf-8") as f:
                    report = json.load(f)
            except (OSError, ValueError) as error:
                raise ResultsError("%s: metrics are read from it: %s; make it with: ssmsweep compare --all"
                                   % (self._report_path, error)) from error
            for name in ("weights_digest", "ids_sha256"):
                said = report.get("provenance", {}).get(name)
                if said and self.attributes.get(name) and said != self.attributes[name]:
                    raise ResultsError("%s: it is about another model or text than %s (%s); say which folder has its reports"
                                       % (self._report_path, self.path, name))
            self._report = report
        return self._report

    def _entries(self, name, mode, component, cell):
        entries = self.report["layers"] if component else self.report["end_of_model"]
        cells = {(entry["calib_data_num"], entry.get("order", 0)) for entry in entries if entry["mode"] == mode}
        if not cells:
            raise ResultsError("%s: no mode '%s'; it has %s" % (self._report_path, mode,
                                                               ", ".join(sorted({entry["mode"] for entry in entries}))))
        names = {("float" if n is None else "%d" % n) + ("" if order in (None, 0) else "_order%d" % order): (n, order)
                 for n, order in cells}
        if cell is None and len(names) == 1:
            cell = next(iter(names))
        if str(cell) not in names:
            raise ResultsError("%s: mode '%s' is in the cells %s: say which, got %s"
                               % (self._report_path, mode, ", ".join(sorted(names)), cell))
        found = [entry for entry in entries if entry["mode"] == mode and
                 (entry["calib_data_num"], entry.get("order", 0)) == names[str(cell)] and
                 (not component or entry["component"] == component)]
        if not found:
            raise ResultsError("%s: no component '%s'; run: ssmsweep compare --components %s"
                               % (self._report_path, component, component))
        known = {key for entry in found for key in entry["metrics"]}
        if name not in known:
            raise ResultsError("%s: no metric '%s'; it has %s" % (self._report_path, name, ", ".join(sorted(known))))
        return found

    def metric(self, name, mode, component="mixer_output", cell=None):
        """Rows (layer, value, low, high) of every layer: the value and its 95 % interval, which is infinite where the samples
        do not bound it.  component=None: of the predictions (perplexity, kl_mean ...), one row of layer -1."""
        rows = [(entry.get("layer", -1),) + tuple(_number(entry["metrics"][name], key) for key in ("value", "low", "high"))
                for entry in self._entries(name, mode, component, cell)]
        return np.array(sorted(rows), dtype=ROW)

    def frame(self):
        """All metrics of all layers as a pandas.DataFrame: mode, cell, layer, component, metric, value, low, high."""
        import pandas
        rows = []
        for entry in self.report["layers"] + self.report["end_of_model"]:
            n, order = entry["calib_data_num"], entry.get("order", 0)
            cell = ("float" if n is None else "%d" % n) + ("" if order in (None, 0) else "_order%d" % order)
            for name, metric in entry["metrics"].items():
                rows.append((entry["mode"], cell, entry.get("layer", -1), entry.get("component"), name) +
                            tuple(_number(metric, key) for key in ("value", "low", "high")))
        return pandas.DataFrame(rows, columns=["mode", "cell", "layer", "component", "metric", "value", "low", "high"])
