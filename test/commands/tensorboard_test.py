"""finetune --tensorboard, read back by TensorBoard itself where Python has it. OSTEON names the program."""
import json
import subprocess
import time
import unittest

from program import OSTEON, ProgramTest, osteon

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    EventAccumulator = None


@unittest.skipIf(EventAccumulator is None, "no tensorboard in this Python")
class TensorBoard(ProgramTest):
    def setUp(self):
        self.run = self.folder / self._testMethodName
        self.options = ["finetune", "--model", "synthetic:tiny", "--data", "down", "--eval-data", "down", "--eval-size", 4,
                        "--eval-every", 50, "--method", "bone", "--rank", 8, "--batch-size", 2, "--accumulate", 1,
                        "--save-every", 50, "--steps", 400, "--tensorboard", "--quiet", "--out", self.run]

    def lines(self):
        return [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines(True) if line.endswith("\n")]

    def assert_same_as_metrics(self):
        log = EventAccumulator(str(self.run / "tensorboard"))
        log.Reload()
        self.assertEqual(log.file_version, 2)
        self.assertEqual(set(log.Tags()["scalars"]), {"train/loss", "train/lr", "train/grad_norm", "train/tokens_per_second",
                                                      "eval/loss", "eval/accuracy"})
        for tag, key in [("train/loss", "loss"), ("train/lr", "lr"), ("train/grad_norm", "grad_norm"),
                         ("eval/loss", "eval_loss"), ("eval/accuracy", "eval_accuracy")]:
            with self.subTest(tag=tag):
                want = [(line["step"], line[key]) for line in self.lines() if key in line]
                got = [(event.step, event.value) for event in log.Scalars(tag)]
                self.assertEqual([step for step, _ in got], [step for step, _ in want])
                for (_, value), (_, written) in zip(got, want):
                    self.assertAlmostEqual(value, written, delta=1e-6 * max(1, abs(written)))

    def test_scalars_are_those_of_metrics_jsonl(self):
        osteon(*self.options)
        self.assertEqual(len([line for line in self.lines() if "loss" in line]), 400)
        self.assert_same_as_metrics()

    def test_a_killed_and_resumed_run_has_every_step_once(self):
        process = subprocess.Popen([OSTEON, *map(str, self.options)])
        while process.poll() is None and not ((self.run / "metrics.jsonl").exists() and len(self.lines()) > 70):
            time.sleep(0.01)
        process.kill()
        process.wait()
        self.assertTrue((self.run / "checkpoint").exists())
        osteon(*self.options, "--resume")
        self.assertEqual([line["step"] for line in self.lines() if "loss" in line], list(range(1, 401)))
        self.assert_same_as_metrics()


if __name__ == "__main__":
    unittest.main()
