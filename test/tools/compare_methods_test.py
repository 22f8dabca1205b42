"""tools/compare_methods.py: what its table says of the rounds, and what wrong options get."""
import pathlib
import subprocess
import sys
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/compare_methods.py"
sys.path.insert(0, str(TOOL.parent))
import compare_methods  # noqa: E402


def summary(step, product, peak=100 * 2**20):
    parts = {"base products": {"seconds": product, "flops": 2e9}, "rest": {"seconds": step - product, "flops": 0}}
    return {"trainable_parameters": 7, "peak_bytes": {"activation": peak // 2, "optimizer": 0, "total": peak},
            "profile": {"step_seconds": step, "parts": parts, "ops": [{"saved_bytes": 2**20}, {"saved_bytes": 2**21}]}}


class CompareMethods(unittest.TestCase):
    # The machine slows down from round to round; the second run always takes twice the first.
    ROUNDS = [[summary(1, 0.5), summary(2, 1)], [summary(3, 1), summary(6, 2)], [summary(5, 4), summary(12, 3)]]

    def test_seconds_are_medians_and_ratios_those_of_each_round(self):
        first, second = compare_methods.summarise(self.ROUNDS)
        self.assertEqual((first["seconds"], second["seconds"]), (3, 6))
        self.assertEqual((second["ratio"], second["ratio_range"]), (2, [2, 2.4]))
        self.assertEqual(first["ratio_range"], [1, 1])
        self.assertEqual(second["parts"], {"base products": 2, "rest": 4})
        self.assertEqual(second["saved_bytes"], 3 * 2**20)

    def test_the_table_has_a_column_a_run(self):
        runs = [("lora", "32", "save"), ("bone", "64", "save")]
        lines = compare_methods.table(runs, compare_methods.summarise(self.ROUNDS)).splitlines()
        self.assertEqual(lines[0], "|  | lora 32 save | bone 64 save |")
        self.assertIn("| ms, base products | 1000.0 (2 GFLOP/s) | 2000.0 (1 GFLOP/s) |", lines)
        self.assertIn("| peak MiB, total | 100.0 | 100.0 |", lines)
        self.assertTrue(all(line.count("|") == 4 for line in lines))

    def test_runs_are_method_rank_and_policy(self):
        self.assertEqual(compare_methods.parse_run("lora:35"), ("lora", "35", "save"))
        self.assertEqual(compare_methods.parse_run("bat:64:checkpoint"), ("bat", "64", "checkpoint"))
        for wrong in ("lora", "lora:x", "lora:1:save:2"):
            with self.assertRaisesRegex(SystemExit, "--runs: expected METHOD:RANK"):
                compare_methods.parse_run(wrong)

    def test_an_unknown_shape_is_named_with_those_that_there_are(self):
        done = subprocess.run([sys.executable, TOOL, "--shape", "smal"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("compare_methods: --shape: expected some of nano, small", done.stderr)


if __name__ == "__main__":
    unittest.main()
