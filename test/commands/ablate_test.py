"""Suites through the osteon program: what is refused before the first run, what a rule of fairness chooses, runs that fail
beside others, runs that wait for memory, data that changes, batches that differ. OSTEON names the program."""
import json
import os
import re
import shutil
import subprocess
import unittest
from unittest import mock

from program import OSTEON, ROOT, TINY_BASE, ProgramTest, osteon

BASE = "seeds = [1]\n" + TINY_BASE


class Ablate(ProgramTest):
    def suite(self, text, name="s.toml", base=BASE):
        file = self.folder / name
        file.write_text(base + text)
        return file

    def dry(self, suite, *arguments):
        out = self.folder / "nothing-here"
        plan = json.loads(osteon("ablate", suite, "--dry-run", "--json", "--out", out, *arguments).stdout)
        return plan, {cell["id"]: cell for cell in plan["cells"]}

    def summaries(self, out):
        return {path.parent.name: json.loads(path.read_text()) for path in sorted(out.rglob("summary.json"))}

    def test_a_rule_chooses_the_rank_that_comes_nearest(self):
        for equal, figure, tolerance in [("parameters", "trainable_parameters", 0.15), ("memory", "needed_bytes", 0.3),
                                         ("flops", "step_flops", 0.1), ("time", "step_flops", 0.1)]:
            suite = self.suite(f'''[axes]
method = ["lora", "dora", "bone"]
[for.method.lora]
rank = 8
[fairness]
equal = "{equal}"
reference = "lora"
solve = "rank"
tolerance = {tolerance}
''')
            _, cells = self.dry(suite)
            self.assertEqual(cells["lora"]["rank"], "8", equal)
            for method in ["dora", "bone"]:
                chosen = int(cells[method]["rank"])
                distance = lambda rank: abs(self.planned(method, rank)[figure] - cells["lora"][figure])
                if equal in ("flops", "parameters"):  # bytes of the plan move by whole pages of its pool
                    nearest = min(range(max(1, chosen - 2), chosen + 3), key=distance)
                    self.assertEqual(distance(chosen), distance(nearest), (equal, method, chosen))
        # Bone's count at rank 16 is LoRA's at 8, exactly.
        suite = self.suite('[axes]\nmethod = ["lora", "bone"]\n[fairness]\nequal = "parameters"\nreference = "lora"\nsolve = "rank"\n')
        self.assertEqual(self.dry(suite, "--set", "rank=8")[1]["bone"]["rank"], "16")
        self.assertEqual(self.dry(suite, "--set", "rank=4")[1]["bone"]["rank"], "8")

    def planned(self, method, rank):
        suite = self.suite(f'[axes]\nmethod = ["{method}"]\nrank = [{rank}]\n', name="one.toml")
        return self.dry(suite)[0]["cells"][0]

    def test_what_cannot_be_made_equal_is_refused_with_its_line(self):
        suite = self.suite('[axes]\nmethod = ["lora", "dora"]\n[fairness]\nequal = "parameters"\nreference = "lora"\nsolve = "rank"\n'
                           'tolerance = 0.001\n')
        said = osteon("ablate", suite, "--out", self.folder / "unequal", status=1).stderr
        self.assertRegex(said, r"s\.toml:12: fairness: dora: expected trainable parameters within 0\.1% of the \d+ of lora")
        self.assertFalse((self.folder / "unequal").exists())
        suite = self.suite('[axes]\nmethod = ["lora", "full"]\n[fairness]\nequal = "memory"\nreference = "lora"\nsolve = "rank"\n')
        self.assertIn("s.toml:12: fairness: full: full: has no rank", osteon("ablate", suite, status=1).stderr)

    def test_missing_data_is_refused_with_its_line(self):
        suite = self.suite("", base=BASE.replace('"down"', '"gone.jsonl"'))
        self.assertRegex(osteon("ablate", suite, status=1).stderr, r"s\.toml:4: data: gone\.jsonl")
        suite = self.suite('retain_data = "gone.txt"\n')
        self.assertRegex(osteon("ablate", suite, "--dry-run", status=1).stderr, r"s\.toml:9: retain_data: gone\.txt")
        suite = self.suite('task = "e2e"\ntask_data = "gone.txt"\n')
        self.assertRegex(osteon("ablate", suite, status=1).stderr, r"s\.toml:10: task_data: gone\.txt: expected a file")
        suite = self.suite(f'task = "gsm8k"\ntask_data = "{ROOT}/README.md"\n')
        self.assertRegex(osteon("ablate", suite, status=1).stderr, r"s\.toml:10: task_data: .*README\.md:1: ")
        suite = self.suite("", base=BASE.replace("synthetic:tiny", "no/model"))
        self.assertIn("s.toml:3: model: expected a folder, found no no/model", osteon("ablate", suite, status=1).stderr)
        suite = self.suite("", base=BASE.replace("synthetic:tiny", "synthetic:huge"))
        self.assertIn("s.toml:3: model: expected a model folder, an embedded model (synthetic:tiny, synthetic:tiny-rwkv6, "
                      "synthetic:tiny-rwkv7, synthetic:rwkv7-L12-D768 (any size)) or synthetic:mlp, got synthetic:huge",
                      osteon("ablate", suite, "--dry-run", status=1).stderr)

    def test_missing_weights_are_refused_with_their_line_before_the_first_run(self):
        suite, out, empty = self.suite(""), self.folder / "no weights", self.folder / "empty"
        empty.mkdir()
        with mock.patch.dict(os.environ, OSTEON_BASE=str(empty)):
            said = osteon("ablate", suite, "--out", out, status=1).stderr
            self.assertIn("s.toml:3: model: ", said)
            self.assertIn(str(empty), said)
            self.assertFalse((out / "final").exists())
            osteon("ablate", suite, "--out", out, "--dry-run")  # which needs none
        suite = self.suite("", base=BASE.replace("synthetic:tiny", str(empty)))
        self.assertIn("s.toml:3: model: ", osteon("ablate", suite, "--out", out, status=1).stderr)
        self.assertFalse((out / "final").exists())

    def test_only_and_a_dry_run_that_learns_from_runs(self):
        suite = self.suite('[axes]\nmethod = ["lora", "bone"]\n')
        out = self.folder / "only"
        before = json.loads(osteon("ablate", suite, "--dry-run", "--json", "--out", out).stdout)
        self.assertEqual({cell["time_from"] for cell in before["cells"]}, {"trial steps"})
        self.assertEqual((before["runs"], before["finished"]), (2, 0))
        osteon("ablate", suite, "--out", out, "--quiet", "--only", "bone")
        self.assertEqual(list(self.summaries(out)), ["bone-seed1"])
        after = json.loads(osteon("ablate", suite, "--dry-run", "--json", "--out", out).stdout)
        self.assertEqual([cell["time_from"] for cell in after["cells"]], ["rate of other runs", "measured"])
        self.assertEqual((after["finished"], after["cells"][1]["runs"]), (1, ["bone-seed1"]))
        peak = self.summaries(out)["bone-seed1"]["peak_bytes"]["total"]
        self.assertGreaterEqual(after["cells"][1]["needed_bytes"], peak)
        self.assertIn("did you mean 'bone'?", osteon("ablate", suite, "--only", "boen", status=1).stderr)

    def test_a_run_that_fails_is_recorded_and_the_others_go_on(self):
        suite = self.suite('[axes]\nmethod = ["bat", "lora"]\nrank = [4, 7]\n[sweep]\nlr = [1e-3]\nseed = 9\n')
        out = self.folder / "failing"
        done = osteon("ablate", suite, "--out", out, "--quiet", status=1)
        self.assertIn("bat-7: no run of its sweep ended, so no lr is chosen: not run", done.stderr)
        runs = self.summaries(out)
        self.assertFalse(runs["bat-7-lr0.001-seed9"]["completed"])
        self.assertIn("7", runs["bat-7-lr0.001-seed9"]["error"])
        self.assertEqual({name for name in runs if runs[name]["purpose"] == "final"}, {"bat-4-seed1", "lora-4-seed1", "lora-7-seed1"})
        self.assertIn("bat-7-lr0.001-seed9", (out / "report/report.md").read_text())
        again = json.loads(osteon("ablate", suite, "--out", out, "--json", status=1).stdout)
        self.assertEqual((again["runs"], again["reused"]), (1, 6))

    def test_runs_wait_for_memory(self):
        suite = self.suite('[axes]\nmethod = ["lora", "bone"]\n')
        out = self.folder / "waiting"
        needed = max(cell["needed_bytes"] for cell in self.dry(suite)[0]["cells"])
        osteon("ablate", suite, "--out", out, "--quiet", "--jobs", 2, "--memory-limit", needed)
        osteon("ablate", suite, "--out", self.folder / "small", "--quiet", "--memory-limit", "1MiB", status=1)
        for run in self.summaries(self.folder / "small").values():
            self.assertRegex(run["error"], r"needs [\d.]+ MiB by its plan, more than the limit of 1\.00 MiB")
        self.assertIn("--memory-limit: expected a size", osteon("ablate", suite, "--memory-limit", "big", status=1).stderr)

    def test_changed_data_is_trained_on_again(self):
        data = self.folder / "own.jsonl"
        shutil.copy(self.data, data)
        suite = self.suite(f'eval_data = "{data}"\ntokenizer = "byte"\ntemplate = "none"\nseq_len = 32\n', base=BASE.replace('"down"', f'"{data}"'))
        out = self.folder / "changed"
        counts = []
        for change in [None, None, "more"]:
            if change:
                data.write_text(data.read_text().replace("1+1=", "1+2="))
            done = json.loads(osteon("ablate", suite, "--out", out, "--json").stdout)
            counts.append((done["runs"], done["reused"]))
        self.assertEqual(counts, [(1, 0), (0, 1), (1, 0)])

    def test_other_batches_for_one_method_are_an_error_of_the_report(self):
        suite = self.suite('[axes]\nmethod = ["lora", "bone"]\n')
        out = self.folder / "batches"
        osteon("ablate", suite, "--out", out, "--quiet")
        runs = self.summaries(out)
        self.assertEqual(runs["lora-seed1"]["batch_hash"], runs["bone-seed1"]["batch_hash"])
        self.assertEqual(osteon("report", out).stderr.count("batch_hash"), 0)
        file = out / "final/bone-seed1/summary.json"
        file.write_text(re.sub('"batch_hash": "."', '"batch_hash": "x', file.read_text().replace(runs["bone-seed1"]["batch_hash"], "f" * 16)))
        said = osteon("report", out, status=1)
        self.assertIn("bone-seed1 and lora-seed1, both of seed 1 on down, trained on different batches", said.stderr)
        self.assertIn("ERROR: bone-seed1", (out / "report/report.md").read_text())

    def test_what_is_retained_is_scored_before_and_after(self):
        out = self.folder / "retain"
        osteon("ablate", self.suite('retain_data = "mixture"\nlr = 0.05\n'), "--out", out, "--quiet", "--set", "steps=6")
        (run,) = self.summaries(out).values()
        before, after = run["evaluation"]["retained_before"]["loss"], run["evaluation"]["retained_after"]["loss"]
        self.assertGreater(after, before)

    def test_a_real_task_scores_the_runs(self):
        pairs = self.folder / "pairs.txt"
        pairs.write_text("name : A||A is it .\nname : A||It is A .\nname : B||B is it .\n")
        out = self.folder / "real"
        suite = self.suite(f'eval_data = "{pairs}"\ntask = "e2e"\ntruncate = true\nseq_len = 64\nretain_data = "add"\n'
                           '[axes]\nmethod = ["lora", "bone"]\n[sweep]\nlr = [1e-2]\nseed = 7\neval_data = "down"\n',
                           base=BASE.replace('"down"', f'"{pairs}"'))
        osteon("ablate", suite, "--out", out, "--quiet")
        runs = self.summaries(out)
        self.assertNotIn("predictions.jsonl", [file.name for file in (out / "sweep").rglob("*")])  # only what is reported
        for name in ["lora-seed1", "bone-seed1"]:
            self.assertEqual(set(runs[name]["task_metrics"]), {"bleu", "sacrebleu", "nist", "rouge_l", "rouge_l_f1"})
            self.assertEqual(runs[name]["task"], "e2e")
            lines = [json.loads(line) for line in (out / "final" / name / "predictions.jsonl").read_text().splitlines()]
            self.assertEqual([(line["id"], len(line["references"])) for line in lines], [("e2e:1", 2), ("e2e:3", 1)])
            again = json.loads(osteon("evaluate", "--model", "synthetic:tiny", "--adapter", out / "final" / name / "adapter",
                                      "--task", "e2e", "--data", pairs, "--json").stdout)
            self.assertEqual(again["results"][0]["metrics"], runs[name]["task_metrics"])
        report = (out / "report/report.md").read_text()
        self.assertRegex(report, r"\| method .*\| forgotten \| bleu \| nist \| rouge\\_l \| rouge\\_l\\_f1 \| sacrebleu \|")

    def test_a_report_tells_initialisations_apart(self):
        out = self.folder / "inits"
        osteon("ablate", self.suite('method = "bone"\n[axes]\ninit_weights = ["true", "false"]\n'), "--out", out, "--quiet")
        report = (out / "report/report.md").read_text()
        self.assertNotIn("left out", report)
        self.assertIn("init false", report)

    def test_every_embedded_suite_can_be_planned(self):
        listed = json.loads(osteon("ablate", "--list", "--json").stdout)["suites"]
        self.assertEqual({one["suite"] for one in listed}, {path.stem for path in (ROOT / "experiments/suites").glob("*.toml")})
        for one in listed:
            if one["suite"].startswith("real_") and not (ROOT / "../shared/data").exists():  # is not in the repository
                said = osteon("ablate", one["suite"], status=1).stderr
                self.assertRegex(said, rf"suites/{one['suite']}\.toml:\d+: data: \.\./shared/data/\S+: expected a file")
                continue
            plan, cells = self.dry(one["suite"])
            self.assertTrue(plan["question"].endswith("?") or one["suite"] == "quickstart", one)
            self.assertEqual([cell for cell in cells if "error" in cells[cell]], [], one["suite"])
            self.assertLess(plan["seconds"], 3600, one["suite"])

    def test_rwkv_suites_train_what_they_plan(self):
        out = self.folder / "memory"
        plan, planned = self.dry("rwkv_memory", "--quick")
        osteon("ablate", "rwkv_memory", "--quick", "--out", out, "--quiet")
        peaks = {name.rsplit("-", 2)[1]: summary["peak_bytes"]["total"] for name, summary in self.summaries(out).items()}
        self.assertEqual(set(peaks), {"full", "lora", "pissa", "bone", "bat", "bat_row"})
        for cell in planned.values():
            self.assertGreaterEqual(cell["needed_bytes"], peaks[cell["id"].rsplit("-", 1)[1]])
        self.assertLess(peaks["bone"], peaks["lora"])
        said = osteon("reproduce", "rwkv_memory", out).stdout
        self.assertIn("bone r32: 0.1B 2.7, 0.4B 3.1, 1.5B 5.6, 3B 8.8", said)
        self.assertIn("seq_len: 1024 there, 256 here", said)

    def test_a_published_table_without_runs(self):
        said = osteon("reproduce", "rank_sweep").stdout
        self.assertIn("MiSS r16: GSM8K 45.90, MATH 3.77, parameters M 21.7\n    here: not run", said)
        self.assertIn("arena", osteon("reproduce").stdout)
        self.assertIn("did you mean 'arena'?", osteon("reproduce", "areno", status=1).stderr)

    def test_a_program_killed_from_outside_is_recorded(self):
        suite = self.suite("", base=BASE.replace("steps = 2", "steps = 4000"))
        out = self.folder / "killed"
        process = subprocess.Popen([OSTEON, "ablate", suite, "--out", out, "--quiet"], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        child = None
        while not child and process.poll() is None:
            if (out / "final/run-seed1/metrics.jsonl").exists():
                child = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout.split()
        subprocess.run(["kill", "-9", *child], check=True)
        self.assertIn("run-seed1: ended with status 137", process.communicate(timeout=60)[1])
        self.assertEqual(self.summaries(out)["run-seed1"]["error"], "ended with status 137")


if __name__ == "__main__":
    unittest.main()
