"""The osteon program as a user meets it: every subcommand, right and wrong. OSTEON names the program."""
import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import termios
import unittest

from program import OSTEON, ROOT, SUBCOMMANDS, ProgramTest, osteon, read_safetensors, write_safetensors


class Commands(ProgramTest):
    examples = 40

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # A tiny model made by the program itself.
        cls.base = cls.folder / "base"
        osteon("pretrain", "--model", "synthetic:tiny", "--data", "add", "--steps", 4, "--batch-size", 4, "--accumulate", 1,
               "--lr", "1e-3", "--out", cls.base, "--quiet")
        cls.model = cls.base / "model"
        cls.trained = cls.folder / "bone"
        osteon("finetune", "--model", cls.model, "--tokenizer", "byte", "--data", cls.data, "--template", "none", "--method",
               "bone", "--rank", 8, "--steps", 3, "--batch-size", 4, "--accumulate", 1, "--seq-len", 64, "--lr", "1e-2",
               "--out", cls.trained, "--quiet")

    def test_wrong_options_suggest_the_nearest(self):
        self.assertIn("did you mean '--rank'?", osteon("finetune", "--rnak", "3", status=2).stderr)
        self.assertIn("did you mean 'rank'?", osteon("finetune", "--set", "rnak=3", status=1).stderr)

    def test_every_subcommand_has_help_with_an_example(self):
        for name in SUBCOMMANDS:
            self.assertIn("Example:", osteon(name, "--help").stdout, name)
            self.assertIn(f"Usage: osteon {name} ", osteon(name, "--help").stdout)
        self.assertIn("osteon", osteon("--help").stdout)
        self.assertRegex(osteon("--version").stdout, r"\d+\.\d+\.\d+")

    def test_wrong_words_are_named_and_corrected(self):
        self.assertIn("finetune", osteon("finetun", status=2).stderr)
        self.assertIn("bone", osteon("finetune", "--model", self.model, "--tokenizer", "byte", "--data", self.data, "--method",
                                     "bome", status=1).stderr)
        self.assertIn("rank", osteon("finetune", "--set", "rnk=3", status=1).stderr)
        self.assertIn("no/such/model", osteon("evaluate", "--model", "no/such/model", "--data", self.data, status=1).stderr)
        bad = self.folder / "bad.jsonl"
        bad.write_text('{"query": "a", "response": "b"}\n{"query": \n')
        self.assertIn("bad.jsonl:2", osteon("finetune", "--model", self.model, "--tokenizer", "byte", "--data", bad, "--steps", 1,
                                            status=1).stderr)

    def test_the_bar_keeps_to_one_row_of_the_terminal(self):
        def rows(columns):
            """What is drawn over one another on a terminal of so many columns."""
            ours, its = pty.openpty()
            fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            run = subprocess.Popen([OSTEON, "finetune", "--model", str(self.model), "--tokenizer", "byte", "--data", "down",
                                    "--steps", "2", "--batch-size", "2", "--accumulate", "1", "--eval-size", "2", "--rank", "8",
                                    "--out", str(self.folder / f"bar{columns}")], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=its)
            os.close(its)
            said = b""
            try:
                while piece := os.read(ours, 4096):
                    said += piece
            except OSError:
                pass  # the other end is closed
            self.assertEqual(run.wait(), 0)
            os.close(ours)
            return [row.split("\n")[0].rstrip("\r") for row in said.decode().split("\r\x1b[2K")[1:]]
        for columns, bar in [(200, True), (70, False), (30, False)]:
            drawn = rows(columns)
            self.assertTrue(drawn)
            self.assertLess(max(map(len, drawn)), columns)
            self.assertEqual("█" in drawn[-1], bar, drawn[-1])
            self.assertIn("2/2  loss ", drawn[-1])

    def test_the_run_folder_is_complete(self):
        for name in ["config.toml", "environment.json", "metrics.jsonl", "summary.json", "adapter/adapter_config.json",
                     "adapter/adapter_model.safetensors"]:
            self.assertTrue((self.trained / name).exists(), name)
        summary = json.loads((self.trained / "summary.json").read_text())
        self.assertEqual(summary["method"], "bone")
        self.assertEqual(summary["steps"], 3)

    def test_evaluate_merge_and_unload_agree(self):
        def loss(*arguments):
            out = osteon("evaluate", "--tokenizer", "byte", "--data", self.data, "--template", "none", "--json", *arguments)
            return json.loads(out.stdout)["results"][0]["loss"]
        with_adapter = loss("--model", self.model, "--adapter", self.trained / "adapter")
        merged, unloaded = self.folder / "merged", self.folder / "unloaded"
        osteon("merge", "--model", self.model, "--adapter", self.trained / "adapter", "--out", merged)
        self.assertAlmostEqual(loss("--model", merged), with_adapter, places=5)
        osteon("unload", "--model", self.model, "--adapter", self.trained / "adapter", "--out", unloaded)
        self.assertEqual(loss("--model", unloaded, "--adapter", unloaded), with_adapter)
        self.assertEqual(loss("--model", unloaded), loss("--model", self.model))
        lora = self.folder / "as-lora"
        osteon("convert", "--model", self.model, "--adapter", self.trained / "adapter", "--to", "lora", "--out", lora)
        self.assertAlmostEqual(loss("--model", self.model, "--adapter", lora), with_adapter, places=5)

    def test_evaluate_asks_a_task_and_keeps_every_item(self):
        words = ["evaluate", "--model", self.model, "--tokenizer", "byte"]
        data, kept = self.folder / "sums.jsonl", self.folder / "kept.jsonl"
        data.write_text("".join(json.dumps({"question": f"{n}+1=", "answer": f"#### {n + 1}"}) + "\n" for n in range(3)))
        asked = [*words, "--task", "gsm8k", "--template", "none", "--max-new-tokens", 4]
        said = json.loads(osteon(*asked, "--data", data, "--predictions", kept, "--json").stdout)["results"][0]
        lines = [json.loads(line) for line in kept.read_text().splitlines()]
        self.assertEqual([line["id"] for line in lines], ["gsm8k:1", "gsm8k:2", "gsm8k:3"])
        self.assertAlmostEqual(said["metrics"]["accuracy"], sum(line["score"] for line in lines) / 3)
        self.assertEqual((said["items"], said["predictions"]), (3, str(kept)))
        self.assertIn("gsm8k: 2 items, accuracy ", osteon(*asked, "--data", data, "--eval-size", 2).stdout)

        glue = self.folder / "glue.tsv"
        glue.write_text("sentence\tlabel\nso fine\t1\nso bad\t0\n")
        said = json.loads(osteon(*words, "--task", "glue:sst2", "--data", glue, "--json").stdout)["results"][0]
        self.assertEqual(list(said["metrics"]), ["accuracy", "f1", "macro_f1", "matthews"])

        code, samples = self.folder / "code.jsonl", self.folder / "samples.jsonl"
        code.write_text(json.dumps({"task_id": "HumanEval/0", "prompt": "def f():", "canonical_solution": ""}) + "\n")
        osteon(*words, "--task", "humaneval", "--data", code, "--completions", samples, "--max-new-tokens", 3)
        self.assertEqual(json.loads(samples.read_text())["task_id"], "HumanEval/0")

        for wrong, error in [(["--task", "gsm9k"], "--task: expected gsm8k, math"),
                             (["--predictions", kept], "--predictions: expected with --task, got no task"),
                             (["--task", "gsm8k", "--completions", kept], "--completions: expected with --task humaneval"),
                             (["--task", "glue:qqp"], "expected one of rte, mrpc")]:
            self.assertIn(error, osteon(*words, "--data", data, *wrong, status=1).stderr)

    def test_a_config_repeats_its_run_to_the_bit(self):
        again = self.folder / "again"
        osteon("finetune", self.trained / "config.toml", "--out", again, "--quiet")
        name = "adapter/adapter_model.safetensors"
        self.assertEqual((again / name).read_bytes(), (self.trained / name).read_bytes())

    def test_data_on_the_command_line_goes_before_a_config_of_the_run(self):
        config = self.folder / "config.toml"
        config.write_text(f'model = "{self.model}"\ntokenizer = "byte"\ndata = "op"\neval_data = "down"\neval_size = 4\n')
        def scored(*arguments):
            return json.loads(osteon("evaluate", config, "--json", *arguments).stdout)["results"][0]["data"]
        self.assertEqual([scored(), scored("--data", "flip")], ["down/test", "flip/test"])

    def test_what_ends_a_text_is_generation_configs_and_goes_with_the_model(self):
        model, merged = self.folder / "ends", self.folder / "ends-merged"
        shutil.copytree(self.model, model)
        words = ["--tokenizer", "byte", "--prompt", "1+1=", "--max-new-tokens", 8, "--json"]
        ids = json.loads(osteon("generate", "--model", model, *words).stdout)["ids"]
        (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [ids[0]]}))
        osteon("merge", "--model", model, "--adapter", self.trained / "adapter", "--out", merged)
        self.assertEqual((merged / "generation_config.json").read_text(), (model / "generation_config.json").read_text())
        self.assertLess(len(json.loads(osteon("generate", "--model", model, *words).stdout)["ids"]), len(ids))
        self.assertEqual(json.loads(osteon("generate", "--model", model, *words, "--ignore-eos").stdout)["ids"], ids)

    def test_dry_run_and_tokenize_give_one_json_object(self):
        plan = json.loads(osteon("ablate", "--quick", "--dry-run", "--json").stdout)
        self.assertEqual((len(plan["cells"]), plan["seeds"], plan["sweep_runs"]), (5, [1, 2, 3], 10))
        texts = self.folder / "two.jsonl"
        texts.write_text('{"text": "a"}\n{"text": "b"}\n')
        out = osteon("tokenize", "--tokenizer", "byte", "--input", texts, "--json").stdout
        self.assertEqual(json.loads(out), {"lines": [{"ids": [97]}, {"ids": [98]}]})

    def test_forward_writes_logits_loss_and_gradients(self):
        source, out = self.folder / "in.safetensors", self.folder / "out.safetensors"
        ids = struct.pack("<6q", 65, 66, 67, 68, 69, 70)
        write_safetensors(source, {"input_ids": ("I64", [1, 6], ids), "labels": ("I64", [1, 6], ids)})
        osteon("forward", "--model", self.model, "--adapter", self.trained / "adapter", "--input", source, "--output", out, "--grads")
        tensors = read_safetensors(out)
        self.assertEqual(tensors["logits"][0]["shape"], [1, 6, 256])
        self.assertEqual(tensors["loss"][0]["shape"], [1])
        gradients = [name for name in tensors if name.startswith("grad.")]
        self.assertEqual(len(gradients), 28)
        self.assertTrue(all(name.endswith("bone_block") for name in gradients))

    def test_generate_repeats_with_a_seed(self):
        words = ["generate", "--model", self.model, "--tokenizer", "byte", "--prompt", "1+1=", "--max-new-tokens", 12,
                 "--temperature", 1, "--top-p", 0.9, "--seed", 4, "--json"]
        first = json.loads(osteon(*words).stdout)
        self.assertEqual(first, json.loads(osteon(*words).stdout))
        self.assertEqual(len(first["ids"]), 12)

    def test_plan_equals_what_the_allocator_counts(self):
        out = json.loads(osteon("plan", "--model", "synthetic:tiny", "--method", "lora", "--rank", 4, "--batch-size", 2,
                                "--seq-len", 32, "--compare", "--json").stdout)
        for category in ["weights", "adapter", "gradient", "optimizer", "activation"]:
            self.assertEqual(out["peak"][category], out["measured"]["peak"][category], category)
        self.assertEqual(out["peak_place"], out["measured"]["peak_place"])
        self.assertEqual(out["ops"], out["measured"]["ops"])
        self.assertEqual(out["savings"], sorted(out["savings"], key=lambda saving: -saving["bytes"]))
        self.assertIn("dtype = bf16", [saving["setting"] for saving in out["savings"]])
        ranks = json.loads(osteon("plan", "--model", "synthetic:tiny", "--budget", 32768, "--json").stdout)
        self.assertEqual(ranks["lora"], {"rank": 4, "parameters": 32768})
        self.assertEqual(ranks["bone"], {"rank": 8, "parameters": 32768})

    def test_plan_for_a_gpu_on_any_machine(self):
        words = ["plan", "--model", "synthetic:tiny", "--method", "bone", "--rank", 8, "--batch-size", 2, "--seq-len", 32,
                 "--accumulate", 3]
        plan = lambda *more: json.loads(osteon(*words, *more, "--json").stdout)
        cpu, gpu = plan("--device", "cpu"), plan("--device", "cuda", "--cuda-graph", "off")
        self.assertEqual((cpu["device"], gpu["device"]), ("cpu", "cuda"))
        self.assertGreaterEqual(gpu["peak_each"]["workspace"], 32 << 20)
        for category in ["weights", "adapter", "gradient", "optimizer", "activation"]:
            self.assertEqual(gpu["peak_each"][category], cpu["peak_each"][category], category)
        self.assertIn("device cuda\n", osteon(*words, "--device", "cuda:1").stdout)
        # A graph keeps the ids and targets of three batches of 2 x 32 tokens, and the loss's normalizer.
        kept = plan("--device", "cuda")["peak_each"]["total"] - gpu["peak_each"]["total"]
        self.assertLessEqual(kept, 3 * 2 * 32 * 2 * 4 + 8)
        self.assertGreaterEqual(kept, 2 * 2 * 32 * 2 * 4 + 8)

    def test_a_memory_limit_chooses_the_policy_or_refuses(self):
        words = ["--model", "synthetic:tiny", "--method", "lora", "--rank", 4, "--batch-size", 2, "--seq-len", 32]
        plan = lambda *more: json.loads(osteon("plan", *words, *more, "--json").stdout)
        for policy, layers in [("save", 0), ("recompute_cheap", 0), ("recompute_cheap", 1), ("recompute_cheap", 3)]:
            limit = plan("--memory-policy", policy, "--checkpoint-layers", layers)["needed_bytes"]
            out = plan("--memory-policy", "auto", "--memory-limit", limit)
            self.assertEqual((out["memory_policy"], out["checkpoint_layers"], out["needed_bytes"], out["fits"]),
                             (policy, layers, limit, True))
        text = osteon("plan", *words, "--memory-policy", "auto", "--memory-limit", "100KiB").stdout
        self.assertRegex(text, "does not fit 100KiB: the smallest predicted peak, with memory_policy = recompute_cheap, "
                               "3 layers checkpointed, is .* too much")
        for more, message in [
                ([5], "checkpoint_layers: expected at most 4, the layers of synthetic:tiny, got 5"),
                ([1, "--checkpoint"], "checkpoint_layers: expected memory_policy save or recompute_cheap beside it, "
                                      "got checkpoint"),
                ([-1], "checkpoint_layers: expected an integer of at least 0, got -1")]:
            self.assertIn(message, osteon("plan", *words, "--checkpoint-layers", *more, status=1).stderr)

    def test_tokenize_both_ways(self):
        texts, ids = self.folder / "texts.jsonl", self.folder / "ids.jsonl"
        texts.write_text('{"text": "abc"}\n{"text": ""}\n')
        out = osteon("tokenize", "--tokenizer", "byte", "--input", texts).stdout
        self.assertEqual([json.loads(line)["ids"] for line in out.splitlines()], [[97, 98, 99], []])
        ids.write_text(out)
        back = osteon("tokenize", "--tokenizer", "byte", "--input", ids, "--decode").stdout
        self.assertEqual([json.loads(line)["text"] for line in back.splitlines()], ["abc", ""])

    def test_inspect_knows_models_and_adapters(self):
        model = json.loads(osteon("inspect", self.model, "--json").stdout)
        self.assertEqual(model["model"]["parameters"], 623744)
        adapter = json.loads(osteon("inspect", self.trained / "adapter", "--json").stdout)
        self.assertEqual(adapter["adapter"]["method"], "bone")
        self.assertEqual(adapter["adapter"]["parameters"], sum(
            shape[0] * shape[1] for shape in (tensor["shape"] for tensor in adapter["adapter_tensors"])))
        self.assertNotIn("alpha", adapter["adapter"])  # Bone has none
        run = json.loads(osteon("inspect", self.trained, "--json").stdout)
        self.assertEqual(run["adapter"], adapter["adapter"])
        self.assertEqual(run["run"]["steps"], 3)
        self.assertEqual(json.loads(osteon("inspect", self.base, "--json").stdout)["model"], model["model"])
        said = osteon("inspect", self.trained).stdout
        self.assertRegex(said, r"(?m)^  method +bone$")
        self.assertRegex(said, r"(?m)^    linear_plus +left +.* x \d+ +$")
        self.assertNotIn("{", said)
        self.assertIn("expected a file or folder", osteon("inspect", self.folder / "nothing", status=1).stderr)


if __name__ == "__main__":
    unittest.main()
