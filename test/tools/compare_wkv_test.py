"""tools/compare_wkv.py: what is read of the benchmark, what a row says of the rounds, and what wrong options get. PyTorch
is not needed."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/compare_wkv.py"
sys.path.insert(0, str(TOOL.parent))
import compare_wkv  # noqa: E402


def program(folder, text):
    path = pathlib.Path(folder) / "program"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


class Benchmark(unittest.TestCase):
    def test_medians_are_taken_with_one_thread_and_for_the_version_asked_for(self):
        runs = [{"aggregate_name": name, "real_time": time} for time in (2e6, 5e6) for name in ("mean", "median", "stddev")]
        with tempfile.TemporaryDirectory() as folder:
            bench = program(folder, f"""
import os, sys
assert os.environ["OMP_NUM_THREADS"] == "1"
assert "--benchmark_filter=BM_wkv7(_backward)?/dtype:0" in sys.argv, sys.argv
print({json.dumps(json.dumps({"benchmarks": runs}))})
""")
            self.assertEqual(compare_wkv.own_seconds(bench, 7), (2, 5))
            with self.assertRaises(subprocess.CalledProcessError):
                compare_wkv.own_seconds(bench, 6)


class Summarise(unittest.TestCase):
    ROUNDS = [((0.001, 0.002), (0.1, 0.3)), ((0.002, 0.004), (0.1, 0.2)), ((0.001, 0.003), (0.3, 0.6))]

    def test_medians_of_the_rounds_and_of_their_ratios(self):
        rows = compare_wkv.summarise(self.ROUNDS)
        self.assertEqual([row[0] for row in rows], ["forward", "backward", "both"])
        for row, expected in zip(rows, [(1, 100, 100), (3, 300, 150), (4, 400, 0.4 / 0.003)]):
            for got, wanted in zip(row[1:], expected):
                self.assertAlmostEqual(got, wanted)


class WrongOptions(unittest.TestCase):
    def message(self, *words):
        done = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        return done.stderr

    def test_options_are_checked_before_anything_runs(self):
        self.assertIn("--rounds: expected at least 1, found 0", self.message("--rounds", "0"))
        self.assertIn("--bench: expected a program, found none at /nowhere", self.message("--bench", "/nowhere"))


if __name__ == "__main__":
    unittest.main()
