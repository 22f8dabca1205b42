"""docs/own-experiments.md, followed: a suite with an adapter, a task and data that Osteon does not have. OSTEON names a program
that was built with the pages' files beside main.cpp."""
import json
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "commands"))
from program import ROOT, ProgramTest, osteon  # noqa: E402


class OwnExperiments(ProgramTest):
    def setUp(self):
        page = (ROOT / "docs/own-experiments.md").read_text()
        (self.folder / "own.toml").write_text(re.search(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1])
        (self.folder / "pairs_test.jsonl").write_text(self.data.read_text())

    def test_the_suite_of_the_page_runs(self):
        osteon("ablate", "own.toml", "--quiet", "--out", "own", cwd=self.folder)
        runs = [json.loads(path.read_text()) for path in (self.folder / "own/final").glob("*/summary.json")]
        self.assertEqual({(run["method"], run["task"], run["case"], run["seed"]) for run in runs},
                         {(method, task, case, seed) for method in ("lora", "fixed_projection") for seed in (1, 2)
                          for task, case in (("ones", "task"), ("pairs", "file"))})
        self.assertTrue(all(run["completed"] for run in runs))
        for task in ("ones", "pairs"):
            lora, own = ([run for run in runs if run["task"] == task and run["method"] == method]
                         for method in ("lora", "fixed_projection"))
            self.assertEqual({run["batch_hash"] for run in lora}, {run["batch_hash"] for run in own})
            self.assertLess(own[0]["trainable_parameters"], lora[0]["trainable_parameters"])
            for run in own:
                self.assertLess(run["evaluation"]["after"]["loss"], run["evaluation"]["before"]["loss"])
        self.assertEqual(len(runs[0]["items"]) if runs[0]["task"] == "ones" else 40, 40)
        report = (self.folder / "own/report/report.md").read_text()
        self.assertIn("| fixed\\_projection |", report)
        self.assertIn("Does LoRA need to train A", report)
        self.assertEqual(osteon("ablate", "own.toml", "--json", "--out", "own", cwd=self.folder).stdout.count('"runs":0'), 1)

    def test_both_are_named_where_a_name_is_wrong(self):
        base = ["finetune", "--model", "synthetic:tiny", "--steps", 1, "--quiet"]
        self.assertIn("did you mean 'ones'?", osteon(*base, "--data", "onse", status=1).stderr)
        self.assertIn("fixed_projection", osteon(*base, "--data", "ones", "--method", "fixed_projecton", status=1).stderr)
        self.assertIn("fixed_projection", osteon("finetune", "--help").stdout)


if __name__ == "__main__":
    unittest.main()
