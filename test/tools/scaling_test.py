"""tools/scaling.py: the expected curve, and what happens where the program fails."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/scaling.py"
sys.path.insert(0, str(TOOL.parent))
import scaling  # noqa: E402


class Scaling(unittest.TestCase):
    def test_the_expected_time_follows_the_flops_from_the_first_point(self):
        # 100 tokens each: 1 s for 10 FLOP, then 30 FLOP, which take 4 s instead of 3.
        rows = scaling.series("layers", [(1, 100, 1.0, 10.0), (3, 100, 4.0, 30.0)])
        self.assertEqual(rows, [("layers", 1, 1e4, 1e4), ("layers", 3, 4e4, 3e4)])

    def test_longer_rows_are_counted_by_their_own_tokens(self):
        rows = scaling.series("tokens", [(10, 10, 1.0, 10.0), (20, 20, 2.0, 30.0)])
        self.assertEqual(rows[1], ("tokens", 20, 1e5, 1.5e5))

    def test_a_shape_holds_its_layers_and_positions(self):
        shape = scaling.shape_of(16, 4096)
        self.assertEqual(shape["config"]["num_hidden_layers"], 16)
        self.assertEqual(shape["config"]["max_position_embeddings"], 4096)
        self.assertEqual((shape["rows"], shape["columns"]), (1, 4096))
        self.assertEqual(scaling.SHAPES["nano"]["config"]["num_hidden_layers"], 4)

    def test_a_program_that_fails_is_named_with_its_command(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, TOOL, "--osteon", "/bin/false", "--out", folder], capture_output=True,
                                  text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("exit status 1 of: /bin/false pretrain", done.stderr)


if __name__ == "__main__":
    unittest.main()
