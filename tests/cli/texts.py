# SPDX-License-Identifier: Apache-2.0
"""Every format of text gives the samples of the plain one, and every broken or malicious file its one-line refusal."""
import concurrent.futures
import gzip
import json
import os
import subprocess
import sys
import zlib

import h5py
import numpy as np

import harness
from packed import npy, npy_of, zstd

INPUT, USAGE = 3, 2
SAMPLES = 3
SECONDS = harness.LIMIT
MIB = 1 << 20
TOKENIZER = json.load(open(os.path.join(harness.DEMO, "tokenizer.json"), encoding="utf-8"))
LINES = open(os.path.join(harness.DEMO, "calibration.jsonl"), "rb").read().splitlines(True)[:8]
TEXTS = ["one two three", "caf\u00e9 \U0001f600 \u0000 nul", "line one\nline two"]
WITHOUT_NUL = [text.replace("\0", "no") for text in TEXTS]    # JSON strings may hold one, text files may not


# ---------------------------------------------------------------- making files
def npy_shape(shape, data=b"", descr="'<i4'", fortran="False"):
    return npy_of("{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, fortran, shape), data)


def jsonl(*texts, **more):
    return b"".join(json.dumps(dict(more, text=text)).encode() + b"\n" for text in texts)


def bomb(compressor, mebibytes, piece):
    """Streams `piece` (1 MiB) through a compressor: memory here stays small too."""
    return b"".join([compressor.compress(piece) for _ in range(mebibytes)] + [compressor.flush()])


def gzip_bomb(mebibytes, piece):
    return bomb(zlib.compressobj(1, zlib.DEFLATED, 31), mebibytes, piece)


def tokenizer(**changes):
    return json.dumps(dict(TOKENIZER, **changes)).encode()


def tokenizer_model(**changes):
    return tokenizer(model=dict(TOKENIZER["model"], **changes))


def vocabulary(**changes):
    return tokenizer_model(vocab=dict(TOKENIZER["model"]["vocab"], **changes))


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1:]


# ---------------------------------------------------------------- broken texts: name, file, bytes, what the line says
PLAIN = b"".join(LINES)
ONE_LINE = b'{"text": "' + b"a" * (MIB - 10)
IDS = np.arange(SAMPLES * 8, dtype=np.int32).reshape(SAMPLES, 8)
INNER_PAD = IDS.copy()
INNER_PAD[1, 4] = -1
WINDOW = b"\x28\xb5\x2f\xfd\x00\xa8"    # a Zstandard frame that asks for a window of 2 GiB
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"01234567" * 8 + b"\nsize 517000000\n"
TEXT_CASES = [
    ("invalid UTF-8", "t.jsonl", b'{"text": "caf\xe9"}\n', ["line 1", "UTF-8", "byte 13"]),
    ("overlong UTF-8", "t.jsonl", b'{"text": "\xc0\xaf"}\n', ["line 1", "UTF-8"]),
    ("surrogate in UTF-8", "t.jsonl", b'{"text": "\xed\xa0\x80"}\n', ["line 1", "UTF-8"]),
    ("lone surrogate escaped", "t.jsonl", b'{"text": "\\ud800"}\n', ["line 1", "half of a surrogate pair, \\ud800"]),
    ("deep arrays", "t.jsonl", b'{"a": ' + b"[" * 100000 + b"\n", ["line 1", "nested deeper than 200"]),
    ("deep objects", "t.jsonl", b'{"a":' * 100000 + b"\n", ["line 1", "nested deeper than 200"]),
    ("duplicate key", "t.jsonl", b'{"text": "a", "text": "b"}\n', ["line 1", "duplicate key 'text'"]),
    ("NUL byte", "t.jsonl", b'{"te\0xt": "a"}\n', ["line 1", "NUL byte"]),
    ("key cut by NUL", "t.jsonl", b'{"text\\u0000": "a"}\n', ["line 1", "no such key"]),
    ("huge number as text", "t.jsonl", b'{"text": 1e99999}\n', ["line 1", "expected a string"]),
    ("array of texts", "t.jsonl", b'["a", "b"]\n', ["line 1", "JSON object"]),
    ("torn array", "t.json", b'[{"text": "a"},\n{"text": "b"}\n', ["line 2", "',' or ']'"]),
    ("array without a comma", "t.json", b'[{"text": "a"} {"text": "b"}]', ["line 1", "',' or ']'"]),
    ("array and more", "t.json", b'[{"text": "a"}]\n{"text": "b"}', ["line 2", "nothing behind the array"]),
    ("torn object in an array", "t.json", b'[{"text": "a"},\n{"text": "b\\', ["line 2", "the end of a JSON object"]),
    ("bad object in an array", "t.json", b'[{"text": "a"},\n{"text": 5}]', ["object at line 2", "got 5"]),
    ("objects of several lines", "t.json", b'{\n"text": "a"\n}\n{\n "text" "b"}', ["object at line 4", "not valid JSON"]),
    ("columns", "t.json", b'{"text": ["a", "b"]}\n', ["line 1", "got an array"]),
    ("another field", "t.jsonl", b'{"content": "a"}\n', ["line 1", "there is 'content'", "--text-field"]),
    ("pointer as JSON", "t.jsonl", POINTER, ["expected JSON lines, got a git-lfs pointer", "git lfs pull"]),
    ("pointer as text", "t.txt", POINTER, ["expected text, got a git-lfs pointer"]),
    ("pointer as ids", "t.npy", POINTER, ["expected an .npy file, got a git-lfs pointer"]),
    ("pointer as gzip", "t.txt.gz", POINTER, ["got a git-lfs pointer"]),
    ("pointer as bare ids", "t.bin", POINTER, ["got a git-lfs pointer"]),
    ("a page", "t.txt", b"\n<!doctype HTML><html><body>404</body></html>", ["got an HTML or XML page", "fetch the file again"]),
    ("a page without a name", "texts", b"<?xml version='1.0'?><Error/>", ["got an HTML or XML page"]),
    ("Parquet", "train.parquet", b"PAR1abc\n\nd\n\ne\n\nPAR1", ["got a Parquet file", "docs/texts.md"]),
    ("Arrow", "t.arrow", b"ARROW1\0\0" + bytes(200), ["got an Arrow file"]),
    ("Feather as text", "t.txt", b"FEA1abc", ["got a Feather file"]),
    ("zip", "t.zip", b"PK\x03\x04abc", ["got a zip archive", "unpack it"]),
    ("npz", "t.npz", b"PK\x03\x04abc", ["got a zip archive (.npz"]),
    ("npz as npy", "t.npy", b"PK\x03\x04" + bytes(20), ["expected an .npy file, got a zip archive"]),
    ("ids as JSON", "t.jsonl", npy(IDS), ["got a NumPy array", ".npy"]),
    ("tar", "t.tar", b"a/t.jsonl".ljust(257, b"\0") + b"ustar\x0000", ["got a tar archive", "unpack it"]),
    ("tar in gzip", "t.tar.gz", gzip.compress(b"a/t.txt".ljust(257, b"\0") + b"ustar  \0"), ["got a tar archive"]),
    ("gzip twice", "t.txt.gz", gzip.compress(gzip.compress(PLAIN)), ["got gzip data"]),
    ("UTF-16", "t.txt", "One two".encode("utf-16"), ["got UTF-16 text", "UTF-8"]),
    ("UTF-32", "t.jsonl", '{"text": "a"}'.encode("utf-32"), ["got UTF-32 text"]),
    ("UTF-16 without a mark", "t.txt", "One two".encode("utf-16-le"), ["line 1", "NUL byte"]),
    ("NUL in text", "t.txt", b"One\n\ntw\0o", ["line 3", "NUL byte"]),
    ("pickle", "texts", b"\x80\x04\x95abc", ["got a Python pickle"]),
    ("PDF", "t.txt", b"%PDF-1.4\n", ["got a PDF file"]),
    ("a table", "t.csv", b"text,label\none,1\n", ["got a table", "--text-format txt"]),
    ("JSON lines as text", "t.txt", PLAIN, ["got JSON with the key 'text'", "--text-format jsonl"]),
    ("ids without a header", "t.bin", IDS.tobytes(), ["--ids-dtype uint16"]),
    ("torn last line", "t.jsonl", jsonl("a", "b") + b'{"text": "c', ["line 3", "not valid JSON"]),
    ("no documents", "t.jsonl", b"", ["expected 3 samples, got 0"]),
    ("empty documents only", "t.jsonl", jsonl("", "", "", ""), ["expected 3 samples, got 0 (and 4 empty"]),
    ("invalid UTF-8 in .txt", "t.txt", b"fine\n\nalso fine\n\nbad \xff here\n", ["t.txt: line 5", "UTF-8"]),
    ("truncated gzip", "t.jsonl.gz", gzip.compress(PLAIN)[:300], ["t.jsonl.gz", "torn gzip", "in the middle"]),
    ("gzip of two bytes", "t.jsonl.gz", b"\x1f\x8b", ["torn gzip"]),
    ("damaged gzip", "t.jsonl.gz", flipped(gzip.compress(LINES[0]), 40), ["torn gzip"]),
    ("wrong gzip checksum", "t.jsonl.gz", flipped(gzip.compress(LINES[0]), -8), ["torn gzip", "check"]),
    ("garbage after gzip", "t.jsonl.gz", gzip.compress(LINES[0]) + b"garbage", ["torn gzip", "header"]),
    ("no gzip at all", "t.jsonl.gz", PLAIN, ["t.jsonl.gz", "expected gzip data"]),
    ("pointer as Zstandard", "t.jsonl.zst", POINTER, ["t.jsonl.zst", "git-lfs pointer", "git lfs pull"]),
    ("no Zstandard at all", "t.jsonl.zst", PLAIN, ["t.jsonl.zst", "expected Zstandard data"]),
    ("truncated Zstandard", "t.jsonl.zst", lambda: zstd(PLAIN)[:300], ["torn Zstandard", "in the middle"]),
    ("wrong Zstandard checksum", "t.jsonl.zst", lambda: flipped(zstd(LINES[0]), -2), ["torn Zstandard", "checksum"]),
    ("garbage after Zstandard", "t.jsonl.zst", lambda: zstd(LINES[0]) + b"garbage!", ["torn Zstandard"]),
    ("huge Zstandard window", "t.jsonl.zst", WINDOW + b"\x01\x00\x00", ["torn Zstandard", "memory"]),
    ("endless gzip line", "t.jsonl.gz", lambda: gzip_bomb(200, ONE_LINE[-1:] * MIB), ["line 1", "64 MiB"]),
    ("endless Zstandard line", "t.jsonl.zst", lambda: zstd(ONE_LINE * 200), ["line 1", "64 MiB"]),
    ("endless paragraph", "t.txt.gz", lambda: gzip_bomb(100, (b"word " * 13 + b"\n") * 15888), ["64 MiB"]),
    # token ids
    ("2^63 rows", "t.npy", npy_shape("(9223372036854775808, 8)"), ["overflows"]),
    ("2^64 rows", "t.npy", npy_shape("(18446744073709551616, 8)"), ["fits in memory"]),
    ("shape that overflows", "t.npy", npy_shape("(4294967296, 4294967296)"), ["overflows"]),
    ("shape that wraps to little", "t.npy", npy_shape("(4611686018427387905, 4)", b"\0" * 16), ["overflows"]),
    ("negative shape", "t.npy", npy_shape("(-1, 8)"), ["non-negative"]),
    ("one endless row", "t.npy", npy_shape("(1, 1099511627776)"), ["torn"]),
    ("nine dimensions", "t.npy", npy_shape("(1, 1, 1, 1, 1, 1, 1, 1, 1)"), ["8 dimensions"]),
    ("one dimension", "t.npy", npy(IDS.ravel()), ["[samples, L]", "in 1 dimensions", "reshape"]),
    ("Fortran order", "t.npy", npy(np.asfortranarray(IDS)), ["fortran_order"]),
    ("pickled objects", "t.npy", npy_shape("(3, 8)", b"cos\nsystem\n", "'|O'"), ["'|O'"]),
    ("big-endian ids", "t.npy", npy(IDS.astype(">i4")), ["'>i4'"]),
    ("unsigned bytes", "t.npy", npy(IDS.astype(np.uint8)), ["'|u1'", "astype"]),
    ("float ids", "t.npy", npy(IDS.astype(np.float32)), ["int32 or int64", "<f4", "astype"]),
    ("structured ids", "t.npy", npy_shape("(3, 8)", b"", "[('a', '<i4')]"), ["quoted string"]),
    ("code as header", "t.npy", npy_of("__import__('os').system('true')"), ["expected '{'"]),
    ("header twice", "t.npy", npy_of("{'descr': '<i4', 'descr': '<i4', 'shape': (1, 1)}"), ["once"]),
    ("torn header", "t.npy", npy(IDS)[:60], ["torn"]),
    ("header of 4 GiB", "t.npy", npy_of("{}", version=2, length=0xffffffff), ["4294967295"]),
    ("version 9", "t.npy", npy_of("{}", version=9), ["9.0"]),
    ("torn ids", "t.npy", npy(IDS)[:-1], ["file is torn"]),
    ("ids and more", "t.npy", npy(IDS) + b"\0", ["file is torn"]),
    ("torn ids in gzip", "t.npy.gz", gzip.compress(npy(IDS)[:-1]), ["torn data"]),
    ("padding inside", "t.npy", npy(INNER_PAD), ["sample 1, position 5", "only padding"]),
    ("id of 2^40", "t.npy", npy(IDS.astype(np.int64) + (1 << 40)), ["sample 0, position 0", "1099511627776"]),
]
TOKENIZER_CASES = [
    ("git-lfs pointer", POINTER, ["expected JSON, got a git-lfs pointer"]),
    ("lone surrogate", tokenizer().replace(b'"the"', b'"\\udcb2"', 1), ["half of a surrogate pair, \\udcb2"]),
    ("empty", b"", ["JSON"]),
    ("torn", tokenizer()[:5000], ["JSON"]),
    ("invalid UTF-8", tokenizer().replace(b'"NFC"', b'"NF\xff"'), ["UTF-8"]),
    ("deep", b"[" * 1000000, ["nested deeper than 200"]),
    ("an array", b"[]", ["JSON object"]),
    ("duplicate token", tokenizer().replace(b'"vocab": {', b'"vocab": {"the": 5, "the": 6, ', 1), ["duplicate key"]),
    ("no vocabulary", tokenizer_model(vocab=None), ["vocab"]),
    ("vocabulary as a list", tokenizer_model(vocab=["a", "b"]), ["vocab"]),
    ("id given twice", vocabulary(**{"zzzzz": 300}), ["300"]),
    ("id of 1e300", vocabulary(**{"zzzzz": 1e300}), ["zzzzz"]),
    ("id 2^31", vocabulary(**{"zzzzz": 1 << 31}), ["zzzzz"]),
    ("negative id", vocabulary(**{"zzzzz": -1}), ["zzzzz"]),
    ("id 1.5", vocabulary(**{"zzzzz": 1.5}), ["zzzzz"]),
    ("id as text", vocabulary(**{"zzzzz": "7"}), ["zzzzz"]),
    ("merge of missing pieces", tokenizer_model(merges=[["zq", "qz"]]), ["merge", "zq"]),
    ("merge of one piece", tokenizer_model(merges=["zq"]), ["merge"]),
    ("merges as numbers", tokenizer_model(merges=[1, 2]), ["merge"]),
    ("no merges", tokenizer_model(merges=None), ["merges"]),
    ("another model", tokenizer_model(type="Unigram"), ["Unigram"]),
    ("another normalizer", tokenizer(normalizer={"type": "Lowercase"}), ["normalizer"]),
    ("another pre-tokenizer", tokenizer(pre_tokenizer={"type": "Whitespace"}), ["pre_tokenizer"]),
    ("unknown template", tokenizer(post_processor={"type": "NewProcessing"}), ["post_processor", "NewProcessing", ".npy"]),
    ("added token as number", tokenizer(added_tokens=[5]), ["added_tokens"]),
]


def put(path, data):
    with open(path, "wb") as f:
        f.write(data() if callable(data) else data)


def judge(what, result, words, folder, before):
    wrong = []
    if result.status != INPUT:
        wrong.append("expected status %d, got %s" % (INPUT, result.status))
    lines = result.lines()
    if len(lines) != 1:
        wrong.append("expected one line, got %d" % len(lines))
    wrong += ["the line does not say '%s'" % w for w in words if not any(w.lower() in l.lower() for l in lines)]
    if sorted(os.listdir(folder)) != before:
        wrong.append("files made: %s" % sorted(os.listdir(folder)))
    return what, wrong, result.err


def try_text(workplace, number):
    name, file, data, words = TEXT_CASES[number]
    folder = os.path.join(workplace, "text%d" % number)
    os.mkdir(folder)
    put(os.path.join(folder, file), data)
    result = harness.run(["-q", "--calib-data", file, "--calib_data_num", str(SAMPLES)], 1, folder, limit=SECONDS)
    os.unlink(os.path.join(folder, file))
    return judge("text: " + name, result, [file] + words, folder, [])


def try_tokenizer(workplace, number):
    name, data, words = TOKENIZER_CASES[number]
    folder = os.path.join(workplace, "tokenizer%d" % number)
    os.mkdir(folder)
    for file in ("config.json", "model.safetensors", "calibration.jsonl"):
        os.symlink(os.path.join(harness.DEMO, file), os.path.join(folder, file))
    put(os.path.join(folder, "tokenizer.json"), data)
    before = sorted(os.listdir(folder))
    result = harness.run(["-q", "--model", "."], 1, folder, limit=SECONDS)
    return judge("tokenizer: " + name, result, ["tokenizer.json"] + words, folder, before)


def try_broken(checks, workplace):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pending = [pool.submit(try_text, workplace, n) for n in range(len(TEXT_CASES))]
        pending += [pool.submit(try_tokenizer, workplace, n) for n in range(len(TOKENIZER_CASES))]
        for done in pending:
            what, wrong, err = done.result()
            checks.check(not wrong, what, "\n".join(wrong) + "\n--- stderr\n" + err)


# ---------------------------------------------------------------- good ones
class Sweeps:
    def __init__(self, checks, workplace):
        self.checks, self.workplace, self.made = checks, workplace, 0

    def ids(self, what, path, options=(), ranks=1, standard_input=None, samples=SAMPLES, says=None):
        """(token ids, digest) that a sweep over `path` stored."""
        self.made += 1
        folder = os.path.join(self.workplace, "good%d" % self.made)
        os.mkdir(folder)
        command = [harness.PROGRAM, "--modes", "fp32", "--layers", "0", "--calib-data", path,
                   "--calib_data_num", str(samples), "--calib_seqlen", "32", *options]
        if ranks > 1:
            command = [harness.MPIEXEC, "-n", str(ranks)] + command
        done = subprocess.run(command, cwd=folder, input=standard_input, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=harness.environment(), timeout=SECONDS, check=False)
        err = done.stderr.decode("utf-8", "replace")
        if not self.checks.check(done.returncode == 0, what, err):
            return None, None
        if says:
            self.checks.check(err.count(says) == 1, what + ": says once: " + says, err)
        with h5py.File(os.path.join(folder, "layer_outputs", "sweep.h5"), "r") as f:
            return f["samples/token_ids"][()], f.attrs["ids_sha256"]


def same(checks, what, a, b):
    checks.check(a[1] == b[1] and np.array_equal(a[0], b[0]), what + ": the same samples", "%s %s" % (a, b))


def try_packed(checks, sweeps, folder):
    plain = os.path.join(harness.DEMO, "calibration.jsonl")
    wanted = sweeps.ids("plain", plain)
    files = {
        "a.json.gz": gzip.compress(PLAIN), "b.jsonl.zst": zstd(PLAIN),
        "members.jsonl.gz": b"".join(gzip.compress(line) for line in LINES) + b"\0" * 512,
        "frames.jsonl.zst": b"".join(zstd(line) for line in LINES),
        "skippable.jsonl.zst": b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(PLAIN),
        "nameless": zstd(PLAIN), "bom.jsonl": b"\xef\xbb\xbf" + PLAIN, "crlf.jsonl": PLAIN.replace(b"\n", b"\r\n\r\n"),
        "body.jsonl": b"".join(line.replace(b'"text"', b'"body"', 1) for line in LINES),
    }
    for name, data in files.items():
        put(os.path.join(folder, name), data)
        options = ["--text-field", "body"] if name == "body.jsonl" else []
        same(checks, name, sweeps.ids(name, os.path.join(folder, name), options), wanted)
    for ranks in (1, 3):
        for name in ("b.jsonl.zst", "a.json.gz", "bom.jsonl"):
            with open(os.path.join(folder, name), "rb") as f:
                same(checks, "standard input, %s, -n %d" % (name, ranks),
                     sweeps.ids("stdin " + name, "-", ranks=ranks, standard_input=f.read()), wanted)
    ids = np.where(wanted[0] < 0, 0, wanted[0])
    put(os.path.join(folder, "ids.npy"), npy(ids.astype(np.int64)))
    put(os.path.join(folder, "ids.npy.gz"), gzip.compress(npy(ids)))
    same(checks, "int64 ids padded with 0", sweeps.ids("ids", os.path.join(folder, "ids.npy"), ["--pad-id", "0"]), wanted)
    same(checks, "packed ids", sweeps.ids("ids.gz", os.path.join(folder, "ids.npy.gz"), ["--pad-id=0"]), wanted)
    lengths = (wanted[0] >= 0).sum(1)
    put(os.path.join(folder, "uint16.npy"), npy(ids.astype(np.uint16)))
    put(os.path.join(folder, "uint32.npy"), npy(ids.astype(np.uint32)))
    for name in ("uint16.npy", "uint32.npy"):
        same(checks, name, sweeps.ids(name, os.path.join(folder, name), ["--pad-id", "0"]), wanted)
    width = int(lengths.min())    # as many whole samples of ids as there are, and a shorter one
    rows = [wanted[0][0, :width], wanted[0][1, :width], wanted[0][2, :width - 1]]
    put(os.path.join(folder, "rows.npy"), npy(np.array([np.resize(np.append(r, -1), width) for r in rows], np.int32)))
    expected = sweeps.ids("rows", os.path.join(folder, "rows.npy"))
    for dtype in ("uint16", "uint32", "int32", "int64"):
        name = dtype + ".bin" if dtype != "int64" else "int64.bin.gz"
        bare = np.concatenate(rows).astype(dtype).tobytes()
        put(os.path.join(folder, name), gzip.compress(bare) if name.endswith("gz") else bare)
        same(checks, name, sweeps.ids(name, os.path.join(folder, name), ["--ids-dtype", dtype, "--calib_seqlen", str(width)]),
             expected)
    looks_packed = np.array([0x8b1f, 8] + [0] * 6, np.uint16)    # begins as gzip data do: out of this vocabulary, but read
    put(os.path.join(folder, "looks.bin"), looks_packed.tobytes())
    result = harness.run(["-q", "--calib-data", "looks.bin", "--ids-dtype", "uint16", "--calib_data_num", "1"], 1, folder)
    checks.check(result.status == INPUT and "35615" in result.err, "ids that look like gzip", result.err)
    put(os.path.join(folder, "torn.bin"), b"\1\0\2")
    result = harness.run(["-q", "--calib-data", "torn.bin", "--ids-dtype", "uint16", "--calib_data_num", "1"], 1, folder)
    checks.check(result.status == INPUT and "1 bytes more" in result.err, "torn bare ids", result.err)
    same(checks, "ids on standard input",
         sweeps.ids("stdin ids", "-", ["--pad-id", "0"], 1, npy(ids.astype(np.int64))), wanted)


def try_text_files(checks, sweeps, folder):
    put(os.path.join(folder, "t.jsonl"), jsonl(*TEXTS))
    wanted = sweeps.ids("texts as JSON", os.path.join(folder, "t.jsonl"))
    put(os.path.join(folder, "e.jsonl"), jsonl("", TEXTS[0], "", TEXTS[1], TEXTS[2]))
    same(checks, "empty documents",
         sweeps.ids("empty", os.path.join(folder, "e.jsonl"), says="2 empty documents skipped"), wanted)
    objects = [{"n": i, "note": 'a ] } \\" [', "text": t} for i, t in enumerate(TEXTS)]
    for name, data in (("array.json", json.dumps(objects)), ("indented.json", "\ufeff" + json.dumps(objects, indent=2) + "\n"),
                       ("objects.json", "\n".join(json.dumps(o, indent=1) for o in objects)),
                       ("odd.jsonl", "".join('{"score": NaN, "title": "\\ud83d", "text": %s}\n' % json.dumps(t) for t in TEXTS)),
                       ("sequence.json-seq", "".join("\x1e%s\n" % json.dumps(o) for o in objects)),
                       ("unnamed", " [ \n" + json.dumps(objects)[1:])):
        put(os.path.join(folder, name), data.encode())
        same(checks, name, sweeps.ids(name, os.path.join(folder, name)), wanted)
    put(os.path.join(folder, "t.jsonl"), jsonl(*WITHOUT_NUL))
    wanted = sweeps.ids("texts without NUL", os.path.join(folder, "t.jsonl"))
    put(os.path.join(folder, "t.txt"), "\n\n".join([""] + WITHOUT_NUL + ["", ""]).encode())
    same(checks, "paragraphs", sweeps.ids("paragraphs", os.path.join(folder, "t.txt")), wanted)
    same(checks, "paragraphs by content", sweeps.ids("stdin", "-", (), 1, "\r\n \t\n".join(WITHOUT_NUL).encode()), wanted)
    texts = os.path.join(folder, "texts")
    os.mkdir(texts)
    for i, name in enumerate(("A.txt", "B.txt.gz", "a.txt.zst")):
        data = WITHOUT_NUL[i].encode()
        put(os.path.join(texts, name), gzip.compress(data) if name.endswith("gz") else zstd(data) if i == 2 else data)
    put(os.path.join(texts, "AA.txt"), b"")
    put(os.path.join(texts, ".hidden.txt"), b"hidden")
    put(os.path.join(texts, "other.md"), b"other")
    same(checks, "a folder", sweeps.ids("folder", texts, says="1 empty documents skipped"), wanted)
    one = sweeps.ids("one file", os.path.join(folder, "t.txt"), ["--txt-split", "file"], samples=1)
    checks.check(one[0] is not None and one[0].shape[0] == 1, "--txt-split file is one document", one)


def try_special_tokens(checks, sweeps, folder):
    """A template around each text as add_special_tokens=True applies it; truncation and padding are the job's."""
    name = "<|endoftext|>"
    around = {"SpecialToken": {"id": name, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    model = os.path.join(folder, "with-template")
    os.mkdir(model)
    for file in ("config.json", "model.safetensors"):
        os.symlink(os.path.join(harness.DEMO, file), os.path.join(model, file))
    put(os.path.join(model, "calibration.jsonl"), jsonl(*TEXTS))
    put(os.path.join(model, "tokenizer.json"), tokenizer(
        truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        post_processor={"type": "TemplateProcessing", "single": [around, text, around], "pair": [text],
                        "special_tokens": {name: {"id": name, "ids": [0], "tokens": [name]}}}))
    data = os.path.join(model, "calibration.jsonl")
    plain = sweeps.ids("without template", data)
    bare = sweeps.ids("--no-special-tokens", data, ["--model", model, "--no-special-tokens"])
    same(checks, "--no-special-tokens", bare, plain)
    both = sweeps.ids("with template", data, ["--model", model, "--eval-data", data],
                      says="puts 2 special tokens around each text; --no-special-tokens")
    sweeps.ids("truncation", data, ["--model", model, "--eval-data", data], says="truncation is not applied")
    for row, own in zip(both[0], plain[0]):
        own = list(own[own >= 0])
        checks.check(list(row[row >= 0]) == [0] + own + [0], "tokens around the text", "%s %s" % (row, own))


def try_refusals(checks, workplace):
    os.mkdir(os.path.join(workplace, "no-text"))
    for what, status, options, word in (
            ("a folder without text", INPUT, ["--calib-data", "no-text"], "without any"),
            ("a folder as JSON", INPUT, ["--calib-data", "no-text", "--text-format", "jsonl"], "folder"),
            ("unknown format", USAGE, ["--text-format", "csv"], "auto|jsonl|txt|npy|bin"),
            ("unknown split", USAGE, ["--txt-split", "word"], "auto|blank|file"),
            ("pad id of words", USAGE, ["--pad-id", "none"], "--pad-id")):
        result = harness.run(["-q"] + options, 1, workplace, limit=SECONDS)
        lines = result.lines()
        checks.check(result.status == status and len(lines) == 1 and word in lines[0], what, result.err)


def main():
    checks = harness.Checks()
    with harness.Workplace() as workplace:
        if len(sys.argv) < 2 or sys.argv[1] == "good":
            sweeps = Sweeps(checks, workplace)
            try_packed(checks, sweeps, workplace)
            try_text_files(checks, sweeps, workplace)
            try_special_tokens(checks, sweeps, workplace)
            try_refusals(checks, workplace)
        if len(sys.argv) < 2 or sys.argv[1] == "broken":
            try_broken(checks, workplace)
    checks.finish()


main()
