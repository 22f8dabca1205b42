"""tools/compare_torch.py: what a table row says of the rounds, and what wrong options get. PyTorch is not needed."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/compare_torch.py"
sys.path.insert(0, str(TOOL.parent))
import compare_torch  # noqa: E402


def side(seconds, losses, peak, weights=0):
    return {"seconds": seconds, "losses": losses, "peak_bytes": peak, "weights_bytes": weights}


class Summarise(unittest.TestCase):
    ROUNDS = [(side([9, 2, 2, 4], [8.0, 4.0], 100), side([8, 1, 1, 1], [8.0, 4.0], 40, 20)),
              (side([9, 3, 3, 3], [8.0, 4.0], 120), side([8, 1, 1, 1], [8.0, 4.5], 60, 20)),
              (side([9, 8, 8, 8], [8.0, 4.0], 100), side([8, 2, 2, 2], [7.0, 4.0], 40, 20))]

    def test_the_first_step_of_a_round_counts_for_nothing(self):
        figures = compare_torch.summarise(self.ROUNDS)
        self.assertEqual(figures["torch_seconds"], 3)
        self.assertEqual(figures["osteon_seconds"], 1)

    def test_the_ratio_is_the_median_of_the_rounds(self):
        figures = compare_torch.summarise(self.ROUNDS)
        self.assertEqual(figures["speedup"], 3)
        self.assertEqual(figures["speedup_range"], [2, 4])

    def test_memory_with_and_without_the_weights(self):
        figures = compare_torch.summarise(self.ROUNDS)
        self.assertEqual(figures["memory_ratio"], 0.4)
        self.assertEqual(figures["memory_ratio_without_weights"], 0.25)

    def test_the_largest_difference_of_two_losses(self):
        self.assertEqual(compare_torch.summarise(self.ROUNDS)["loss_difference"], 0.125)


class WrongOptions(unittest.TestCase):
    def message(self, *words):
        done = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_names_are_checked(self):
        self.assertIn("--shapes: expected some of nano, small, smol135, tiny1b, l7b-2layer, found 'big'",
                      self.message("--shapes", "small,big"))
        self.assertIn("--methods: expected some of full, lora", self.message("--methods", "lore"))
        self.assertIn("--dtypes: expected some of f32, bf16, found 'f64'", self.message("--dtypes", "f64"))

    def test_a_single_step_has_no_settled_one(self):
        self.assertIn("expected --steps of at least 2", self.message("--steps", "1"))

    def test_a_python_without_torch_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            bare = pathlib.Path(folder) / "python"
            bare.write_text("#!/bin/sh\nexit 1\n")
            bare.chmod(0o755)
            self.assertIn(f"{bare} has no torch, transformers and peft", self.message("--python", str(bare)))


if __name__ == "__main__":
    unittest.main()
