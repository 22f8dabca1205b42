"""Suites as array jobs: a stand-in for Slurm's sbatch runs the tasks here, one after another, as soon as a job is submitted.
OSTEON names the program."""
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

from program import OSTEON, ROOT, TINY_BASE, ProgramTest, files_of, scores

BASE = "seeds = [1, 2]\n" + TINY_BASE

# Slurm keeps a copy of the script, and a task's output goes where the script says.
SBATCH = r"""#!/bin/bash
[ "$1" = --parsable ] || { echo "sbatch: expected --parsable, got $1" >&2; exit 1; }
jobs=$(dirname "$0")/jobs
mkdir -p "$jobs"
number=$((100 + $(ls "$jobs" | wc -l)))
cp "$2" "$jobs/$number"
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*/\1/p' "$2")
logs=$(sed -n 's/^#SBATCH --output="\(.*\)\/%A_%a.log"$/\1/p' "$2")
for ((i = 0; i <= last; ++i)); do
  (cd / && SLURM_ARRAY_TASK_ID=$i sh "$jobs/$number" >"$logs/${number}_$i.log" 2>&1 </dev/null)
done
echo "$number;cluster"
"""


@unittest.skipIf(shutil.which("sbatch"), "a real Slurm would be asked")
class Slurm(ProgramTest):
    def setUp(self):
        self.tools = self.folder / self._testMethodName
        self.tools.mkdir()

    def tool(self, name, text):
        file = self.tools / name
        file.write_text(text)
        file.chmod(0o755)

    def suite(self, text, base=BASE):
        file = self.tools / "s.toml"
        file.write_text(base + text)
        return file

    def osteon(self, *arguments, status=0, cwd=ROOT, **more):
        environment = dict(os.environ, OMP_WAIT_POLICY="passive", PATH=f"{self.tools}:{os.environ['PATH']}", **more)
        done = subprocess.run([OSTEON, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=300, env=environment)
        self.assertEqual(done.returncode, status, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return done

    def asked(self, *arguments, status=0):
        return json.loads(self.osteon(*arguments, "--json", status=status).stdout)

    def test_an_array_job_gives_the_local_results(self):
        self.tool("sbatch", SBATCH)
        suite = self.suite('[axes]\nmethod = ["lora", "bone"]\n')
        here, there = self.tools / "here", self.tools / "there, 'quoted'"
        self.osteon("ablate", suite, "--out", here, "--quiet", "--threads", 2)
        said = self.osteon("ablate", suite, "--out", there, "--slurm", "--jobs", 3, "--threads", 2,
                           "--slurm-options", "--partition=gpu -t 2:00:00 --mem=5G").stdout
        self.assertRegex(said, r"^4 reported runs: job 100, logs in .*/slurm\nwhen it has ended: osteon ablate .*, which writes the report\n$")
        script = (there / "slurm/job.sh").read_text().splitlines()
        options = [line.removeprefix("#SBATCH ") for line in script if line.startswith("#SBATCH")]
        self.assertEqual(options[1:3], ["--array=0-3%3", "--cpus-per-task=2"])
        self.assertEqual(options[-3:], ["--partition=gpu", "-t 2:00:00", "--mem=5G"])
        self.assertEqual(len(list((there / "slurm").glob("100_*.log"))), 4)
        self.assertFalse((there / "report").exists())
        gathered = self.asked("ablate", suite, "--out", there)
        self.assertEqual((gathered["runs"], gathered["reused"], gathered["failed"]), (0, 4, 0))
        self.assertEqual(scores(there), scores(here))
        self.assertEqual(self.scored_rows(there), self.scored_rows(here))
        for run in scores(here):
            self.assertEqual(files_of(there / "final" / run / "adapter"), files_of(here / "final" / run / "adapter"))

    def test_memory_is_that_of_the_largest_plan_with_some_left(self):
        suite = self.suite('[axes]\nmethod = ["lora", "full"]\n')
        self.tool("sbatch", "#!/bin/sh\necho 7\n")
        needed = max(cell["needed_bytes"] for cell in self.asked("ablate", suite, "--dry-run")["cells"])
        self.asked("ablate", suite, "--out", self.tools / "out", "--slurm")
        (mebibytes,) = re.findall(r"^#SBATCH --mem=(\d+)M$", (self.tools / "out/slurm/job.sh").read_text(), re.M)
        self.assertEqual(int(mebibytes), (needed + needed // 4 >> 20) + 1024 + 1)

    def test_a_sweep_is_submitted_in_two_stages(self):
        self.tool("sbatch", SBATCH)
        suite = self.suite('[axes]\nmethod = ["bat", "lora"]\nrank = [4, 7]\n[sweep]\nlr = [1e-3, 1e-2]\nseed = 9\n')
        here, there = self.tools / "here", self.tools / "there"
        self.osteon("ablate", suite, "--out", here, "--quiet", status=1)
        first = self.osteon("ablate", suite, "--out", there, "--slurm").stdout
        self.assertRegex(first, r"^8 sweep runs: job 100, .*\n.* --slurm, which submits the reported runs\n$")
        self.assertEqual({name for name, kept in scores(there).items() if not kept[0]}, {"bat-7-lr0.001-seed9", "bat-7-lr0.01-seed9"})
        second = self.osteon("ablate", suite, "--out", there, "--slurm")
        self.assertRegex(second.stdout, r"^6 reported runs: job 101, ")
        self.assertIn("failed: bat-7-lr0.001-seed9: ", second.stderr)  # by its own words, not sent again
        third = self.asked("ablate", suite, "--out", there, "--slurm", status=1)  # nothing is left: the report
        self.assertEqual((third["runs"], third["reused"], third["failed"]), (0, 12, 3))
        self.assertEqual(scores(there), scores(here))
        self.assertEqual(self.scored_rows(there), self.scored_rows(here))

    def scored_rows(self, out):
        """The report's table without what time decides."""
        lines = (out / "report/report.csv").read_text().splitlines()
        header = lines[0].split(",")
        kept = [i for i, name in enumerate(header) if "second" not in name and "time" not in name]
        return [[line.split(",")[i] for i in kept] for line in lines]

    def test_without_sbatch_the_script_stays(self):
        suite, job = self.suite(""), self.tools / "out/slurm/job.sh"
        # A relative path and OSTEON_BASE hold for the tasks as for `ablate`.
        said = self.osteon("ablate", suite, "--out", "out", "--slurm", status=1, cwd=self.tools, OSTEON_BASE=str(self.base()))
        self.assertIn("--slurm: found no sbatch in PATH; submit the runs with: sbatch 'out/slurm/job.sh'", said.stderr)
        self.assertIn(f"export OSTEON_BASE='{self.tools}/it'\\''s the base'\n", job.read_text())
        self.assertEqual(subprocess.run(["sh", job], capture_output=True).returncode, 1)  # no task
        for task in "01":
            subprocess.run(["sh", job], check=True, env=dict(os.environ, SLURM_ARRAY_TASK_ID=task), cwd="/")
        self.assertEqual([kept[0] for kept in scores(self.tools / "out").values()], [True, True])
        done = json.loads(self.osteon("ablate", suite, "--out", "out", "--json", cwd=self.tools, OSTEON_BASE=str(self.base())).stdout)
        self.assertEqual(done["reused"], 2)

    def base(self):
        """The tiny base, moved."""
        moved = self.tools / "it's the base"
        if not moved.exists():
            shutil.copytree(ROOT / "experiments/base/tiny", moved)
        return moved

    def test_a_job_in_the_queue_is_left_alone(self):
        self.tool("sbatch", "#!/bin/sh\necho 4711\n")
        self.tool("squeue", '#!/bin/sh\n[ "$*" = "--noheader --jobs=4711" ] && echo "4711_0 gpu osteon PD"\n')
        suite, out = self.suite(""), self.tools / "out"
        self.osteon("ablate", suite, "--out", out, "--slurm")
        for more in (["--slurm"], []):
            said = self.osteon("ablate", suite, "--out", out, *more, status=1).stderr
            self.assertIn("job 4711 is still in Slurm's queue; wait for it, or end it with `scancel 4711`", said)
        self.tool("squeue", '#!/bin/sh\necho "slurm_load_jobs error: Invalid job id specified" >&2\nexit 1\n')  # long ended
        self.assertEqual(self.asked("ablate", suite, "--out", out, "--slurm")["submitted"], 2)
        self.assertEqual(self.asked("ablate", suite, "--out", out)["runs"], 2)

    def test_a_stopped_task_goes_on_from_its_checkpoint(self):
        suite = self.suite("", base=BASE.replace("[1, 2]", "[1]").replace("steps = 2", "steps = 400\nsave_every = 1"))
        out = self.tools / "out"
        self.osteon("ablate", suite, "--out", out, "--slurm", status=1)
        with subprocess.Popen(["sh", out / "slurm/job.sh"], env=dict(os.environ, SLURM_ARRAY_TASK_ID="0", OMP_WAIT_POLICY="passive")) as task:
            while not (out / "final/run-seed1/checkpoint/state.json").exists() and task.poll() is None:
                time.sleep(0.01)
            task.send_signal(signal.SIGTERM)  # reaches the run itself: the shell has become it
        self.assertEqual(task.returncode, 130)
        self.tool("sbatch", SBATCH)
        self.assertEqual(self.asked("ablate", suite, "--out", out, "--slurm")["submitted"], 1)
        self.assertIn("resume = true", (out / "final/run-seed1/given.toml").read_text())
        self.assertEqual(scores(out)["run-seed1"][0], True)

    def test_what_is_refused(self):
        suite, out = self.suite(""), self.tools / "out"
        for given, expected in [("--time=1:00\n--mem=1", "expected one line, got a control character"),
                                ("partition=gpu", "expected an option such as --time=2:00:00, got partition=gpu"),
                                ("--array=0-9", "--array: the array is that of the runs; --jobs says how many at a time")]:
            said = self.osteon("ablate", suite, "--out", out, "--slurm", "--slurm-options", given, status=1).stderr
            self.assertIn(f"--slurm-options: {expected}", said)
        self.assertIn("--slurm", self.osteon("ablate", suite, "--slurm-options", "--time=1", status=2).stderr)
        self.assertIn("--memory-limit", self.osteon("ablate", suite, "--slurm", "--memory-limit", "1GiB", status=2).stderr)
        self.assertFalse(out.exists())
        missing = self.suite("", base=BASE.replace('"down"', '"gone.jsonl"'))
        self.assertRegex(self.osteon("ablate", missing, "--out", out, "--slurm", status=1).stderr, r"s\.toml:4: data: gone\.jsonl")
        self.assertFalse(out.exists())
        self.tool("sbatch", '#!/bin/sh\necho "sbatch: error: invalid partition specified: gpu" >&2\nexit 1\n')
        said = self.osteon("ablate", self.suite(""), "--out", out, "--slurm", status=1).stderr
        self.assertIn("invalid partition specified", said)
        self.assertIn(f"sbatch ended with status 1; the script is {out}/slurm/job.sh", said)
        self.assertFalse((out / "slurm/job").exists())


if __name__ == "__main__":
    unittest.main()
