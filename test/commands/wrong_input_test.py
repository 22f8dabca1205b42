"""Wrong input through the osteon program: the message names file or option, what was expected and what came, and nothing is
left behind. OSTEON names the program."""
import json
import os
import shutil
import struct
import subprocess
import unittest
from pathlib import Path

from program import OSTEON, ROOT, ProgramTest, osteon, write_safetensors

SMALL = ["--steps", 2, "--batch-size", 2, "--accumulate", 1, "--seq-len", 64, "--quiet"]
# Whether OSTEON can use a GPU (-Dcuda=enabled), and what it says where there is none.
BUILT_WITH_CUDA = os.environ.get("OSTEON_CUDA") == "1"
NO_GPU = "expected an NVIDIA GPU and its driver, but cudaGetDeviceCount: "


def ids(*values):
    return "I64", [1, len(values)], struct.pack(f"<{len(values)}q", *values)


class WrongInput(ProgramTest):
    examples = 20

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        osteon("finetune", "--model", "synthetic:tiny", "--data", "op", "--method", "lora", "--rank", 4, *SMALL, "--out",
               cls.folder / "lora")
        cls.adapter = cls.folder / "lora/adapter"

    def refused(self, *arguments, says, status=1):
        """The program ends with `status` and its message holds every text of `says`."""
        done = osteon(*arguments, status=status)
        for text in says:
            self.assertIn(text, done.stderr)

    def test_rwkv_merge(self):
        files = "--adapter", ROOT / "test/golden/torch/mixed.pth", "--out", self.folder / "merged.pth"
        base = "--base", ROOT / "test/golden/torch/state_dict.pth"
        self.refused("merge", *files, says=["merge: expected --model, or --kind and --base for RWKV files"])
        self.refused("merge", "--kind", "dora", *base, *files, says=["--kind: expected bone, bat, lora, pissa or state, got dora"])
        self.refused("merge", "--kind", "bone", *files, says=["--base: expected the RWKV file to merge into"])
        self.refused("merge", "--kind", "bone", "--model", "synthetic:tiny", *base, *files, says=["--model: expected --base"])
        self.refused("merge", "--model", "synthetic:tiny", *base, *files, says=["--base, --start: expected only with --kind"])
        self.refused("merge", "--kind", "bone", *base, "--adapter", self.adapter, "--out", self.folder / "merged.pth",
                     says=["--adapter: expected a file of RWKV-PEFT's with --kind, got the folder"])
        self.refused("merge", "--kind", "bone", *base, *files, says=["mixed.pth: expected an adapter of RWKV-PEFT"])
        self.assertFalse((self.folder / "merged.pth").exists())
        self.assertIn("transposed", osteon("inspect", ROOT / "test/golden/torch/mixed.pth").stdout)

    def test_file_conversion(self):
        start, there, back = ROOT / "test/golden/torch/mixed.pth", self.folder / "there.safetensors", self.folder / "back.pth"
        osteon("convert", "--file", start, "--out", there)
        osteon("convert", "--file", there, "--out", back)
        again = self.folder / "again.safetensors"
        osteon("convert", "--file", back, "--out", again)
        self.assertEqual(there.read_bytes(), again.read_bytes())
        self.refused("convert", "--file", start, "--out", self.folder / "x.bin", says=["--out: expected a name that ends in .pth"])
        self.refused("convert", "--file", start, "--to", "lora", "--out", back, says=["--file: expected only --out beside it"])
        self.refused("convert", "--out", back, says=["convert: expected --model, --adapter and --to, or --file"])

    def finetune(self, *arguments):
        return "finetune", "--model", "synthetic:tiny", "--data", "op", *SMALL, *arguments

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def test_a_device_that_is_not_there(self):
        self.refused("plan", "--model", "synthetic:tiny", "--device", "gpu",
                     says=["device: expected auto, cpu, cuda or cuda:N, got gpu"])
        commands = [self.finetune(), ("plan", "--model", "synthetic:tiny", "--seq-len", 64, "--compare"),
                    ("evaluate", "--model", "synthetic:tiny", "--data", "op")]
        if not BUILT_WITH_CUDA:
            for command in commands:
                self.refused(*command, "--device", "cuda", says=["device: expected auto or cpu", "got cuda"])
        elif not Path("/dev/nvidiactl").exists():
            for command in commands:
                for device in ["cuda", "cuda:1"]:
                    self.refused(*command, "--device", device, says=[NO_GPU])

    @unittest.skipUnless(BUILT_WITH_CUDA and not Path("/dev/nvidiactl").exists(), "a program with CUDA, and no GPU")
    def test_a_program_with_cuda_runs_where_no_gpu_is(self):
        out = self.folder / "auto"
        osteon(*self.finetune("--device", "auto", "--out", out))
        self.assertEqual(json.loads((out / "environment.json").read_text())["gpu"], "")
        plan = "plan", "--model", "synthetic:tiny", "--seq-len", 64
        self.assertIn("device cuda\n", osteon(*plan, "--device", "cuda").stdout)
        self.assertIn("device cpu\n", osteon(*plan, "--device", "auto").stdout)

    def test_evaluation_during_training_needs_data(self):
        out = self.folder / "no-eval"
        self.refused("finetune", "--model", "synthetic:tiny", "--data", self.data, *SMALL, "--eval-every", 1, "--early-stop", 1,
                     "--out", out, says=["eval_every: expected eval_data"])
        self.assertFalse(out.exists())

    def test_a_method_is_named_with_its_place(self):
        suite = self.file("suite.toml", '[base]\nmodel = "synthetic:tiny"\ndata = "op"\n[axes]\nmethod = ["lorra"]\n')
        self.refused("ablate", suite, says=["suite.toml:5: method: expected one of full", "did you mean 'lora'?"])
        self.refused(*self.finetune("--method", "pisa"), says=["--method: ", "did you mean 'pissa'?"])

    def test_an_adapter_says_what_is_trained(self):
        self.refused(*self.finetune("--adapter", self.adapter, "--rank", 3),
                     says=["rank: expected what the adapter", str(self.adapter), "has, 4, got 3"])
        self.refused(*self.finetune("--adapter", self.adapter, "--set", "method=bone"), says=["has, lora, got bone"])
        out = self.folder / "further"
        osteon(*self.finetune("--adapter", self.adapter, "--rank", 4, "--out", out))
        summary = json.loads((out / "summary.json").read_text())
        self.assertEqual((summary["method"], summary["rank"]), ("lora", 4))
        plan = json.loads(osteon("plan", "--model", "synthetic:tiny", "--adapter", self.adapter, "--seq-len", 64, "--json").stdout)
        self.assertEqual(plan["trainable_parameters"], summary["trainable_parameters"])

    def test_a_pissa_adapter_goes_on_from_its_residual_base(self):
        # In peft's folders the factors belong to the residual model, and so do those that are trained further.
        pissa, out = self.folder / "pissa", self.folder / "pissa-further"
        pissa.mkdir()
        (pissa / "adapter_model.safetensors").write_bytes((self.adapter / "adapter_model.safetensors").read_bytes())
        config = json.loads((self.adapter / "adapter_config.json").read_text())
        (pissa / "adapter_config.json").write_text(json.dumps(dict(config, init_lora_weights="pissa")))
        osteon(*self.finetune("--adapter", pissa, "--lr", "1e-2", "--eval-size", 20, "--out", out))
        again = osteon("evaluate", "--model", "synthetic:tiny", "--adapter", out / "adapter", "--data", "op", "--eval-size", 20,
                       "--batch-size", 2, "--json")
        summary = json.loads((out / "summary.json").read_text())
        self.assertEqual(json.loads(again.stdout)["results"][0]["loss"], summary["evaluation"]["after"]["loss"])
        self.assertNotEqual(summary["evaluation"]["before"]["loss"], summary["evaluation"]["after"]["loss"])

    def test_names_that_mean_nothing(self):
        lora = self.finetune("--method", "lora", "--rank", 4)
        self.refused(*lora, "--target-modules", "q_proj,vproj", says=["target_modules: no linear matches \"vproj\"", "'v_proj'"])
        self.refused(*lora, "--target-modules", "q_proj", "--layers-to-transform", "1,7", says=["expected layers from 0 to 3, got 7"])
        self.refused(*lora, "--target-modules", "q_proj", "--rank-pattern", "v_proj=2", says=["rank_pattern: no adapted linear matches"])
        self.refused(*lora, "--target-modules", ".*(q_proj", says=["target_modules: expected a regular expression"])
        self.assertNotIn("alpha", osteon(*lora, "--alpha", 3).stderr)
        self.assertIn("warning: alpha: the method bone has no such setting",
                      osteon(*self.finetune("--method", "bone", "--alpha", 3)).stderr)

    def test_numbers_out_of_range(self):
        self.refused(*self.finetune("--rank", 0), says=["rank: expected an integer of at least 1, got 0"])
        self.refused(*self.finetune("--method", "bat", "--rank", 48), says=["bat: in_features 128", "got rank 48"])
        self.refused("ablate", "--dry-run", "--jobs", -1, status=2, says=["--jobs", "-1"])
        self.refused("ablate", "--dry-run", "--threads", 0, status=2, says=["--threads", "0"])
        self.refused("ablate", "--dry-run", "--set", "seeds=1,x", says=["--set seeds=1,x: expected whole numbers", '"x"'])
        self.refused("ablate", "--dry-run", "--set", "seeds=3,3", says=["3 comes twice"])
        self.refused("plan", "--model", "synthetic:tiny", "--budget", -5, status=2, says=["--budget", "-5"])
        self.refused("plan", "--model", "synthetic:tiny", "--budget", "x", status=2, says=["--budget", "x not in range 1 to 9223"])
        self.refused("generate", "--model", "synthetic:tiny", "--prompt", "a", "--seed", -1, status=2, says=["--seed", "-1"])

    def test_suites(self):
        self.refused("ablate", "nowhere.toml", says=["nowhere.toml: expected a suite file or the name of an embedded suite"])
        self.refused("ablate", "quickstrat", says=["did you mean 'quickstart'?"])
        (self.folder / "quickstart").mkdir()  # runs of an earlier --out quickstart
        self.assertIn("down-bone", osteon("ablate", "--quick", "--dry-run", cwd=self.folder).stdout)
        self.refused("ablate", self.folder, says=[f"{self.folder}: expected a suite file or the name of an embedded suite"])
        unfair = self.file("unfair.toml", '[base]\nmodel = "synthetic:tiny"\ndata = "op"\n[axes]\nmethod = ["lora", "bone"]\n'
                           '[fairness]\nequal = "parameters"\n')
        self.refused("ablate", unfair, "--dry-run", says=["fairness: expected equal trainable parameters"])

    def test_models_that_are_not_there(self):
        self.refused("plan", "--model", "nowhere", says=["nowhere: expected a model folder with config.json, found nothing"])
        self.refused("plan", "--model", "synthetic:big", says=["synthetic:tiny", "got synthetic:big"])
        self.refused(*self.finetune("--method", "pissa", "--init-weights", "gaussian"),
                     says=["init_lora_weights: expected true, pissa or pissa_niter_<n>, got \"gaussian\""])

    def test_folders_that_are_read_are_not_written(self):
        model = self.folder / "model"
        shutil.copytree(ROOT / "experiments/base/tiny", model)
        before = (model / "model.safetensors").read_bytes()
        both = ["--model", model, "--adapter", self.adapter, "--out"]
        for command in ["merge", "unload"]:
            self.refused(command, *both, f"{model}/../model/", says=["--out: expected another file or folder than that of --model"])
        self.refused("merge", *both, self.adapter, says=["--out: expected another file or folder than that of --adapter"])
        self.refused("convert", *both, self.adapter, "--to", "lora", says=["expected another file or folder than that of --adapter"])
        self.assertEqual((model / "model.safetensors").read_bytes(), before)
        self.assertFalse((self.adapter / "config.json").exists())

    def test_rows_longer_than_the_model(self):
        long = self.file("long.jsonl", json.dumps({"prompt": "a" * 300, "completion": "b"}) + "\n" +
                         json.dumps({"prompt": "a", "completion": "b" * 300}) + "\n")
        data = ["--model", "synthetic:tiny", "--data", long]
        self.refused("evaluate", *data, says=["long.jsonl:1: expected at most the model's max_position_embeddings = 256",
                                              "got 301 (--truncate cuts them)"])
        cut = osteon("evaluate", *data, "--truncate")
        self.assertIn("1 rows, 255 tokens", cut.stdout)
        self.assertIn("long.jsonl: 2 examples were cut", cut.stderr)
        self.assertIn("warning: " + str(long) + ": 1 examples without a token to be learned were left out", cut.stderr)
        self.refused("finetune", *data[:3], "mixture", "--seq-len", 300, "--steps", 1, "--quiet",
                     says=["mixture: expected rows of at most max_position_embeddings = 256 tokens, got 300"])
        tokens = self.folder / "long.safetensors"
        write_safetensors(tokens, {"input_ids.0": ids(*range(250), *range(50))})
        self.refused("evaluate", *data[:3], tokens, says=["long.safetensors: expected rows of at most", "got 300"])
        write_safetensors(tokens, {"input_ids": ids(*range(250), *range(50))})
        self.refused("forward", *data[:2], "--input", tokens, "--output", self.folder / "no",
                     says=["long.safetensors: input_ids: expected rows of at most max_position_embeddings = 256 tokens, got 300"])
        self.refused("plan", *data[:2], "--seq-len", 300,
                     says=["seq_len: expected at most max_position_embeddings = 256 of synthetic:tiny, got 300"])
        self.refused("finetune", *data, "--batch-size", 10 ** 9, says=["batch_size: expected an integer in [1, 65536]"])

    def test_settings_that_the_data_have_no_use_for(self):
        said = osteon(*self.finetune("--packing", "--template", "alpaca")).stderr
        for key in ["packing", "template"]:
            self.assertIn(f"warning: {key}: the data op has no such setting; ignored", said)
        said = osteon(*self.finetune("--template", "none", "--eval-data", self.data, "--eval-size", 2)).stderr
        self.assertNotIn("template", said)

    def test_data_that_are_not_there(self):
        says = ["donw: expected a file or the name of an embedded task, found neither", "did you mean 'down'?"]
        for command in ["finetune", "evaluate"]:
            self.refused(command, "--model", "synthetic:tiny", "--data", "donw", says=says)
        self.refused(*self.finetune("--eval-data", "donw"), says=says)
        self.refused(*self.finetune("--eval-data", self.folder), says=["expected a file, got a folder"])

    def test_conversions(self):
        bone, out = self.folder / "bone", self.folder / "converted"
        osteon(*self.finetune("--method", "bone", "--rank", 4, "--out", bone))
        both = ["convert", "--model", "synthetic:tiny", "--adapter", bone / "adapter", "--out", out, "--to"]
        self.refused(*both, "lorra", says=["lorra", "did you mean 'lora'?"])
        self.refused(*both, "bat", says=["from bone to bat: no exact conversion; there are: bone -> miss"])
        self.refused(*both, "lora", "--start", self.adapter, says=["--start: expected only with", "got one of bone"])
        self.assertFalse(out.exists())

    def test_adapters_as_files_of_rwkv_peft(self):
        words = ["convert", "--model", "synthetic:tiny", "--adapter", self.adapter, "--out", self.folder / "rwkv-0.pth"]
        self.refused(*words, "--to", "lora", says=["--to: expected none where an adapter becomes RWKV-PEFT's file"])
        self.refused(*words, says=["--model: expected an RWKV file with RWKV-PEFT's adapters, got synthetic:tiny"])
        self.assertFalse((self.folder / "rwkv-0.pth").exists())

    def test_output_that_does_not_arrive(self):
        texts = self.file("texts.jsonl", '{"text": "abc"}\n')
        for words in [["tokenize", "--tokenizer", "byte", "--input", texts], ["inspect", self.adapter, "--json"], ["inspect", self.adapter],
                      ["--version"]]:
            with open("/dev/full", "w") as full:
                done = subprocess.run([OSTEON, *map(str, words)], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("No space left on device", done.stderr)

    def test_evaluate_takes_no_training_options(self):
        self.refused("evaluate", "--model", "synthetic:tiny", "--data", "op", "--steps", 3, status=2, says=["--steps"])

    def test_tokens_of_forward(self):
        source, out = self.folder / "in.safetensors", self.folder / "out.safetensors"

        def refused(tensors, *says):
            write_safetensors(source, tensors)
            self.refused("forward", "--model", "synthetic:tiny", "--input", source, "--output", out, says=[str(source), *says])
            self.assertFalse(out.exists())

        good = ids(1, 2, 3)
        refused({"input_ids": ids(1, 256, 3)}, "input_ids: expected ids in [0, 256), got 256 at 1")
        refused({"input_ids": ids(1, -1, 3)}, "got -1 at 1")
        refused({"input_ids": good, "labels": ids(1, -7, 3)}, "labels: expected ids in [0, 256) or -100, got -7 at 1")
        refused({"input_ids": good, "labels": ids(1, -100, -100)}, "labels: expected at least one")
        refused({"input_ids": good, "labels": ids(1, 2)}, "labels: expected [1, 3], got [1, 2]")

    def test_lines_of_tokenize(self):
        def refused(text, *says):
            path = self.file("lines.jsonl", '{"ids": [65]}\n' + text)
            self.refused("tokenize", "--tokenizer", "byte", "--input", path, "--decode", says=["lines.jsonl:2", *says])

        for wrong in ["1.5", "256", "-1", "99999999999", '"a"', "true"]:
            refused(f'{{"ids": [{wrong}]}}', "expected ids in [0, 256), got " + wrong)
        refused('{"ids": 3}', "expected a list of ids, got 3")
        refused('{"ids"', "expected a JSON object")
        refused('{"text": "a"}', '"ids": missing')
        self.refused("tokenize", "--tokenizer", "byte", "--input", self.folder, says=["expected a file, got a folder"])


if __name__ == "__main__":
    unittest.main()
