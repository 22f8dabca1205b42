"""finetune --trace and --profile. OSTEON names the program."""
import json
import unittest

from program import ProgramTest, osteon

# In a step of Bone on a Llama, whatever else a memory policy adds.
OPS = {"embedding", "attention", "linear_plus", "linear_cross_entropy"}


class Profile(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.base = cls.folder / "base"
        osteon("pretrain", "--model", "synthetic:tiny", "--data", "add", "--steps", 1, "--batch-size", 2, "--accumulate", 1,
               "--out", cls.base, "--quiet")
        cls.config = ["--model", cls.base / "model", "--tokenizer", "byte", "--data", "down", "--method", "bone", "--rank", 8,
                      "--batch-size", 4, "--accumulate", 2, "--eval-size", 2, "--quiet"]
        cls.trace = cls.folder / "trace.json"
        cls.summary = json.loads(cls.finetune("profiled", 6, "--trace", cls.trace, "--profile", "--json").stdout)
        cls.profile = cls.summary["profile"]
        cls.events = [event for event in json.loads(cls.trace.read_text())["traceEvents"] if event["ph"] == "X"]

    @classmethod
    def finetune(cls, name, steps, *options, status=0):
        return osteon("finetune", *cls.config, "--steps", steps, "--out", cls.folder / name, *options, status=status)

    def steps(self):
        return [event for event in self.events if event["name"].startswith("step ")]

    def test_the_trace_holds_steps_2_to_4_and_every_op(self):
        self.assertEqual([step["name"] for step in self.steps()], ["step 2", "step 3", "step 4"])
        for step in self.steps():
            inside = [event for event in self.events if step["ts"] < event["ts"] < step["ts"] + step["dur"]]
            parts = [event["name"] for event in inside if event["cat"] == "part"]
            self.assertEqual(sorted(set(parts)), ["backward", "data", "forward", "gradient norm", "optimizer"])
            self.assertEqual(parts.count("forward"), 2)  # accumulated
            for phase, ending in [("forward", ""), ("backward", " backward")]:
                ops = {event["name"] for event in inside if event["cat"] == "op" and event["args"]["phase"] == phase}
                saved = {tensor["op"] for tensor in self.summary["saved_tensors"]}
                self.assertLessEqual({op + ending for op in OPS | saved if (op, phase) != ("embedding", "backward")}, ops)
                self.assertEqual(ops, {op["op"] + ending for op in self.profile["ops"] if op["phase"] == phase})
            products = [event["args"] for event in inside if event["cat"] == "product"]
            self.assertEqual({product["work"] for product in products}, {"base", "adapter", "head"})
            for product in products:
                m, n, k = map(int, product["shape"].split(" x "))
                self.assertEqual(product["flop"], 2 * m * n * k)
                self.assertGreater(product["bytes"], 0)
                self.assertGreater(product["gflop_per_s"], 0)

    def test_its_events_nest_and_children_take_no_longer_than_what_holds_them(self):
        open_events, inside = [], {}
        for event in sorted(self.events, key=lambda event: (event["ts"], -event["dur"])):
            while open_events and event["ts"] >= open_events[-1]["ts"] + open_events[-1]["dur"]:
                open_events.pop()
            if open_events:
                around = open_events[-1]
                self.assertLess(event["ts"] + event["dur"], around["ts"] + around["dur"])
                inside[id(around)] = inside.get(id(around), 0) + event["dur"]
                self.assertLessEqual(inside[id(around)], around["dur"])
            else:
                self.assertTrue(event["name"].startswith("step "), event)
            open_events.append(event)
        self.assertEqual({id(step) for step in self.steps()} - set(inside), set())

    def test_the_profile_leaves_the_first_step_out_and_explains_the_whole_step(self):
        self.assertEqual(self.profile["steps"], 5)
        parts = self.profile["parts"]
        self.assertAlmostEqual(sum(part["seconds"] for part in parts.values()), self.profile["step_seconds"], places=9)
        self.assertTrue(all(part["seconds"] >= 0 for part in parts.values()), parts)
        self.assertGreater(parts["adapter's elementwise"]["seconds"], 0)
        times = [op["seconds"] for op in self.profile["ops"]]
        self.assertEqual(times, sorted(times, reverse=True))
        self.assertGreater(self.profile["machine"]["fma_f32_flops"], 0)

    def test_its_flops_are_those_of_the_plan(self):
        plan = json.loads(osteon("plan", *self.config[:-3], "--json").stdout)["flops"]
        planned = sum(plan[phase]["total"] for phase in ["forward", "backward"])
        self.assertAlmostEqual(sum(part["flops"] for part in self.profile["parts"].values()) / planned, 1, places=9)
        adapter = sum(plan[phase]["adapter"] for phase in ["forward", "backward"])
        self.assertAlmostEqual(self.profile["parts"]["adapter products"]["flops"] / adapter, 1, places=9)

    def test_its_saved_bytes_are_those_of_the_audit(self):
        saved = sum(tensor["bytes"] * tensor["count"] for tensor in self.summary["saved_tensors"])
        self.assertEqual(sum(op["saved_bytes"] for op in self.profile["ops"]), saved)

    def test_a_run_is_the_same_with_and_without(self):
        self.finetune("plain", 6)
        plain = json.loads((self.folder / "plain/summary.json").read_text())
        self.assertEqual(plain["config_hash"], self.summary["config_hash"])
        name = "adapter/adapter_model.safetensors"
        self.assertEqual((self.folder / "plain" / name).read_bytes(), (self.folder / "profiled" / name).read_bytes())

    def test_the_run_folder_keeps_the_profile(self):
        self.assertEqual(json.loads((self.folder / "profiled/profile.json").read_text()), self.profile)

    def test_the_table_is_for_reading(self):
        said = self.finetune("table", 3, "--profile").stdout
        self.assertRegex(said, r"(?m)^profile of 2 steps after the first: [\d.]+ ms a step$")
        self.assertRegex(said, r"(?m)^linear_plus backward +[\d.]+ +[\d.]+ +[\d.]+% ")
        self.assertRegex(said, r"(?m)^  adapter   gemm \d+ x \d+ x 8 ")
        self.assertRegex(said, r"(?m)^base products +[\d.]+ +[\d.]+% +[\d.]+$")

    def test_checkpointing_shows_what_is_computed_again(self):
        said = self.finetune("again", 2, "--checkpoint", "--profile").stdout
        self.assertRegex(said, r"(?m)^linear_plus recomputed ")
        self.assertRegex(said, r"(?m)^of all this, computed again in the backward +[\d.]+ ")

    def test_cheap_results_made_again_have_lines_of_their_own(self):
        said = self.finetune("cheap", 3, "--memory-policy", "recompute_cheap", "--profile").stdout
        for op in ("rms_norm", "swiglu"):
            self.assertRegex(said, rf"(?m)^{op} recomputed +[\d.]+ +[\d.]+ ")
        self.assertRegex(said, r"(?m)^of all this, computed again in the backward +[\d.]+ ")

    def test_one_step_has_nothing_to_show(self):
        trace = self.folder / "none.json"
        said = self.finetune("one", 1, "--profile", "--trace", trace)
        self.assertIn("--profile: nothing to show", said.stderr)
        self.assertIn("--trace: nothing written", said.stderr)
        self.assertNotIn("profile of", said.stdout)
        self.assertFalse(any(path.name.startswith("none.json") for path in self.folder.iterdir()))

    def test_a_trace_that_cannot_be_written_is_an_error_before_the_first_step(self):
        said = self.finetune("nowhere", 2, "--trace", self.folder / "no/such/trace.json", status=1)
        self.assertIn("no/such/trace.json", said.stderr)
        self.assertFalse((self.folder / "nowhere/metrics.jsonl").exists())


if __name__ == "__main__":
    unittest.main()
