"""tools/compare_torch_gpu.py: its table by stand-ins for both sides, and what wrong options get."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/compare_torch_gpu.py"
# The programs write down what they were asked, and answer with round numbers.
BENCH = """#!/usr/bin/env python3
import json, pathlib, sys
with open(pathlib.Path(__file__).parent / "calls", "a") as log:
    print(*sys.argv[1:], file=log)
print(json.dumps({"benchmarks": [RESULT]}))
"""
MACHINE = {"name": "BM_gemm/bf16/8192/real_time", "FLOP": 8e14}
STEP = {"name": "step/tiny1b/bone/bf16/b4/t1024", "step_seconds": 0.1, "peak_bytes": 2**30, "GFLOP": 4e4}
PYTHON = """#!/bin/sh
echo "$@" >> CALLS
echo '{"seconds": [9, 0.3, 0.2, 0.2], "peak_bytes": 4294967296}'
"""


class CompareTorchGpu(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.answer("bench_machine", MACHINE)
        self.answer("bench_step", STEP)
        self.program("python", PYTHON.replace("CALLS", str(self.folder / "torch_calls")))

    def program(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def answer(self, name, result):
        self.program(name, BENCH.replace("RESULT", repr(result)))

    def run_tool(self, *words):
        return subprocess.run([sys.executable, TOOL, "--bench", self.folder, "--python", self.folder / "python", "--out",
                               self.folder / "out", *words], capture_output=True, text=True, check=False)

    def test_a_row_has_ratios_memory_and_the_share(self):
        run = self.run_tool("--methods", "bone", "--rounds", "2", "--modes", "compile")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(run.stdout.splitlines()[-1], "| tiny1b | bf16 | bone | compile | 0.2000 | 0.1000 | 2.00x (2.00 to 2.00) "
                                                      "| 4096 | 1024 | 0.25 | 50% |")
        [saved] = json.loads((self.folder / "out/results.json").read_text(encoding="utf-8"))
        self.assertEqual(saved["rounds"], 2)
        asked = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        self.assertIn("--device=cuda --benchmark_filter=^step/tiny1b/bone/bf16/ --benchmark_format=json --batches=4x1024", asked)
        torch = (self.folder / "torch_calls").read_text(encoding="utf-8")
        self.assertIn(" 4 1024 6 bone --rank 64 --dtype bf16 --compile\n", torch)
        self.assertIn('"hidden_size": 2048', torch)

    def test_a_step_that_does_not_fit_is_told(self):
        self.answer("bench_step", {"name": "step/l7b", "error_occurred": True, "error_message": "needs 90000 MiB of memory"})
        run = self.run_tool("--shapes", "l7b", "--methods", "full")
        self.assertEqual(run.returncode, 1)
        self.assertIn("step/l7b: needs 90000 MiB of memory", run.stderr)

    def test_wrong_options_are_named(self):
        for words, message in ((["--shapes", "huge"], "compare_torch_gpu: --shapes: expected some of nano"),
                               (["--modes", "checkpoint"], "--modes: expected some of eager, compile, found 'checkpoint'"),
                               (["--steps", "1"], "expected --steps of at least 2")):
            run = self.run_tool(*words)
            self.assertEqual(run.returncode, 1)
            self.assertIn(message, run.stderr)
        self.program("bench_machine", "#!/bin/sh\nexit 2\n")
        self.assertIn("exit status 2 of:", self.run_tool().stderr)


if __name__ == "__main__":
    unittest.main()
