#!/usr/bin/env python3
"""The benchmark programs run, and bench_step's counters are there and make sense. OSTEON_BENCH names the programs, with
colons between; where it is empty they were not built (Google Benchmark is missing) and the tests are skipped."""
import json
import os
import re
import shlex
import subprocess
import unittest
from pathlib import Path

MISSING = "the benchmarks are not built: Google Benchmark (libbenchmark-dev) was not found"
PROGRAMS = {Path(path).name: path for path in os.environ.get("OSTEON_BENCH", "").split(":") if path}
# Of each program something that takes a moment, and a counter that it must have.
QUICK = {
    "bench_adapters": ("^adapter/lora/f32/512x512/r16", "over_frozen"),
    "bench_gemm": ("^BM_gemm_forward/dtype:0/engine:0/m:1024/n:128/k:128", "FLOP"),
    "bench_generate": ("^decode/nano/f32/t32$|^decode/nano/f32/t32/", "tokens_per_second"),
    "bench_init": ("^init/olora/512x512", "peak_bytes"),
    "bench_load": ("^load/nano/f32/bf16", "peak_over_model_bytes"),
    "bench_machine": ("^BM_fma/f32", "FLOP"),
    "bench_merge": ("^merge/bat/f32/1408x512", "bytes_per_second"),
    "bench_ops": ("^BM_add/model:0/dtype:0", "bytes_per_second"),
    "bench_step": ("^step/nano/lora/f32/", "step_seconds"),
    "bench_wkv": ("^BM_wkv7/dtype:0", "bytes_per_second"),
}


def call(name, *words):
    done = subprocess.run([PROGRAMS[name], *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{name} {words}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def results(name, pattern):
    """What the program reports of the benchmarks that match: [{name, counters…}]."""
    report = call(name, f"--benchmark_filter={pattern}", "--benchmark_min_time=0.01", "--benchmark_format=json")
    return json.loads(report)["benchmarks"]


@unittest.skipUnless(PROGRAMS, MISSING)
class BenchTest(unittest.TestCase):
    def test_every_program_lists_its_benchmarks(self):
        for name in PROGRAMS:
            with self.subTest(name):
                self.assertTrue(call(name, "--benchmark_list_tests=true").strip())

    def test_every_program_runs(self):
        for name, (pattern, counter) in QUICK.items():
            with self.subTest(name):
                runs = results(name, pattern)
                self.assertEqual(len(runs), 1, runs)
                self.assertFalse(runs[0].get("error_occurred"), runs[0])
                self.assertIn(counter, runs[0])

    def test_a_device_that_cannot_be_used_is_named(self):
        for name, program in PROGRAMS.items():
            with self.subTest(name):
                done = subprocess.run([program, "--device=gpu"], capture_output=True, text=True)
                self.assertEqual(done.returncode, 2)
                self.assertRegex(done.stderr, f"{name}: device: expected auto, cpu, cuda or cuda:N, got gpu")
                if Path("/dev/nvidiactl").exists():
                    continue
                done = subprocess.run([program, "--device=cuda"], capture_output=True, text=True)
                self.assertEqual(done.returncode, 2)
                self.assertIn("expected an NVIDIA GPU and its driver" if os.environ.get("OSTEON_CUDA") == "1"
                              else "built without CUDA, got cuda", done.stderr)
        self.assertIn("BM_add", call("bench_ops", "--device=cpu", "--benchmark_list_tests=true"))

    def test_only_small_shapes_run_unless_asked(self):
        names = call("bench_step", "--benchmark_list_tests=true").split()
        self.assertEqual({name.split("/")[1] for name in names}, {"nano", "small"})
        all_names = call("bench_step", "--benchmark_list_tests=true", "--benchmark_filter=.").split()
        self.assertEqual(len(all_names), 6 * 6 * 2)
        self.assertIn("step/l7b/bone/bf16/b1/t512", all_names)

    def test_batches_other_than_a_shape_s_own(self):
        names = call("bench_step", "--batches=1x300,2x64", "--benchmark_list_tests=true", "--benchmark_filter=/smol135/bat/")
        self.assertEqual(names.split(), [f"step/smol135/bat/{dtype}/{batch}" for batch in ["b1/t300", "b2/t64"]
                                         for dtype in ["f32", "bf16"]])
        for wrong in ["4", "4x", "0x64", "4x256b", "4x1"]:
            with self.subTest(wrong):
                done = subprocess.run([PROGRAMS["bench_step"], f"--batches=1x2,{wrong}"], capture_output=True, text=True)
                self.assertEqual(done.returncode, 2)
                self.assertIn(f"--batches: expected BATCHxTOKENS,... such as 4x256, found '{wrong}'", done.stderr)

    def test_a_step_has_its_counters(self):
        for method, trainable in {"lora": 32 * 4 * (4 * 512 + 3 * 960), "bone": 64 * 4 * (4 * 256 + 2 * 704 + 256)}.items():
            with self.subTest(method):
                [step] = results("bench_step", f"^step/nano/{method}/f32/")
                self.assertEqual(step["name"], f"step/nano/{method}/f32/b4/t256")
                self.assertEqual(step["trainable_parameters"], trainable)
                self.assertAlmostEqual(step["tokens_per_second"] * step["step_seconds"], 1024, places=6)
                self.assertGreater(step["saved_bytes"], 0)
                self.assertGreater(step["peak_bytes"], step["saved_bytes"])
                if "label" not in step:   # else it says why it is not known
                    self.assertGreater(step["rss_peak_bytes"], step["saved_bytes"])
                # Forward and dx of the base are 4 FLOPs a weight and token.
                weights = 4 * (4 * 256 * 256 + 3 * 256 * 704) + 512 * 256
                self.assertGreater(step["GFLOP"], 4 * weights * 1024 * 0.95e-9)
                self.assertLess(step["GFLOP"], 2 * 4 * weights * 1024e-9)
                # Times of a machine with other work vary: only what no noise explains is an error.
                for share in ("share_of_roof", "share_of_roof_own_rate", "front_share_of_roof"):
                    self.assertGreater(step[share], 0.005, step)
                    self.assertLess(step[share], 2, step)
                self.assertLessEqual(step["front_share_of_roof"], 1 + 1e-9)
                self.assertAlmostEqual(step["roof_seconds"], step["share_of_roof"] * step["step_seconds"])
                self.assertGreater(step["roof_gflops"], 0)
                self.assertGreater(step["roof_adapter_gflops"], 0)

    def test_the_products_of_a_step_are_listed(self):
        done = subprocess.run([PROGRAMS["bench_step"], "--products", "--benchmark_filter=^step/nano/bone/f32/",
                               "--benchmark_min_time=0.01"], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        number = r" +([\d.]+)"
        rows = re.findall(rf"^ +(base|adapter) +(\d+) x (\d+) x (\d+) .*? (\d+){number}{number}{number}{number}  ",
                          done.stderr, re.MULTILINE)
        self.assertIn(("base", "256", "512", "256", "4"), [row[:5] for row in rows])      # logits: 4 chunks of 256 rows
        self.assertIn(("adapter", "64", "704", "1024", "8"), [row[:5] for row in rows])   # dD of gate and up
        self.assertAlmostEqual(sum(float(row[6]) for row in rows), 100, delta=1)

    def test_a_step_without_room_is_skipped_and_says_what_it_needs(self):
        memory = Path("/proc/meminfo").read_text()
        available = int(re.search(r"MemAvailable: +(\d+)", memory)[1])
        if available > 100 << 20:
            self.skipTest("this machine has the 100 GiB that the step needs")
        [step] = results("bench_step", "^step/l7b/full/f32/")
        self.assertTrue(step["error_occurred"])
        self.assertRegex(step["error_message"], r"needs 1\d{5} MiB of memory")

    def test_the_commands_of_the_page_find_benchmarks(self):
        page = (Path(__file__).resolve().parents[2] / "docs/benchmarks.md").read_text()
        (block,) = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        commands = [line for line in block.splitlines() if line.startswith("build/")]
        self.assertGreaterEqual(len(commands), 3)
        for command in commands:
            with self.subTest(command):
                program, *words = shlex.split(command, comments=True)
                self.assertTrue(call(Path(program).name, *words, "--benchmark_list_tests=true").strip())
        self.assertLessEqual(set(re.findall(r"^\| `(bench_\w+)`", page, re.MULTILINE)), set(PROGRAMS))

    def test_loading_holds_no_second_copy(self):
        for run in results("bench_load", "^load/small/(f32|bf16)/bf16"):
            self.assertLess(run["peak_over_model_bytes"], 0.01 * run["model_bytes"], run)


if __name__ == "__main__":
    if not PROGRAMS:
        print(f"{__file__}:1: MESSAGE: {MISSING}")   # in the form that tools/run_tests.py shows
    unittest.main()
