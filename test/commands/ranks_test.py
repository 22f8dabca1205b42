"""Several ranks of mpirun on one machine, and in network namespaces as on several: suites whose runs are spread over them,
runs whose batches they share. OSTEON names the program; skipped where mpirun is missing or the program was built without MPI."""
import json
import os
import re
import shutil
import subprocess
import time
import unittest

from program import OSTEON, ROOT, TINY_BASE, ProgramTest, files_of, osteon, scores

BASE = "seeds = [1, 2]\n" + TINY_BASE


# More ranks than processors, in a container without ptrace, as root: what a test must stand.
ENVIRONMENT = dict(os.environ, OMP_WAIT_POLICY="passive", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_btl_vader_single_copy_mechanism="none",
                   OMPI_MCA_mpi_yield_when_idle="1")  # ranks may share one processor, where waiting in a loop takes it


def launched(ranks, *arguments):
    return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), OSTEON, *map(str, arguments)]


def separated(ranks, *arguments):
    """A rank in each of so many network namespaces, which reach each other by TCP alone."""
    return [str(ROOT / "tools/mpi_namespaces.sh"), str(ranks), OSTEON, *map(str, arguments)]


def mpirun(ranks, *arguments, status=0, start=launched):
    done = subprocess.run(start(ranks, *arguments), capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    assert done.returncode == status, f"{arguments}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


class WithoutMpi(unittest.TestCase):
    def test_a_build_without_mpi_refuses_to_be_a_rank(self):
        with_mpi = os.environ.get("OSTEON_MPI") == "1"
        if with_mpi:
            self.skipTest("this build has MPI")
        done = subprocess.run([OSTEON, "ablate", "--list"], capture_output=True, text=True, env=dict(os.environ, OMPI_COMM_WORLD_SIZE="2"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("started as one of 2 ranks, but this build has no MPI", done.stderr)


MPI = unittest.skipUnless(shutil.which("mpirun") and os.environ.get("OSTEON_MPI", "1") == "1", "no mpirun, or a build without MPI")


@MPI
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

class SharedRunTest(ProgramTest):
    """A batch of 3 rows, two of them a step: 2 ranks take 2 and 1, of 4 ranks one has none."""

    def words(self, out, *arguments):
        defaults = {"--model": "synthetic:tiny", "--data": self.data, "--tokenizer": "byte", "--template": "none"}
        return ["finetune", *(word for pair in defaults.items() if pair[0] not in arguments for word in pair),
                "--set", "seq_len=32", "--set", "batch_size=3", "--set", "accumulate=2", "--set", "steps=4", "--set", "rank=8",
                "--set", "lr=1e-3", "--threads", 1, "--quiet", "--out", out, *arguments]

    def train(self, name, ranks, *arguments, **how):
        out = self.folder / name
        words = self.words(out, *arguments)
        done = osteon(*words) if ranks == 1 else mpirun(ranks, *words, **how)
        return done if how.get("status") else out

    def lines(self, out):
        kept = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [{key: line[key] for key in line if "seconds" not in key} for line in kept]

    def assert_equal_runs(self, one, other):
        self.assertEqual(self.lines(other), self.lines(one))
        self.assertEqual(files_of(other / "adapter"), files_of(one / "adapter"))
        self.assertEqual(scores(other), {other.name: scores(one)[one.name]})


@MPI
class SharedRuns(SharedRunTest):
    def test_adapters_are_bit_equal_to_one_rank(self):
        for method, ranks in [("lora", 2), ("lora", 3), ("bone", 2), ("bat", 3), ("dora", 4)]:
            with self.subTest(method=method, ranks=ranks):
                arguments = ["--method", method, "--set", f"batch_invariant={'true' if method == 'bat' else 'false'}"]
                one = self.train(f"{method}-1", 1, *arguments)
                several = self.train(f"{method}-{ranks}", ranks, *arguments)
                self.assert_equal_runs(one, several)

    def test_a_stopped_run_goes_on_with_another_number_of_ranks(self):
        more = ["--method", "bone", "--set", "steps=600", "--set", f"eval_data={self.data}", "--set", "eval_every=200"]
        whole = self.train("whole", 1, *more)
        part = self.folder / "part"
        more += ["--set", "save_every=1"]
        with subprocess.Popen(launched(3, *self.words(part, *more)), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as job:
            while not (part / "checkpoint/state.json").exists() and job.poll() is None:
                time.sleep(0.01)
            job.terminate()
        self.assertLess(len((part / "metrics.jsonl").read_text().splitlines()), 600)
        self.train("part", 2, *more, "--resume")
        self.assertEqual(self.lines(part), self.lines(whole))
        self.assertEqual(files_of(part / "adapter"), files_of(whole / "adapter"))

    def test_sums_at_the_end_are_equal_to_rounding(self):
        for arguments in [("--method", "full"), ("--method", "bat"), ("--method", "lora", "--set", "deterministic=false"),
                          ("--method", "lora", "--set", "modules_to_save=embed_tokens")]:
            with self.subTest(arguments=arguments):
                name = "-".join(word.replace("=", "-") for word in arguments)
                one = self.lines(self.train(name + "1", 1, *arguments))
                for line, other in zip(one, self.lines(self.train(name + "3", 3, *arguments)), strict=True):
                    for key in line:
                        self.assertAlmostEqual(line[key], other[key], delta=2e-5 * abs(line[key]), msg=key)

    def test_dropout_masks_go_by_the_place_in_the_whole_batch(self):
        # In some batches, 3 rows a batch, the fourth rank has no row; bone and dora draw a mask apart, lora one in the product.
        for method, ranks in [("lora", 2), ("bone", 4), ("dora", 3)]:
            with self.subTest(method=method, ranks=ranks):
                arguments = ["--method", method, "--set", "dropout=0.2"]
                one = self.train(f"dropped-{method}-1", 1, *arguments)
                several = self.train(f"dropped-{method}-{ranks}", ranks, *arguments)
                self.assertEqual(self.lines(several), self.lines(one))
                self.assertEqual(files_of(several / "adapter"), files_of(one / "adapter"))
                self.assertNotEqual(self.lines(one), self.lines(self.train(f"whole-{method}", 1, "--method", method)))

    def test_a_classification_head_is_bit_equal_to_one_rank(self):
        sentences = [("a" if i % 3 == 0 else "z") * (4 + i % 7) for i in range(48)]
        cola, stsb = self.folder / "cola.tsv", self.folder / "stsb.tsv"
        cola.write_text("".join(f"g{i}\t{int(i % 3 == 0)}\t\t{s}\n" for i, s in enumerate(sentences)))
        stsb.write_text("index\tsentence1\tsentence2\tscore\n"
                        + "".join(f"{i}\t{s}\t{s}\t{i % 5}.5\n" for i, s in enumerate(sentences)))
        for task, data, method, ranks in [("cola", cola, "lora", 2), ("cola", cola, "bone", 4), ("stsb", stsb, "bat", 3)]:
            with self.subTest(task=task, method=method, ranks=ranks):
                arguments = ["--method", method, "--data", data, "--eval-data", data, "--task", f"glue:{task}", "--template", "auto",
                             "--set", "batch_invariant=true"]
                one = self.train(f"{task}-{method}-1", 1, *arguments)
                several = self.train(f"{task}-{method}-{ranks}", ranks, *arguments)
                self.assertEqual(self.lines(several), self.lines(one))
                self.assertEqual(files_of(several / "adapter"), files_of(one / "adapter"))
                self.assertEqual(files_of(several)["predictions.jsonl"], files_of(one)["predictions.jsonl"])

    def test_the_number_of_ranks_is_kept_with_the_run(self):
        for ranks in 1, 2:
            kept = json.loads((self.train(f"ranks-{ranks}", ranks, "--method", "bone") / "environment.json").read_text())
            self.assertEqual(kept["ranks"], ranks)

    def test_what_ranks_cannot_share_is_refused(self):
        said = self.train("toy", 2, "--method", "lora", "--model", "synthetic:mlp", "--data", "sine", status=1).stderr
        self.assertIn("model: expected a language model for a run of 2 ranks, got synthetic:mlp", said)

    def test_what_is_no_work_to_share_is_refused(self):
        for words in [("plan", "--model", "synthetic:tiny"), ("report", self.folder, "--out", self.folder / "report"), ("merge", "--adapter", "a", "--out", "x")]:
            said = mpirun(2, *words, status=1).stderr
            self.assertEqual(said.count(f"{words[0]}: expected one process, got 2 ranks: each would do all the work"), 1)
        self.assertFalse((self.folder / "report").exists())


@MPI
class Namespaces(SharedRunTest):
    """Ranks that have nothing between them but a network, as on several machines."""

    @classmethod
    def setUpClass(cls):
        tried = subprocess.run([ROOT / "tools/mpi_namespaces.sh", "2", "true"], capture_output=True, text=True, timeout=60)
        if tried.returncode == 77:
            raise unittest.SkipTest(tried.stderr.strip())
        super().setUpClass()

    def test_a_shared_run_is_bit_equal_to_one_rank(self):
        arguments = ["--method", "bone", "--set", "dropout=0.1"]
        one = self.train("one", 1, *arguments)
        self.assert_equal_runs(one, self.train("three", 3, *arguments, start=separated))

    def test_gradients_cross_the_network(self):
        out = self.folder / "sent"
        said = mpirun(2, *self.words(out, "--method", "lora"), start=separated).stderr
        sent = {int(rank): int(count) for rank, count in re.findall(r"rank(\d+) sent (\d+) bytes", said)}
        message = 4 * json.loads((out / "summary.json").read_text())["trainable_parameters"]
        # 4 steps: of rank 0 two messages and the broadcast, of rank 1 two messages; what the network adds is little.
        for rank, messages in {0: 12, 1: 8}.items():
            self.assertGreater(sent[rank], messages * message)
            self.assertLess(sent[rank], 1.1 * messages * message)

    def test_a_suite_spreads_over_the_network(self):
        suite = self.folder / "s.toml"
        suite.write_text(BASE + '[axes]\nmethod = ["lora", "bone", "bat"]\nrank = [4, 7]\n')
        here, there = self.folder / "here", self.folder / "there"
        osteon("ablate", suite, "--out", here, "--quiet", status=1)  # Bat has no rank 7
        done = json.loads(mpirun(2, "ablate", suite, "--out", there, "--json", status=1, start=separated).stdout)
        self.assertEqual((done["runs"], done["failed"]), (12, 2))
        self.assertEqual(scores(there), scores(here))
        hosts = {json.loads(path.read_text())["host"] for path in there.rglob("environment.json")}
        self.assertEqual(hosts, {"rank0", "rank1"})


if __name__ == "__main__":
    unittest.main()
