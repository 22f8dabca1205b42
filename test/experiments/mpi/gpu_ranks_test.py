"""Ranks of mpirun that train on emulated GPUs, two of a machine: gradients that lie on a GPU reach the others by way of the
host's memory. OSTEON_GPU_RANKS names the program gpu_ranks; skipped where mpirun is missing."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "commands"))
from ranks_test import ENVIRONMENT

PROGRAM = os.environ["OSTEON_GPU_RANKS"]


@unittest.skipUnless(shutil.which("mpirun"), "no mpirun")
class GpuRanks(unittest.TestCase):
    def start(self, folder, ranks, *arguments):
        launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
        return subprocess.run([*launcher, PROGRAM, folder, *arguments], capture_output=True, text=True, timeout=300, env=ENVIRONMENT)

    def lines(self, ranks):
        """Of each rank: what it wrote, window by window."""
        with tempfile.TemporaryDirectory() as folder:
            done = self.start(folder, ranks)
            self.assertEqual(done.returncode, 0, done.stderr)
            return [[json.loads(line) for line in (pathlib.Path(folder) / f"rank-{rank}.jsonl").read_text().splitlines()]
                    for rank in range(ranks)]

    def assert_close(self, values, others, what):
        largest = max(map(abs, values))
        for value, other in zip(values, others, strict=True):
            self.assertAlmostEqual(value, other, delta=1e-5 * largest, msg=what)

    def test_ranks_have_the_gradients_of_one(self):
        [one] = self.lines(1)
        self.assertEqual({line["gpu"] for line in one}, {0})
        self.assertEqual(len(one), 10)
        for ranks in 2, 3:
            several = self.lines(ranks)
            for rank, lines in enumerate(several):
                self.assertEqual({line["gpu"] for line in lines}, {rank % 2})  # the third shares the first one's
                for line, first, alone in zip(lines, several[0], one, strict=True):
                    where = f"rank {rank} of {ranks}: {alone['method']}, in order: {alone['in_order']}"
                    self.assertEqual({**line, "gpu": 0}, {**first, "gpu": 0}, where)
                    for key in "loss", "norm":
                        self.assertAlmostEqual(line[key], alone[key], delta=1e-5 * alone[key], msg=where)
                    for name, values in alone["gradients"].items():
                        self.assert_close(values, line["gradients"][name], f"{where}: {name}")

    def test_a_rank_without_a_gpu_among_others_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.start(folder, 2, "cpu")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("device: expected a GPU for each of the 2 ranks or for none, got cpu for rank 1", done.stderr)


if __name__ == "__main__":
    unittest.main()
