"""A disk that is full while the osteon program saves: the error names the file and the reason, and what was there stays as
it was. A limit on the size of a file is how it looks to a program, and needs no rights. OSTEON names the program."""
import json
import resource
import subprocess
import unittest

from program import OSTEON, ROOT, ProgramTest, files_of, osteon

STEPS = 12


class FullDisk(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.folder / "whole"
        osteon(*cls.run_of(cls.whole))

    @classmethod
    def run_of(cls, out, *flags, method="bone", rank=8, eval_every=6):
        return ["finetune", "--model", "synthetic:tiny", "--data", cls.data, "--template", "none", "--eval-data", cls.data,
                "--eval-size", 8, "--eval-every", eval_every, "--method", method, "--rank", rank, "--steps", STEPS,
                "--batch-size", 2, "--accumulate", 1, "--seq-len", 32, "--lr", "3e-3", "--threads", 1, "--out", out, *flags]

    def fails(self, kilobytes, file, *arguments):
        """The program, which can write files of so many kilobytes, ends with an error that names `file`."""
        limit = kilobytes << 10
        done = subprocess.run([OSTEON, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=300,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f"osteon: {file}: cannot write: File too large", done.stderr)
        self.assertEqual([str(path) for path in self.folder.rglob("*tmp-*")], [])

    def test_a_checkpoint_stays_and_the_run_goes_on_from_it(self):
        out = self.folder / "checkpoint"
        # Weights of 128 KiB fit, the optimiser's state of twice that does not: the checkpoint is half written.
        self.fails(200, out / "checkpoint/optimizer.safetensors", *self.run_of(out, "--save-every", 4))
        self.assertFalse((out / "checkpoint").exists())
        self.assertIn("optimizer.safetensors", json.loads((out / "summary.json").read_text())["error"])
        # A run that was killed after step 7 goes on, and has no room at step 8.
        osteon(*self.run_of(out, "--save-every", 7))
        (out / "summary.json").unlink()
        before = files_of(out / "checkpoint")
        self.fails(200, out / "checkpoint/optimizer.safetensors", *self.run_of(out, "--save-every", 1, "--resume"))
        self.assertTrue(files_of(out / "checkpoint") == before)
        osteon(*self.run_of(out, "--resume"))
        for name in ["adapter/adapter_model.safetensors", "best/adapter/adapter_model.safetensors"]:
            self.assertTrue((out / name).read_bytes() == (self.whole / name).read_bytes(), name)

    def test_the_adapter_and_the_best_one_stay(self):
        out = self.folder / "again"
        osteon(*self.run_of(out))
        (out / "adapter/README.md").write_text("mine")
        before = files_of(out / "adapter"), files_of(out / "best")
        self.fails(100, out / "best/adapter/adapter_model.safetensors", *self.run_of(out))
        self.assertTrue((files_of(out / "adapter"), files_of(out / "best")) == before)
        self.fails(100, out / "adapter/adapter_model.safetensors", *self.run_of(out, eval_every=0))
        self.assertTrue((files_of(out / "adapter"), files_of(out / "best")) == before)
        self.assertFalse(json.loads((out / "summary.json").read_text())["completed"])
        osteon(*self.run_of(out))
        self.assertTrue((files_of(out / "adapter"), files_of(out / "best")) == before)

    def test_outputs_of_other_subcommands_stay_or_do_not_come_to_be(self):
        full = self.folder / "full"
        self.fails(1000, full / "best/model/model.safetensors", *self.run_of(full, method="full", rank=1))
        self.assertFalse((full / "best/model").exists())
        source = ["--model", "synthetic:tiny", "--adapter", self.whole / "adapter"]
        for name, kilobytes, file, more in [("merge", 1000, "model.safetensors", []),
                                            ("unload", 1000, "model.safetensors", []),
                                            ("convert", 100, "adapter_model.safetensors", ["--to", "lora"])]:
            out = self.folder / "outputs" / name
            self.fails(kilobytes, out / file, name, *source, *more, "--out", out)
            self.assertFalse(out.exists())
            osteon(name, *source, *more, "--out", out)
            (out / "README.md").write_text("mine")
            good = files_of(out)
            for path in out.glob("*.json"):
                path.write_text(path.read_text() + "\n")
            before = files_of(out)
            self.fails(kilobytes, out / file, name, *source, *more, "--out", out)
            self.assertTrue(files_of(out) == before)
            osteon(name, *source, *more, "--out", f"{out}/")
            self.assertTrue(files_of(out) == good)


if __name__ == "__main__":
    unittest.main()
