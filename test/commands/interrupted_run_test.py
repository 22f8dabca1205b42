"""Runs that are stopped, killed or out of disk space, through the osteon program: what was saved stays whole, and a run
that goes on ends with the same bits as one that never stopped. OSTEON names the program."""
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

from program import OSTEON, ROOT, ProgramTest, files_of, osteon

STEPS = 200


def start(*arguments, ignore=(), stderr=subprocess.PIPE):
    """The program as a process, with the signals as a terminal's program has them, but for those in `ignore`."""
    def signals():
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN if one in ignore else signal.SIG_DFL)
    return subprocess.Popen([OSTEON, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=stderr, text=True, cwd=ROOT,
                            preexec_fn=signals, env=dict(os.environ, OMP_WAIT_POLICY="passive"))


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def wait_for_step(process, out, step):
    """Until the run has written so many steps; False where it ended before."""
    while len(lines(out / "metrics.jsonl")) < step:
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    return True


class InterruptedRun(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.folder / "whole"
        osteon(*cls.run_of(cls.whole, save_every=70))

    @classmethod
    def run_of(cls, out, *flags, **keys):
        options = dict(model="synthetic:tiny", data=cls.data, template="none", eval_data=cls.data, eval_size=8, eval_every=50,
                       method="lora", rank=4, dropout=0.1, steps=STEPS, batch_size=2, accumulate=2, seq_len=32, lr=0.003,
                       threads=1, out=out)
        options.update(keys)
        return ["finetune", *flags, *[word for key, value in options.items() for word in ("--" + key.replace("_", "-"), value)]]

    def assert_same_run(self, out, whole):
        for name in ["adapter/adapter_model.safetensors", "adapter/adapter_config.json", "best/adapter/adapter_model.safetensors"]:
            self.assertTrue((out / name).read_bytes() == (whole / name).read_bytes(), name)
        ours, theirs = [json.loads((run / "summary.json").read_text()) for run in (out, whole)]
        for key in ["completed", "steps", "tokens", "final_train_loss", "batch_hash", "config_hash", "evaluation"]:
            self.assertEqual(ours[key], theirs[key], key)
        ours, theirs = [[dict(json.loads(line), step_seconds=0) for line in lines(run / "metrics.jsonl")] for run in (out, whole)]
        self.assertEqual(len(ours), len(theirs))
        for our, their in zip(ours, theirs):
            self.assertEqual(our, their)
        self.assertEqual([path.name for path in out.iterdir() if ".tmp-" in path.name or ".old-" in path.name], [])

    def stopped(self, out, step, *flags, sent=signal.SIGINT, times=1, **keys):
        """Runs until a step and sends the signal; what the program said."""
        for _ in range(5):  # on a busy machine the run may be over before the signal comes
            shutil.rmtree(out, ignore_errors=True)
            process = start(*self.run_of(out, *flags, **keys))
            wait_for_step(process, out, step)
            for _ in range(times):
                process.send_signal(sent)
                time.sleep(0.001)
            said = process.communicate(timeout=60)[1]
            if process.returncode != 0:
                break
        self.assertEqual(process.returncode, 130, said)
        return said

    def test_an_interrupted_run_saves_and_goes_on_to_the_same_bits(self):
        out = self.folder / "interrupted"
        said = self.stopped(out, 12, times=3)
        step = json.loads((out / "checkpoint/state.json").read_text())["step"]
        self.assertGreaterEqual(step, 12)
        self.assertLess(step, STEPS)
        self.assertIn("stopping", said)
        self.assertIn(f"interrupted after step {step} of {STEPS}; the same command with --resume goes on", said)
        self.assertFalse(json.loads((out / "summary.json").read_text())["completed"])
        osteon(*self.run_of(out, "--resume"))
        self.assert_same_run(out, self.whole)

    def test_a_closed_terminal_and_a_scheduler_stop_a_run_too(self):
        for sent in [signal.SIGTERM, signal.SIGHUP]:
            self.stopped(self.folder / sent.name, 2, sent=sent)
            self.assertTrue((self.folder / sent.name / "checkpoint/state.json").exists())
        out = self.folder / "nohup"
        process = start(*self.run_of(out, "--quiet"), ignore=[signal.SIGHUP])
        self.assertTrue(wait_for_step(process, out, 2))
        process.send_signal(signal.SIGHUP)
        self.assertEqual(process.communicate(timeout=60)[1], "")
        self.assertEqual(process.returncode, 0)

    def test_a_reader_of_the_log_that_ends_first_costs_no_step(self):
        # `osteon finetune 2>&1 | tee log`: the interrupt ends tee as well.
        out = self.folder / "tee"
        process = start(*self.run_of(out))
        self.assertTrue(wait_for_step(process, out, 2))
        process.stderr.close()
        self.assertTrue(wait_for_step(process, out, STEPS // 4))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=60), 130)
        osteon(*self.run_of(out, "--resume"))
        self.assert_same_run(out, self.whole)

    def test_a_killed_run_goes_on_to_the_same_bits(self):
        out = self.folder / "killed"
        moment = random.Random()
        at = []
        for step in [20, 60, 120]:
            process = start(*self.run_of(out, "--quiet", "--resume", save_every=1), stderr=subprocess.DEVNULL)
            self.assertTrue(wait_for_step(process, out, step))
            at.append(moment.uniform(0, 0.02))
            time.sleep(at[-1])
            process.kill()
            process.wait()
        # What a process leaves that dies while it writes.
        (out / ".checkpoint.tmp-1-0").mkdir()
        (out / ".checkpoint.tmp-1-0/trainable.safetensors").write_bytes(b"half")
        (out / ".summary.json.tmp-1-1").write_text("{")
        osteon(*self.run_of(out, "--resume", save_every=1))
        self.assert_same_run(out, self.whole)

    def test_a_run_that_is_done_stays_what_it_is(self):
        out = self.folder / "again"
        osteon(*self.run_of(out, save_every=STEPS))
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
        self.assertEqual(osteon(*self.run_of(out, "--resume", "--quiet")).stderr, "")
        self.assertTrue({path: path.stat().st_mtime_ns for path in out.rglob("*")} == before)
        (out / "summary.json").unlink()  # killed when all steps were done
        osteon(*self.run_of(out, "--resume", save_every=STEPS))
        self.assert_same_run(out, self.whole)

    def test_early_stop_is_the_end_of_a_resumed_run_too(self):
        out = self.folder / "early"
        stop = dict(early_stop=1, eval_every=2, lr=0.5)
        osteon(*self.run_of(out, **stop))
        first = files_of(out / "adapter"), lines(out / "metrics.jsonl")
        self.assertLess(json.loads((out / "summary.json").read_text())["steps"], STEPS)
        (out / "summary.json").unlink()  # killed in the evaluation at the end
        osteon(*self.run_of(out, "--resume", **stop))
        self.assertTrue((files_of(out / "adapter"), lines(out / "metrics.jsonl")) == first)

    def test_a_checkpoint_is_not_lost_by_a_wrong_command_line(self):
        out = self.folder / "mistaken"
        self.stopped(out, 3)
        before = files_of(out)
        step = json.loads((out / "checkpoint/state.json").read_text())["step"]
        said = osteon(*self.run_of(out), status=1).stderr
        self.assertIn(f"{out} holds a run that came to step {step}; go on from there with --resume", said)
        said = osteon(*self.run_of(out, "--resume", lr=0.005, rank=8), status=1).stderr
        self.assertIn(f"{out} was made by another config: rank = 8 (there 4), alpha = 16 (there 8), lr = 0.005 (there 0.003)", said)
        self.assertTrue(files_of(out) == before)
        other = self.folder / "other.jsonl"
        other.write_text(self.data.read_text())
        out = self.folder / "moved-data"
        self.stopped(out, 3, data=other)
        with other.open("a") as file:
            file.write('{"query": "1+1=", "response": "2"}\n')
        self.assertIn(f"resume: {other} or {self.data} changed since", osteon(*self.run_of(out, "--resume", data=other), status=1).stderr)
        said = osteon(*self.run_of(self.whole, adapter=self.whole / "adapter"), status=1).stderr
        self.assertIn("--out: expected another file or folder than that of --adapter", said)
        nothing = self.folder / "nothing"
        nothing.mkdir()
        self.assertIn(f"resume: no checkpoint in {nothing}", osteon(*self.run_of(nothing, "--resume")).stderr)

    def test_packing_trains_resumes_and_is_evaluated(self):
        whole, out = self.folder / "packed", self.folder / "packed-halves"
        osteon(*self.run_of(whole, "--packing", seq_len=64))
        summary = json.loads((whole / "summary.json").read_text())
        plain = json.loads((self.whole / "summary.json").read_text())
        self.assertGreater(summary["tokens"], 2 * plain["tokens"])  # several pairs a row
        before, after = summary["evaluation"]["before"]["loss"], summary["evaluation"]["after"]["loss"]
        self.assertLess(0, after)
        self.assertLess(after, before)
        again = osteon("evaluate", "--model", "synthetic:tiny", "--adapter", whole / "adapter", "--data", self.data, "--template",
                       "none", "--eval-size", 8, "--seq-len", 64, "--batch-size", 2, "--json")
        self.assertEqual(json.loads(again.stdout)["results"][0]["loss"], after)
        self.stopped(out, 12, "--packing", seq_len=64)
        osteon(*self.run_of(out, "--packing", "--resume", seq_len=64))
        self.assert_same_run(out, whole)

    def test_an_interrupted_ablation_goes_on_inside_its_runs(self):
        suite = self.folder / "suite.toml"
        suite.write_text(f'''seeds = [1]
[base]
model = "synthetic:tiny"
tokenizer = "byte"
data = "{self.data}"
eval_data = "{self.data}"
eval_size = 8
template = "none"
rank = 4
steps = {STEPS}
batch_size = 4
seq_len = 32
accumulate = 1
[axes]
method = ["lora"]
''')
        whole, out = self.folder / "suite-whole", self.folder / "suite-halves"
        osteon("ablate", suite, "--out", whole, "--quiet")
        run = next(path.parent.relative_to(whole) for path in whole.rglob("summary.json"))
        process = start("ablate", suite, "--out", out, "--quiet", ignore=[signal.SIGINT])  # as below a script
        self.assertTrue(wait_for_step(process, out / run, 20))
        process.send_signal(signal.SIGTERM)
        self.assertIn("the same command goes on", process.communicate(timeout=60)[1])
        self.assertEqual(process.returncode, 130)
        self.assertFalse(json.loads((out / run / "summary.json").read_text())["completed"])
        osteon("ablate", suite, "--out", out, "--quiet")
        self.assertIn("resume = true", (out / run / "given.toml").read_text())
        for name in ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"]:
            self.assertTrue((out / run / name).read_bytes() == (whole / run / name).read_bytes(), name)

    def test_a_base_that_was_not_finished_is_not_used(self):
        out = self.folder / "scratch"
        for step in [3, 6]:
            process = start("ablate", "--quick", "--from-scratch", "--out", out)
            self.assertTrue(wait_for_step(process, out / "base", step))
            process.send_signal(signal.SIGINT)
            self.assertIn("the same command goes on", process.communicate(timeout=60)[1])
            self.assertEqual(process.returncode, 130)
            self.assertGreaterEqual(json.loads((out / "base/checkpoint/state.json").read_text())["step"], step)
        steps = [json.loads(line)["step"] for line in lines(out / "base/metrics.jsonl")]
        self.assertEqual(steps, list(range(1, len(steps) + 1)))
        self.assertFalse((out / "sweep").exists())


if __name__ == "__main__":
    unittest.main()
