"""What the pages and --help show is run as it stands there, in a folder that holds what they speak of. OSTEON names the
program."""
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

from program import OSTEON, ROOT, SUBCOMMANDS, blocks, shell, write_safetensors

PROGRAM = Path(OSTEON).resolve()
# Long ones are made short where they stand, by one more option.
SHORTER = {"ablate": "--dry-run", "pretrain": "--steps 1 --warmup-steps 0 --batch-size 2"}


class Documented(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        llama = cls.folder / "path/to/llama"
        shutil.copytree(ROOT / "experiments/base/tiny", llama)
        config = json.loads((llama / "config.json").read_text())
        (llama / "config.json").write_text(json.dumps(dict(config, max_position_embeddings=1024)))
        lines = "".join(json.dumps({"query": f"{i}+{i}=", "response": str(2 * i)}) + "\n" for i in range(8))
        for name in ["train.jsonl", "test.jsonl"]:
            (cls.folder / name).write_text(lines)
        (cls.folder / "texts.jsonl").write_text('{"text": "Once"}\n')
        ids = "I64", [1, 4], struct.pack("<4q", 65, 66, 67, 68)
        write_safetensors(cls.folder / "batch.safetensors", {"input_ids": ids, "labels": ids})
        (cls.folder / "experiments").symlink_to(ROOT / "experiments")
        # What the examples of --help find done already.
        cls.shell("\n".join(f"osteon finetune --model path/to/llama --data train.jsonl --eval-data test.jsonl --method {method} "
                            f"--rank 8 --quiet --out runs/{method}" for method in ["bone", "lora"]))

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def shell(cls, commands, folder=None):
        return shell(commands, folder or cls.folder)

    def test_the_readme(self):
        scripts = [text for text in blocks("README.md", "sh") if "$osteon" in text]
        self.assertEqual(len(scripts), 1)
        folder = self.folder / "readme"
        shutil.copytree(self.folder / "path", folder / "path")
        for name in ["train.jsonl", "test.jsonl"]:
            shutil.copy(self.folder / name, folder)
        script = scripts[0].replace("osteon=build/experiments/osteon", f'osteon="{PROGRAM}"')
        self.assertNotEqual(script, scripts[0])
        said = self.shell(script, folder)
        self.assertIn("merged: the model with its adapter merged", said)
        for name in ["runs/bone/summary.json", "runs/bone/adapter/adapter_model.safetensors", "merged/model.safetensors",
                     "comparison/report.html", "comparison/report.md", "comparison/report.csv"]:
            self.assertTrue((folder / name).exists(), name)

    def test_every_example_of_help(self):
        for name in SUBCOMMANDS:
            text = subprocess.run([PROGRAM, name, "--help"], capture_output=True, text=True).stdout
            examples = re.findall(r"^  (osteon [^(]*)", text[text.index("Example:"):], re.MULTILINE)
            self.assertTrue(examples, name)
            for number, example in enumerate(examples):
                with self.subTest(example):
                    out = f"help/{name}{number}"
                    command = re.sub(r"--out \S+", f"--out {out}", example.strip()) + " " + SHORTER.get(name, "")
                    self.assertTrue(self.shell(command) or (self.folder / out).exists())
                    self.assertIsInstance(json.loads(self.shell(command + " --json")), dict)

    def test_the_filter_of_contributing_finds_tests(self):
        (program, pattern), = re.findall(r"^build/(test/\S+) (-tc=\S+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
        program = PROGRAM.parents[1] / program
        if not program.exists():
            self.skipTest(f"{program} is not built")
        self.assertRegex(self.shell(f'"{program}" {pattern}'), r"test cases: +[1-9]")

    def test_tools_that_pages_name_can_be_started(self):
        pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        named = {name for page in pages for name in re.findall(r"(?m)^ *(?:\./)?((?:tools/)?[a-z_]+\.(?:py|sh))\b", page.read_text())}
        self.assertIn("tools/first_runs.py", named)
        for name in named:
            self.assertTrue(os.access(ROOT / name, os.X_OK), name)

    def test_the_page_on_memory(self):
        (command,) = blocks("docs/memory.md", "sh")
        self.assertIn("fits 16GiB", self.shell(command))

    def test_a_suite_of_the_pages(self):
        (suite,) = blocks("docs/data-and-suites.md", "toml")
        (self.folder / "suite.toml").write_text(suite)
        plan = json.loads(self.shell("osteon ablate suite.toml --dry-run --json"))
        self.assertEqual((len(plan["cells"]), plan["seeds"], plan["sweep_runs"]), (4, [1, 2, 3], 8))
        self.assertEqual(json.loads(self.shell("osteon ablate suite.toml --quick --dry-run --json"))["seeds"], [1])

    def test_the_page_about_profiles(self):
        (script, example) = blocks("docs/profiling.md", "sh")
        said = self.shell(script)
        (self.folder / "small").mkdir()
        shutil.copy(self.folder / "path/to/llama/config.json", self.folder / "small")
        (self.folder / "text.txt").write_text("Once upon a time. " * 400)
        self.assertIn("profile of 4 steps", self.shell(example))
        self.assertIn("where a step goes", said)
        self.assertIn("traceEvents", json.loads((self.folder / "trace.json").read_text()))
        page = (ROOT / "docs/profiling.md").read_text()
        for column in ["calls", "of step", "GFLOP/s", "of peak", "GB/s", "of copy", "saves MiB"]:
            self.assertIn(column, said)
            self.assertIn(f"`{column}`", page)
        for part in re.findall(r"(?m)^(\S.*?) {3,}[\d.]+ +[\d.]+%", said[said.index("where a step goes"):]):
            self.assertIn(part, page)

    def test_results_can_be_had_again(self):
        (again,) = [text for text in blocks("docs/results/quickstart.md", "") + re.findall(
            r"^```\n(osteon .*?)\n```", (ROOT / "docs/results/quickstart.md").read_text(), re.MULTILINE)]
        self.shell(again + " --dry-run")
        (golden,) = blocks("docs/results/first-runs.md", "")
        case = ROOT / "test/golden/models/llama-gqa"
        folder = self.folder / "golden"
        folder.mkdir()
        for name in ["model", "full.safetensors"]:
            (folder / name).symlink_to(case / name)
        (folder / "adapter_after").symlink_to(case / "bone_ragged/adapter_after")
        self.shell(golden, folder)
        self.assertTrue((folder / "merged.safetensors").exists())


if __name__ == "__main__":
    unittest.main()
