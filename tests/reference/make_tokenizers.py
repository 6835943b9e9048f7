# SPDX-License-Identifier: Apache-2.0
"""Variants of tokenizer.json with the ids that the package `tokenizers` gives: make_tokenizers.py DEMO_TOKENIZER OUT.jsonl

The file is tests/golden/tokenizer_variants.jsonl; the test that reads it needs neither this script nor the package.  Its
first line has the texts and the parts of a plain tokenizer.json, each as JSON text: byte b has id b, then come merges.
Each further line replaces parts.  It has "ids" for each text, where they differ from those of the plain one, and "own"
where they are others without special tokens; or "refused", words of the line with which ssmsweep refuses it.  "ids" may be
null: ssmsweep refuses that text with the words in "text_refused".
"""
import json
import sys

TEXTS = ["The quick brown fox; don't 1234 567 in the sun",
         "  leading and  trailing  ",
         "a\n\n  b\r\n\tc   \n",
         "caf\u00e9 cafe\u0301 \ufb01n \u212b \uac00\u11a8 s\u0307\u0323",
         "<|endoftext|>the<|endoftext|> <|endoftext|>",
         "x <mask> y<mask>z\t <mask>\n<mask> _<mask>. \u00e9<mask> <mask>\u24d0 (<mask>)<mask><mask>",
         "12\u00b2\u0663 12345,678.90 \u2167 a1b22",
         "hello, world!! (yes) ... \u00abquote\u00bb a_b-c $5+6",
         "",
         " ",
         "\U0001f600 \u4e2d\u6587 \u0e01\u0e33 \u05d0\u05d1",
         "'S 'll I'LL WE'Ve it\u017f '\u017f",
         "the      then          <sep>  he",
         "ing singing theing"]


def alphabet():
    shifted = iter(range(0x100, 0x200))
    printable = set(range(0x21, 0x7f)) | set(range(0xa1, 0xad)) | set(range(0xae, 0x100))
    return [chr(b if b in printable else next(shifted)) for b in range(256)]


BYTES = alphabet()
SPACE = BYTES[0x20]
END = {"id": 0, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
       "special": True}


class Base:
    """Bytes, the first merges of the demo model's tokenizer, and some that show where a text is split."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            merges = [m if isinstance(m, list) else m.split(" ") for m in json.load(f)["model"]["merges"]][:90]
        merges += [["1", "2"], ["12", "3"], ["3", "4"], ["1", "23"], [SPACE, "12"], [",", SPACE], ["!", "!"], [".", "."],
                   ["..", "."], ["'", "S"], ["'", "L"], ["'L", "L"], ["\u010a", "\u010a"], ["\u010d", "\u010a"]]
        self.vocab = {c: b for b, c in enumerate(BYTES)}
        self.merges = []
        for a, b in merges:
            if a in self.vocab and b in self.vocab and a + b not in self.vocab:
                self.vocab[a + b] = len(self.vocab)
                self.merges.append(a + " " + b)
        self.next = len(self.vocab)

    def added(self, content, number=0, **flags):
        return dict(END, id=self.next + number, content=content, **flags)

    def parts(self):
        return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [self.added("<|endoftext|>")],
                "normalizer": {"type": "NFC"}, "pre_tokenizer": BYTE_LEVEL, "post_processor": None,
                "decoder": dict(BYTE_LEVEL), "model": {"type": "BPE"}, "vocab": self.vocab, "merges": self.merges}


# ---------------------------------------------------------------- pieces
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
NO_REGEX = dict(BYTE_LEVEL, use_regex=False)
A, B = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|"
          r"\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def chain(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def normalizers(*steps):
    return {"type": "Sequence", "normalizers": list(steps)}


def processors(*steps):
    return {"type": "Sequence", "processors": list(steps)}


def special(token):
    return {"SpecialToken": {"id": token, "type_id": 0}}


def template(single, tokens):
    return {"type": "TemplateProcessing", "single": single, "pair": single + [B],
            "special_tokens": {name: {"id": name, "ids": ids, "tokens": [name] * len(ids)} for name, ids in tokens.items()}}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def punctuation(behavior):
    return {"type": "Punctuation", "behavior": behavior}


def typed(name, **more):
    return dict({"type": name}, **more)


# ---------------------------------------------------------------- variants: name, parts that change, words of a refusal
def of_normalizer():
    nfc, strip = typed("NFC"), typed("Strip", strip_left=True, strip_right=False)
    replace = typed("Replace", pattern={"String": " "}, content="\u2581")
    for name, value in (("null", None), ("NFD", typed("NFD")), ("NFKC", typed("NFKC")), ("NFKD", typed("NFKD")),
                        ("sequence of NFC", normalizers(nfc)), ("empty sequence", normalizers()),
                        ("NFKD then NFC", normalizers(typed("NFKD"), nfc)), ("nested", normalizers(normalizers(nfc), nfc)),
                        ("NFC then NFD", normalizers(nfc, typed("NFD"))),
                        ("strip of nothing", normalizers(dict(strip, strip_left=False), nfc))):
        yield "normalizer: " + name, {"normalizer": value}
    for name, value in (("Strip", strip), ("Lowercase", typed("Lowercase")), ("Nmt", typed("Nmt")), ("Replace", replace),
                        ("StripAccents", typed("StripAccents")), ("ByteLevel", typed("ByteLevel")),
                        ("Prepend", typed("Prepend", prepend="\u2581")),
                        ("BertNormalizer", typed("BertNormalizer", clean_text=True, handle_chinese_chars=True,
                                                 strip_accents=None, lowercase=True))):
        yield "normalizer: " + name, {"normalizer": value}, "normalizer|%s|.npy" % name
    yield ("normalizer: as in SentencePiece", {"normalizer": normalizers(typed("Prepend", prepend="\u2581"), replace),
                                               "pre_tokenizer": None}, "normalizer.normalizers[0]|Prepend|.npy")


def of_pre_tokenizer():
    prefix = dict(BYTE_LEVEL, add_prefix_space=True)
    for name, value in (("prefix", prefix), ("no regex", NO_REGEX), ("sequence of one", chain(BYTE_LEVEL)),
                        ("nested", chain(chain(chain(), BYTE_LEVEL))),
                        ("each digit", chain(digits(True), BYTE_LEVEL)), ("digits", chain(digits(False), BYTE_LEVEL)),
                        ("each digit, prefix", chain(digits(True), prefix)), ("digits alone", chain(digits(True), NO_REGEX)),
                        ("GPT-2", chain(split(GPT2), NO_REGEX)), ("GPT-2 alone", chain(split(GPT2), BYTE_LEVEL)),
                        ("Llama-3", chain(split(LLAMA3), NO_REGEX)), ("Llama-3, regex", chain(split(LLAMA3), BYTE_LEVEL)),
                        ("Llama-3, removed and inverted", chain(split(LLAMA3, "Removed", True), NO_REGEX)),
                        ("Qwen2", chain(split(QWEN2), NO_REGEX)), ("Qwen2, prefix", chain(split(QWEN2), prefix)),
                        ("each digit, Llama-3", chain(digits(True), split(LLAMA3), NO_REGEX)),
                        ("punctuation", chain(punctuation("Isolated"), BYTE_LEVEL)),
                        ("runs of punctuation", chain(punctuation("Contiguous"), BYTE_LEVEL)),
                        ("a text", chain(split("ing", kind="String"), BYTE_LEVEL)),
                        ("new lines", chain(split("\n", kind="String"), NO_REGEX))):
        yield "pre_tokenizer: " + name, {"pre_tokenizer": value}
    falcon = chain(punctuation("Contiguous"), BYTE_LEVEL, digits(False), split("[0-9][0-9][0-9]"))
    for name, value, words in (
            ("none", None, "null"), ("empty sequence", chain(), "ByteLevel"),
            ("Whitespace", typed("Whitespace"), "Whitespace"),
            ("Metaspace", typed("Metaspace", replacement="\u2581", prepend_scheme="always", split=True), "Metaspace"),
            ("BertPreTokenizer", typed("BertPreTokenizer"), "BertPreTokenizer"),
            ("as in Falcon", falcon, "pretokenizers[2]|Digits"), ("ByteLevel twice", chain(BYTE_LEVEL, NO_REGEX), "pretokenizers[1]"),
            ("another pattern", chain(split("[0-9]{3}"), BYTE_LEVEL), "pretokenizers[0].pattern|[0-9]{3}"),
            ("merged with previous", chain(split(" ", "MergedWithPrevious", kind="String"), BYTE_LEVEL), "MergedWithPrevious"),
            ("removed", chain(split(" ", "Removed", kind="String"), BYTE_LEVEL), "Removed"),
            ("punctuation removed", chain(punctuation("Removed"), BYTE_LEVEL), "Removed")):
        yield "pre_tokenizer: " + name, {"pre_tokenizer": value}, "pre_tokenizer|%s|.npy" % words


def of_post_processor(end):
    name = "<|endoftext|>"
    bos, eos = [special(name), A], [A, special(name)]
    tokens = {name: [end]}
    for what, value in (("ByteLevel", BYTE_LEVEL), ("sequence of ByteLevel", processors(BYTE_LEVEL)),
                        ("empty sequence", processors()), ("adds nothing", template([A], {})),
                        ("names a token, adds nothing", template([A], tokens)),
                        ("begin", template(bos, tokens)), ("end", template(eos, tokens)),
                        ("begin and end", template([special(name), A, special(name)], tokens)),
                        ("as in Llama-3", processors(BYTE_LEVEL, template(bos, tokens))),
                        ("several ids", template([special("abc"), A], {"abc": [97, 98, 99]})),
                        ("Roberta", typed("RobertaProcessing", sep=["</s>", 2], cls=["<s>", 1], trim_offsets=True,
                                          add_prefix_space=False)),
                        ("Bert", typed("BertProcessing", sep=["x", 120], cls=["y", 121]))):
        yield "post_processor: " + what, {"post_processor": value}
    two = processors(template(bos, tokens), template([special("b"), A, special("b")], {"b": [98]}))
    for what, value, words in (("two templates", two, "processors[1]"), ("text twice", template([A, A], {}), "single"), ("no text", template([special(name)], tokens), "single"),
                               ("second text", template([A, B], {}), "single"),
                               ("unknown token", template([special("<s>"), A], tokens), "<s>"),
                               ("unknown type", typed("NewProcessing"), "NewProcessing")):
        yield "post_processor: " + what, {"post_processor": value}, "post_processor|%s|.npy" % words


def of_frame():
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    pad = {"strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
           "pad_token": "<|endoftext|>"}
    yield "truncation", {"truncation": cut}
    yield "padding", {"padding": pad}
    yield "truncation and padding", {"truncation": cut, "padding": pad}
    yield "no decoder", {"decoder": None}
    yield "another decoder", {"decoder": typed("Fuse")}
    yield "unknown key", {"novelty": 1}, "novelty|.npy"


def of_model(base):
    bpe = typed("BPE")
    whole = dict(base.vocab, **{SPACE + "quick": base.next})
    later = [dict(END, id=base.next + 1)]
    without_z = {k: v for k, v in base.vocab.items() if k != "z"}
    for name, parts in (("ignore_merges", {"model": dict(bpe, ignore_merges=True)}),
                        ("a word without merges", {"vocab": whole, "added_tokens": later}),
                        ("ignore_merges, a word without merges",
                         {"model": dict(bpe, ignore_merges=True), "vocab": whole, "added_tokens": later}),
                        ("byte_fallback", {"model": dict(bpe, byte_fallback=True)}),
                        ("unk_token", {"model": dict(bpe, unk_token="<|endoftext|>", fuse_unk=True)}),
                        ("dropout 0", {"model": dict(bpe, dropout=0.0)}),
                        ("empty prefix and suffix", {"model": dict(bpe, continuing_subword_prefix="", end_of_word_suffix="")}),
                        ("no type", {"model": {}}),
                        ("merges as pairs", {"merges": [m.split(" ") for m in base.merges]}),
                        ("no merges", {"merges": []})):
        yield "model: " + name, parts
    yield "model: a byte is missing", {"vocab": without_z, "added_tokens": [dict(END, id=base.next - 1)],
                                       "text_refused": "byte 0x7a|.npy"}
    for name, value, words in (("dropout", dict(bpe, dropout=0.1), "dropout|0.1"),
                               ("prefix of pieces", dict(bpe, continuing_subword_prefix="##"), "continuing_subword_prefix|##"),
                               ("suffix of words", dict(bpe, end_of_word_suffix="</w>"), "end_of_word_suffix|</w>"),
                               ("Unigram", typed("Unigram"), "type|Unigram"), ("WordPiece", typed("WordPiece"), "type|WordPiece"),
                               ("WordLevel", typed("WordLevel", unk_token="x"), "type|WordLevel")):
        yield "model: " + name, {"model": value}, "model.%s|.npy" % words


def of_added(base):
    added = base.added
    hole = dict(base.vocab, **{SPACE + "quick": base.next + 50})
    blanks = [added(" " * n, i, special=False, normalized=True) for i, n in enumerate(range(24, 1, -1))]
    for name, tokens in (("none", []), ("lstrip", [added("<mask>", lstrip=True)]), ("rstrip", [added("<mask>", rstrip=True)]),
                         ("lstrip and rstrip", [added("<mask>", lstrip=True, rstrip=True)]),
                         ("single_word", [added("<mask>", single_word=True)]),
                         ("single_word, normalized", [added("the", single_word=True, normalized=True)]),
                         ("all flags", [added("<mask>", lstrip=True, rstrip=True, single_word=True)]),
                         ("normalized", [added("caf\u00e9", normalized=True), added("<mask>", 1, normalized=True, lstrip=True)]),
                         ("blanks, as in GPT-NeoX", blanks),
                         ("blanks behind rstrip", blanks + [added("the ", len(blanks), rstrip=True, normalized=True)]),
                         ("raw and normalized", [added("<mask>"), added("k> y", 1, normalized=True), added(" <m", 2)]),
                         ("one begins another", [added("<|end"), added("<|endoftext|>", 1), added("text|> ", 2)])):
        yield "added_tokens: " + name, {"added_tokens": tokens}
    yield "added_tokens: behind a hole in the vocabulary", {"vocab": hole, "added_tokens": [added("<mask>", 1)]}
    for name, parts, words in (
            ("behind the highest id", {"vocab": hole, "added_tokens": [added("<mask>", 51)]}, "[0].id: expected %d" % (base.next + 1)),
            ("another id", {"added_tokens": [dict(END, id=7, content="<mask>")]}, "[0].id: expected %d" % base.next),
            ("same text twice", {"added_tokens": [added("<mask>"), added("<mask>")]}, "[1].id")):
        yield "added_tokens: " + name, parts, "added_tokens" + words


def variants(base):
    for name, parts, *refused in [*of_normalizer(), *of_pre_tokenizer(), *of_post_processor(base.next), *of_frame(),
                                  *of_model(base), *of_added(base)]:
        yield name, parts, refused[0] if refused else None


# ---------------------------------------------------------------- ids
def whole(parts):
    value = dict(parts)
    vocab, merges = value.pop("vocab"), value.pop("merges")
    value["model"] = dict(value["model"], vocab=vocab, merges=merges)
    return json.dumps(value, ensure_ascii=False)


def ids_of(tokenizer, text, special_tokens):
    try:
        return tokenizer.encode(text, add_special_tokens=special_tokens).ids
    except BaseException as error:    # noqa: BLE001 (what Rust panics with is no Exception)
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def encode(package, parts):
    tokenizer = package.Tokenizer.from_str(whole(parts))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [[ids_of(tokenizer, t, special_tokens) for t in TEXTS] for special_tokens in (True, False)]


def line_of(package, base, plain, name, parts, refused):
    text_refused = parts.pop("text_refused", None)
    line = {"name": name, "parts": {k: json.dumps(v, ensure_ascii=False) for k, v in parts.items()}}
    if refused:
        return dict(line, refused=refused)
    try:
        ids, own = encode(package, dict(base.parts(), **parts))
    except Exception as error:    # noqa: BLE001 (the package raises plain Exception)
        return dict(line, refused="?", why=str(error))
    if text_refused:
        line["text_refused"] = text_refused
        ids = own = [None if "z" in t else i for t, i in zip(TEXTS, ids)]
    differ = {str(i): ids[i] for i in range(len(TEXTS)) if ids[i] != plain[i]}
    line["ids"] = differ
    if own != ids:
        line["own"] = {str(i): own[i] for i in range(len(TEXTS)) if own[i] != plain[i]}
    return line


def main():
    import tokenizers as package
    base = Base(sys.argv[1])
    plain = encode(package, base.parts())[0]
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        first = {"made_with": "tokenizers " + package.__version__, "texts": TEXTS, "ids": plain,
                 "parts": {k: json.dumps(v, ensure_ascii=False) for k, v in base.parts().items()}}
        for line in [first] + [line_of(package, base, plain, *v) for v in variants(base)]:
            f.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
