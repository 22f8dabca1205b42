"""What the tests of the osteon program share: the program itself, the pages' commands, a folder with a small data file, files.
OSTEON names the program."""
import json
import os
import re
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OSTEON = os.path.abspath(os.environ.get("OSTEON", ROOT / "build/experiments/osteon"))
SUBCOMMANDS = ["ablate", "finetune", "pretrain", "evaluate", "generate", "forward", "merge", "unload", "convert", "plan",
               "report", "reproduce", "inspect", "tokenize"]

# A suite's base whose runs take no time; seeds go before it, axes behind it.
TINY_BASE = """[base]
model = "synthetic:tiny"
data = "down"
steps = 2
batch_size = 2
accumulate = 1
eval_size = 4
"""


def osteon(*arguments, status=0, cwd=ROOT):
    done = subprocess.run([OSTEON, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=300,
                          env=dict(os.environ, OMP_WAIT_POLICY="passive"))
    assert done.returncode == status, f"{arguments}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def shell(commands, folder):
    """Runs lines of a shell, `osteon` being the program; all must succeed. Returns what they print."""
    setup = f'set -e\nosteon() {{ "{OSTEON}" "$@"; }}\n'
    done = subprocess.run(["bash", "-c", setup + commands], capture_output=True, text=True, cwd=folder, timeout=600,
                          env=dict(os.environ, OMP_WAIT_POLICY="passive"))
    assert done.returncode == 0, f"{commands}\nstatus {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def blocks(page, language):
    """The fenced blocks of a page; of language "" those that are indented."""
    text = (ROOT / page).read_text()
    if language:
        return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(line[4:] for line in found.splitlines()) for found in
            re.findall(r"(?:^    osteon .*\n)+", text, re.MULTILINE)]


def write_safetensors(path, tensors):
    """{name: (dtype, shape, bytes)}"""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    raw = Path(path).read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    return {name: (entry, raw[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
            for name, entry in header.items() if name != "__metadata__"}


def scores(out):
    """Of every run below a folder what does not depend on time."""
    kept = {}
    for path in sorted(out.rglob("summary.json")):
        summary = json.loads(path.read_text())
        kept[path.parent.name] = [summary.get(key) for key in ("completed", "evaluation", "final_train_loss", "batch_hash", "steps")]
    return kept


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class ProgramTest(unittest.TestCase):
    """Tests that share a temporary folder with `examples` pairs to learn from."""
    examples = 60

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        cls.data = cls.folder / "pairs.jsonl"
        cls.data.write_text("".join(json.dumps({"query": f"{i}+{i}=", "response": str(2 * i)}) + "\n" for i in range(cls.examples)))

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()
