"""Ids and decoded texts of Hugging Face tokenizers for small pipelines of every supported part, and of sentencepiece
for two small models.

usage: make.py OUT_FOLDER      (pip install tokenizers==0.23.3 sentencepiece==0.2.3)
"""
import io
import json
import pathlib
import sys

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, trainers
from tokenizers import decoders as D
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P

CORPUS = ["The quick brown fox jumps over the lazy dog, doesn't it? They'll see; I'VE seen 1234567 of them.",
          "for (int i = 0; i < 10; ++i) {\n\treturn x;\n}", "na\u00efve caf\u00e9 na\u00efve caf\u00e9",
          "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \u65e5\u672c\u8a9e", "hello hello hello world world <unk>"] * 4
TEXTS = ["", " ", "Hello  the world ", " don't THEY'LL it'\u017f \u212aelvin", "\n\n  \r\n\t x", "12345 \u0661\u0662 \u00b2\u00bd\u2167\u24d0",
         "e\u0301\u00e9\ufb01\u0130\u01c5\u03a3\u03b1\u03c2", "\u65e5\u672c\u8a9e\u30fc\u3072\u304c \u30ab\u3002\uff0c\u6f22", "\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7",
         "<s>The <|x|> [MASK] newtok new a new_</s>", "a-b_c/d.e!!...?? #{x}", "\u00a0\u3000\u2028\u0085\u180e\x1c\x00", "\u2581\u2581a \u0120b aaaaaaa", "   lazy   dog   "]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ADDED = [AddedToken("<s>", special=True), AddedToken("</s>", special=True, normalized=False),
         AddedToken("<|x|>", special=True, lstrip=True, rstrip=True), AddedToken("[MASK]", lstrip=True, normalized=True),
         AddedToken("new", single_word=True, normalized=True), AddedToken("newtok", normalized=False),
         AddedToken("The", normalized=True), AddedToken("   ", normalized=False)]


def split(pattern, behavior="isolated", invert=False):
    return P.Split(Regex(pattern), behavior, invert=invert)


def byte_level(*parts):
    return P.Sequence([*parts, P.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(size, pre_tokenizer, **options):
    tokenizer = Tokenizer(models.BPE(**{k: v for k, v in options.items() if k == "unk_token"}))
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    special = ["<unk>"] if "unk_token" in options else []
    if options.get("byte_fallback"):
        special += ["<0x%02X>" % byte for byte in range(256)]
    bytes_too = pre_tokenizer is not None and b"ByteLevel" in pre_tokenizer.__getstate__()
    affixes = {k: v for k, v in options.items() if k.endswith("fix")}
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size + len(special), special_tokens=special, show_progress=False,
        initial_alphabet=P.ByteLevel.alphabet() if bytes_too else [], **affixes))
    model = json.loads(tokenizer.to_str())["model"]
    model.update(options)
    return model


LLAMA_NORMALIZER = N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")])
LLAMA_DECODER = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
MODELS = {
    "bytes": train(300, P.ByteLevel(add_prefix_space=False)),
    "spaces": train(110, P.Metaspace(), unk_token="<unk>", fuse_unk=True, byte_fallback=True),
    "unknown": train(80, P.Metaspace(), unk_token="<unk>"),
    "fused": train(80, P.Metaspace(), unk_token="<unk>", fuse_unk=True),
    "dropped": train(80, P.Whitespace()),
    "suffix": train(100, P.Whitespace(), unk_token="<unk>", end_of_word_suffix="</w>"),
    "prefix": train(100, P.Whitespace(), unk_token="<unk>", continuing_subword_prefix="##"),
}
MODELS["whole"] = {**MODELS["bytes"], "ignore_merges": True}
MODELS["strings"] = {**MODELS["bytes"], "merges": [" ".join(pair) for pair in MODELS["bytes"]["merges"]]}

CASES = []  # model, normalizer, pre-tokenizer, decoder, with added tokens
BYTES = D.ByteLevel()
for pre in [P.ByteLevel(add_prefix_space=False), P.ByteLevel(add_prefix_space=True), byte_level(), byte_level(split(LLAMA3)),
            byte_level(split(O200K, "removed", True)), byte_level(split(r" ?[^(\s|[.,!?\u2026\u3002\uff0c])]+")),
            byte_level(split(r"\p{N}{1,3}"), split(r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(LLAMA3)),
            P.Sequence([P.Punctuation(behavior="contiguous"), P.ByteLevel(add_prefix_space=False), P.Digits(individual_digits=False), split("[0-9][0-9][0-9]")]),
            P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)]),
            byte_level(split(r"\p{Han}+|\p{Hiragana}|\p{Greek}+")), byte_level(split(r"\b\w+\b|\W")), byte_level(split(r"^\s+|.$|\A.|x\z")),
            byte_level(split(r"\h{2,}?|[\w]\H|a{,2}|[\S&]{3}")), byte_level(split(r"\p{N}{1,3}+|e?+|(?>t+h)|(?<=a)n|(?<!a)r|(?im:O.)")),
            byte_level(split("x*")), byte_level(split(r"[\t-\r [a-c]\u00e9-\u00f1]+|\u0074\x65|\{|\/"))]:
    CASES.append(("bytes", None, pre, BYTES, False))
CASES += [(name, None, byte_level(split(LLAMA3)), BYTES, True) for name in ("whole", "strings")]
for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
    for invert in (False, True):
        CASES.append(("fused", None, split(r"\s|[aeiou]", behavior, invert), D.Fuse(), False))
    CASES.append(("unknown", None, P.Split(" t", behavior), D.Fuse(), False))
for pre in [None, P.Whitespace(), P.WhitespaceSplit(), P.Metaspace(), P.Metaspace(prepend_scheme="first"), P.Metaspace(prepend_scheme="never", split=False),
            P.CharDelimiterSplit("e"), P.CharDelimiterSplit("-"), P.Sequence([P.Punctuation(behavior="merged_with_previous"), P.Digits(individual_digits=False)])]:
    CASES += [("unknown", None, pre, D.Metaspace(), True), ("dropped", None, pre, None, False)]
for normalizer in [N.NFC(), N.NFKC(), N.NFD(), N.NFKD(), N.Sequence([N.NFKC(), N.Lowercase()]), N.Sequence([N.NFD(), N.StripAccents()]),
                   N.Replace(Regex(r"\s{2,}|e"), "_"), N.Replace(Regex("^."), ""), LLAMA_NORMALIZER]:
    CASES.append(("bytes", normalizer, P.ByteLevel(add_prefix_space=False), BYTES, True))
    CASES.append(("spaces", normalizer, P.Metaspace(prepend_scheme="first"), D.Metaspace(), False))
CASES += [("spaces", N.Strip(left=left, right=right), P.Metaspace(prepend_scheme="first"), None, False) for left in (True, False) for right in (True, False)]
CASES += [("spaces", LLAMA_NORMALIZER, None, LLAMA_DECODER, added) for added in (True, False)]
CASES += [("bytes", N.ByteLevel(), None, BYTES, False), ("suffix", N.Lowercase(), P.Whitespace(), D.BPEDecoder(), False),
          ("prefix", None, P.Whitespace(), D.Fuse(), True), ("spaces", None, P.Metaspace(), D.Metaspace(prepend_scheme="never"), False),
          ("spaces", None, P.Metaspace(), D.Sequence([D.Fuse(), D.Replace(Regex("[aeiou]+"), "*"), D.Strip("\u2581", 2, 0)]), False)]

out = {"made_by": "make.py with tokenizers " + tokenizers.__version__, "texts": TEXTS, "models": MODELS, "cases": []}
for name, normalizer, pre_tokenizer, decoder, with_added in CASES:
    tokenizer = Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
        "post_processor": None, "decoder": None, "model": MODELS[name]}))
    for attribute, value in (("normalizer", normalizer), ("pre_tokenizer", pre_tokenizer), ("decoder", decoder)):
        if value is not None:
            setattr(tokenizer, attribute, value)
    if with_added:
        tokenizer.add_tokens(ADDED)
    document = json.loads(tokenizer.to_str())
    del document["model"]
    ids, decoded = [], []
    for text in TEXTS:
        ids.append(tokenizer.encode(text, add_special_tokens=False).ids)
        decoded.append(tokenizer.decode(ids[-1], skip_special_tokens=False))
    out["cases"].append({"model": name, "tokenizer": document, "ids": ids, "decoded": decoded})
folder = pathlib.Path(sys.argv[1])


def write(name, document):
    (folder / name).write_text(json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n")


write("pipelines.json", out)
print(len(out["cases"]), "cases,", sum(len(c["ids"]) for c in out["cases"]), "texts")

out = {"made_by": "make.py with sentencepiece " + sentencepiece.__version__, "texts": TEXTS + CORPUS[:5], "models": {}}
for kind in ("bpe", "unigram"):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, model_type=kind, vocab_size=350, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False, minloglevel=2)
    (folder / (kind + ".model")).write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = [processor.encode(text) for text in out["texts"]]
    out["models"][kind] = {"size": processor.get_piece_size(), "ids": ids, "decoded": [processor.decode(i) for i in ids]}
write("sentencepiece.json", out)
