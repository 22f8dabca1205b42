"""A small vocabulary in the format of RWKV "world", and ids by the public `rwkv` package for it and for the published one.

usage: make_rwkv.py OUT_FOLDER      (pip install rwkv==0.8.32; its vocabulary is not stored here)
"""
import json
import pathlib
import random
import sys

import rwkv.rwkv_tokenizer as reference

WORDS = ["\t\t", "\n\n", "\r\n", "  ", "he", "hello", " hello", " he", "lo w", "low", "owl", "it's", "'\"", "\"'", "\\n", "\\\\",
         "caf\u00e9", "\u00e9", "\u00e9\u00e9", "\u65e5\u672c", "\u65e5\u672c\u8a9e", "\u2581", "\u2028", "\u00a0", "\u200b", "\U0001f642",
         "\U0001f642\U0001f642", "\U000e0041", "a" * 3, "a" * 5, "a" * 40, b"\xf0\x9f", b"\xe6\x97", b"ab'\xff\"", b"\xff\xfe\n"]
TEXTS = ["", " ", "Hello, hello  hello world", "lo wlow owlowl it's 'hello' \"'he'\"", "\t\t\t\n\n\n\r\n\\n\\\\\\ \r", "caf\u00e9 caf\u00e9\u00e9\u00e9",
         "\u65e5\u672c\u8a9e\u306e\u65e5\u672c \u65e5", "\u2581\u2581\u2028\u00a0\u200b", "\U0001f642\U0001f642\U0001f642 \U0001f643", "\U000e0041\U000e0042",
         "a" * 47, "a" * 8, "\x00\x01\x7f\x80", "for (int i = 0; i < 10; ++i) {\n        return x;\n}", "12345 1,000.5 2023-04-24",
         "User: hi\n\nAssistant: Hi. I am your assistant.\n\n", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
         "<s></s><|endoftext|>", "x" * 130 + "-" * 90 + " " * 140, "na\u00efve fa\u00e7ade e\u0301 \ufb01 \u00b2\u00bd\u2167", "#include <vector>\t// a\r\n\r\n"]


def write_tiny(path):
    tokens = [bytes([b]) for b in range(256)] + WORDS
    lines = []
    for index, token in enumerate(tokens, start=1):
        content = token.encode() if isinstance(token, str) else token
        try:
            spelled = repr(content.decode())
        except UnicodeDecodeError:
            spelled = repr(content)
        lines.append(f"{index} {spelled} {len(content)}")
    # What repr never writes but Python reads, and a gap in the ids.
    lines += [r'''400 "\"\'\x41" 3''', r'''401 '\xe9\u00e8\U0001f600' 8''', r'''402 b"\"\'\n\t\r\\z" 7''']
    path.write_bytes("".join(line + "\n" for line in lines).encode())


def random_texts(count, seed):
    draw = random.Random(seed)
    parts = [w for w in WORDS if isinstance(w, str)] + list("abehlow' \n\"\\\u00e8\u00e9\u672c\U0001f600") + ["\"'A", "\u00e9\u00e8\U0001f600", "\"'\n\t\r\\z"]
    return ["".join(draw.choices(parts, k=draw.randint(1, 14))) for _ in range(count)]


out = pathlib.Path(sys.argv[1])
write_tiny(out / "rwkv_tiny.txt")
tiny = reference.TRIE_TOKENIZER(out / "rwkv_tiny.txt")
world = reference.TRIE_TOKENIZER(pathlib.Path(reference.__file__).with_name("rwkv_vocab_v20230424.txt"))
texts = TEXTS + random_texts(40, 1)
broken = [b"\xff", b"\xe6\x97\xf0\x9f\x99", b"ab'\xff\"\xff\xfe\n", b"\xc3\xc3\xa9"]
(out / "rwkv.json").write_text(json.dumps({
    "texts": texts, "tiny": [tiny.encode(t) for t in texts], "world": [world.encode(t) for t in texts],
    "bytes": [list(b) for b in broken], "tiny_bytes": [tiny.encodeBytes(b) for b in broken],
    "world_bytes": [world.encodeBytes(b) for b in broken]}, separators=(",", ":")) + "\n")
