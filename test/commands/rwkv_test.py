"""RWKV models through the osteon program: docs/rwkv.md run as it stands there, and in a Llama folder's place. OSTEON names
the program."""
import json
import shutil
import struct
import tempfile
import unittest
from pathlib import Path

from program import ROOT, ProgramTest, blocks, osteon, read_safetensors, shell, write_safetensors

TOKENIZER = "rwkv_vocab_v20230424.txt"


class RwkvPage(unittest.TestCase):
    """The page's commands, one behind the other, on a model that one of them draws."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        (cls.folder / "new").mkdir()
        (cls.folder / "new/config.json").write_text(json.dumps(
            {"model_type": "rwkv7", "vocab_size": 300, "hidden_size": 128, "num_hidden_layers": 2}))
        (cls.folder / TOKENIZER).write_text("".join(f"{byte + 1} {bytes([byte])!r} 1\n" for byte in range(256)))
        for name in ["train", "test", "other"]:
            (cls.folder / f"{name}.jsonl").write_text("".join(f'{{"text": "{i} and {i} is {2 * i}"}}\n' for i in range(8)))
        (drawing,), cls.scripts = [[text for text in blocks("docs/rwkv.md", "sh") if ("osteon pretrain" in text) == draws]
                                   for draws in (True, False)]
        cls.run_here(drawing.replace("--out runs/new", "--steps 1 --warmup-steps 0 --batch-size 2 --out runs/new"))
        shutil.rmtree(cls.folder / "runs/bone")  # of the drawn model's folder; the page has another of this name
        shutil.copy(cls.folder / "runs/new/model/model.pth", cls.folder)
        for method in ["bone", "lora", "pissa"]:  # as RWKV-PEFT would leave them
            cls.run_here(f"osteon finetune --model model.pth --tokenizer {TOKENIZER} --data train.jsonl --method {method} --rank 16 "
                         f"--lr 1e-2 --rwkv-peft --quiet --out runs/{method}16")
            (cls.folder / f"runs/{method}16/rwkv-peft").rename(cls.folder / method)
            (cls.folder / method / "adapter.pth").rename(cls.folder / method / "rwkv-0.pth")
        for script in cls.scripts:
            if script.startswith("osteon "):  # others convert a file that is not here, and fuzz
                cls.run_here(script)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def run_here(cls, commands):
        return shell(commands, cls.folder)

    def facts(self, path):
        return json.loads(self.run_here(f"osteon inspect {path} --json"))

    def loss(self, words):
        said = self.run_here(f"osteon evaluate --tokenizer {TOKENIZER} --data test.jsonl --json --model {words}")
        return json.loads(said)["results"][0]["loss"]

    def test_all_of_it_was_run(self):
        self.assertEqual(len([script for script in self.scripts if not script.startswith("osteon ")]), 2)
        self.assertEqual(self.facts("merged.pth")["model"], self.facts("merged.safetensors")["model"])
        self.assertEqual(self.facts("model.safetensors")["model"]["model_type"], "rwkv7")

    def test_adapter_files_go_both_ways(self):
        plain = self.loss("model.pth")
        for method, adapter in ("lora", "from-rwkv"), ("bone", "back"):
            if method == "bone":
                self.run_here("osteon convert --model model.pth --adapter bone/rwkv-0.pth --out back")
            self.assertNotEqual(self.loss(f"model.pth --adapter {adapter}"), plain)
            self.assertEqual(self.loss(f"model.pth --adapter {adapter}"), self.loss(f"model.pth --adapter runs/{method}16/adapter"))

    def test_inspect_tells_what_an_adapter_has(self):
        bone, state = self.facts("bone/rwkv-0.pth")["adapter"], self.facts("runs/state/rwkv-peft/adapter.pth")["adapter"]
        self.assertEqual((bone["method"], bone["rank"], bone["modules"]), ("bone", 16, 12))
        names = [f"blocks.{layer}.att.time_state" for layer in range(2)]
        self.assertEqual(state, {"method": "state", "full_parameters": names})
        folder = self.facts("runs/state/adapter")["adapter"]
        self.assertEqual((folder["method"], folder["parameters"]), ("state", 2 * 2 * 64 * 64))
        self.assertFalse({"rank", "alpha", "init", "target_modules"} & set(folder))

    def test_what_does_not_fit_is_refused(self):
        def refused(words, message, cwd=self.folder):
            self.assertIn(message, osteon(*words.split(), status=1, cwd=cwd).stderr)
        train = f"--tokenizer {TOKENIZER} --data train.jsonl --out refused"
        refused("finetune --model model.pth --data train.jsonl --method bone --out refused", "model.pth: a model without tokenizer")
        refused(f"finetune --model bone/rwkv-0.pth --method bone {train}", "expected blocks.0.att.r_k (RWKV-7)")
        refused(f"finetune --model model.pth --method bone --packing {train}", "packing: expected false with the RWKV model")
        refused(f"finetune --model model.pth --method dora --rwkv-peft {train}", "rwkv-peft: method: its files hold adapters of lora")
        refused("finetune --model synthetic:tiny --data op --method state --out refused", "state: expected an RWKV model")
        refused(f"evaluate --model model.pth --tokenizer {TOKENIZER} --adapter lora/rwkv-0.pth --data test.jsonl",
                "lora/rwkv-0.pth: expected an adapter's folder, found a file; of a file of RWKV-PEFT's `osteon convert")
        refused("merge --kind bone --base model.pth --adapter lora/rwkv-0.pth --out refused.pth", "expected the file's own, lora or pissa")
        refused("merge --kind pissa --base model.pth --adapter pissa/rwkv-0.pth --out refused.pth", "--start: expected init_pissa.pth")
        refused("merge --model model.pth --adapter runs/bone/adapter --out model.pth", "--out: expected another file or folder than that")
        (self.folder / "cut.pth").write_bytes((self.folder / "model.pth").read_bytes()[:-100])
        refused("inspect cut.pth", "cut.pth: zip: expected the end of its directory")
        self.assertFalse((self.folder / "refused.pth").exists())

    def test_forward(self):
        ids = "I64", [1, 4], struct.pack("<4q", 65, 66, 67, 68)
        write_safetensors(self.folder / "batch.safetensors", {"input_ids": ids, "labels": ids})
        self.run_here("osteon forward --model model.pth --adapter runs/bone/adapter --input batch.safetensors --output out.safetensors "
                      "--grads")
        tensors = read_safetensors(self.folder / "out.safetensors")
        self.assertEqual(tensors["logits"][0]["shape"], [1, 4, 300])
        gradients = [name for name in tensors if name.startswith("grad.")]
        self.assertEqual(len(gradients), 12)
        self.assertTrue(all(any(tensors[name][1]) for name in gradients))

    def test_a_suite_of_files(self):
        (self.folder / "suite.toml").write_text(f"""question = "Does a suite take files?"
seeds = [1]
[base]
tokenizer = "{TOKENIZER}"
data = "train.jsonl"
eval_data = "test.jsonl"
steps = 1
batch_size = 2
[axes]
model = ["model.pth", "merged.pth"]
method = ["bone", "state"]
""")
        self.run_here("osteon ablate suite.toml --quiet --out runs/suite")
        summaries = [json.loads(path.read_text()) for path in (self.folder / "runs/suite").rglob("summary.json")]
        self.assertEqual([summary["completed"] for summary in summaries], [True] * 4)


class Rwkv(ProgramTest):
    def test_generate_takes_an_rwkv_file(self):
        sums = self.folder / "sums.jsonl"
        sums.write_text("".join(json.dumps({"text": f"{n} + {n} = {2 * n}"}) + "\n" for n in range(8)))
        for version in ["rwkv7", "rwkv6"]:
            model = ROOT / "test/golden/rwkv" / version / "model.safetensors"  # 96 ids: bytes below the lower case
            words = ["--model", model, "--tokenizer", "byte", "--prompt", "1 + 1 = ", "--max-new-tokens", 12, "--json"]
            said = json.loads(osteon("generate", *words).stdout)
            self.assertEqual(len(said["ids"]), 12)
            out = self.folder / version
            osteon("finetune", *words[:4], "--data", sums, "--seq-len", 32, "--method", "bone", "--rank", 8, "--steps", 2,
                   "--lr", "0.1", "--batch-size", 2, "--accumulate", 1, "--out", out, "--quiet")
            adapted = json.loads(osteon("generate", *words, "--adapter", out / "adapter").stdout)
            self.assertEqual(len(adapted["ids"]), 12)
            self.assertNotEqual(adapted["ids"], said["ids"])

    def test_rwkv_models_stand_where_a_llama_folder_does(self):
        for version, parameters in (7, 984960), (6, 1155584):
            base, out = f"synthetic:tiny-rwkv{version}", self.folder / f"tiny{version}"
            osteon("finetune", "--model", base, "--data", "op", "--method", "bone", "--rank", 8, "--steps", 4, "--lr", "1e-2",
                   "--batch-size", 4, "--accumulate", 1, "--eval-size", 4, "--out", out, "--quiet")
            with_adapter = ["--adapter", out / "adapter"]

            def loss(*arguments):
                said = osteon("evaluate", "--data", "op", "--eval-size", 20, "--json", "--model", *arguments).stdout
                return json.loads(said)["results"][0]["loss"]
            adapted, plain = loss(base, *with_adapter), loss(base)
            self.assertNotEqual(adapted, plain)
            merged, file, apart = (self.folder / f"{name}{version}" for name in ("merged", "file", "apart"))
            file = file.with_suffix(".pth")
            osteon("merge", "--model", base, *with_adapter, "--out", merged)
            self.assertAlmostEqual(loss(merged), adapted, places=5)
            osteon("merge", "--model", base, *with_adapter, "--out", file)
            self.assertAlmostEqual(loss(file, "--tokenizer", "byte"), adapted, places=5)
            osteon("unload", "--model", base, *with_adapter, "--out", apart)
            self.assertEqual(loss(apart, "--adapter", apart), adapted)
            self.assertEqual(loss(apart), plain)
            taken = self.folder / f"taken{version}.pth"
            taken.mkdir()
            self.assertIn("--out: expected a .pth or safetensors file, got the folder",
                          osteon("merge", "--model", base, *with_adapter, "--out", taken, status=1).stderr)
            facts = [json.loads(osteon("inspect", path, "--json").stdout)["model"] for path in (merged, file, apart)]
            for one in facts:
                self.assertEqual((one["model_type"], one["parameters"], one["layers"]), (f"rwkv{version}", parameters, 4))
            self.assertRegex(osteon("inspect", merged).stdout, r"(?m)^  emb\.weight +F32 +\[256,128\]")
            self.assertEqual(osteon("generate", "--model", base, "--prompt", "37+58=", "--max-new-tokens", 2).stdout, "95\n")


if __name__ == "__main__":
    unittest.main()
