"""Several ranks of mpirun on one machine: suites whose runs are spread over them, runs whose batches they share.
OSTEON names the program; skipped where mpirun is missing or the program was built without MPI."""
import json
import os
import shutil
import subprocess
import unittest

from program import OSTEON, ProgramTest, files_of, osteon

BASE = """seeds = [1, 2]
[base]
model = "synthetic:tiny"
data = "down"
steps = 2
batch_size = 2
accumulate = 1
eval_size = 4
"""


def mpirun(ranks, *arguments, status=0):
    # More ranks than processors, in a container without ptrace, as root: what a test must stand.
    env = dict(os.environ, OMP_WAIT_POLICY="passive", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
               OMPI_MCA_btl_vader_single_copy_mechanism="none", OMPI_MCA_rmaps_base_oversubscribe="1")
    done = subprocess.run(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), OSTEON, *map(str, arguments)],
                          capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == status, f"{arguments}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def scores(out):
    """Of every run what does not depend on time."""
    kept = {}
    for path in sorted(out.rglob("summary.json")):
        summary = json.loads(path.read_text())
        kept[path.parent.name] = [summary.get(key) for key in ("completed", "evaluation", "final_train_loss", "batch_hash", "steps")]
    return kept


class WithoutMpi(unittest.TestCase):
    def test_a_build_without_mpi_refuses_to_be_a_rank(self):
        with_mpi = os.environ.get("OSTEON_MPI") == "1"
        if with_mpi:
            self.skipTest("this build has MPI")
        done = subprocess.run([OSTEON, "ablate", "--list"], capture_output=True, text=True, env=dict(os.environ, OMPI_COMM_WORLD_SIZE="2"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("started as one of 2 ranks, but this build has no MPI", done.stderr)


@unittest.skipUnless(shutil.which("mpirun") and os.environ.get("OSTEON_MPI", "1") == "1", "no mpirun, or a build without MPI")
class Suites(ProgramTest):
    def suite(self, text):
        file = self.folder / "s.toml"
        file.write_text(BASE + text)
        return file

    def test_a_suite_over_ranks_gives_the_local_results(self):
        suite = self.suite('[axes]\nmethod = ["lora", "bone"]\n')
        here, there = self.folder / "here", self.folder / "there"
        osteon("ablate", suite, "--out", here, "--quiet")
        done = json.loads(mpirun(3, "ablate", suite, "--out", there, "--json").stdout)
        self.assertEqual((done["runs"], done["failed"]), (4, 0))
        self.assertEqual(scores(there), scores(here))
        again = json.loads(mpirun(2, "ablate", suite, "--out", there, "--json").stdout)
        self.assertEqual((again["runs"], again["reused"]), (0, 4))

    def test_a_run_that_dies_takes_nothing_with_it(self):
        suite = self.suite('[axes]\nmethod = ["bat", "lora"]\nrank = [4, 7]\n')
        done = json.loads(mpirun(3, "ablate", suite, "--out", self.folder / "dying", "--json", status=1).stdout)
        self.assertEqual((done["runs"], done["failed"]), (8, 2))
        self.assertEqual({name for name, kept in scores(self.folder / "dying").items() if not kept[0]}, {"bat-7-seed1", "bat-7-seed2"})

    def test_a_wrong_suite_ends_all_ranks(self):
        said = mpirun(2, "ablate", self.folder / "gone.toml", status=1).stderr
        self.assertEqual(said.count("gone.toml: expected a suite file"), 1)


if __name__ == "__main__":
    unittest.main()
