"""tools/run_on_gpu.sh without a GPU: what it asks for, builds and reports, with stand-ins for the tools around it."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

NVIDIA_SMI = """#!/bin/bash
case $1 in
  *=name*) echo "NVIDIA Test 100" ;;
  *=driver_version*) echo 999.1 ;;
  *=compute_cap*) echo 9.0 ;;
esac
"""
NVCC = "#!/bin/bash\necho 'Cuda compilation tools, release 13.0, V13.0.48'\n"
# Instead of building: the program is what the test wants it to be.
MAKE = """#!/bin/bash
printf '%s\\n' "$@"
mkdir -p build-gpu
for word; do
  case $word in
    build-gpu/test_*) cp "$PROGRAM" "$word" ;;
    build-gpu/bench_*) cp "$BENCH" "$word" ;;
  esac
done
exit "${MAKE_STATUS:-0}"
"""
SANITIZER = '#!/bin/bash\necho "ran $2"\n[ "$2" != "$FAULTY" ] || exit 9\n"${@:5}"\n'
GOOD = "#!/bin/bash\necho '[doctest] test cases:   85 |   85 passed | 0 failed | 0 skipped'\n"
BAD = "#!/bin/bash\necho '[doctest] test cases:   85 |   84 passed | 1 failed | 0 skipped'\nexit 1\n"
BENCH = "#!/bin/bash\necho \"$(basename $0) $*\"\n[ \"$(basename $0)\" != \"$FAULTY\" ]\n"
# Instead of an interpreter with PyTorch: "-c" asks whether it has it.
PYTHON = "#!/bin/bash\n[ \"$1\" = -c ] && exit \"${NO_TORCH:-0}\"\necho \"compared $*\"\n"
NO_GPU = "#!/bin/bash\necho 'no GPU or no driver found' >&2\nexit 77\n"


class RunOnGpu(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        tree, self.tools = self.folder / "tree", self.folder / "bin"
        self.tools.mkdir()
        (tree / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools/run_on_gpu.sh", tree / "tools")
        for file in ("include/doctest/doctest.h", "include/Eigen/Core", "include/nlohmann/json.hpp", "include/benchmark/benchmark.h",
                     "lib/libbenchmark.so.1"):
            (tree / "build-gpu" / file).parent.mkdir(parents=True, exist_ok=True)
            (tree / "build-gpu" / file).touch()
        (tree / "build-gpu/commit").write_text("abc1234\n", encoding="utf-8")
        self.tree = tree
        for name, text in {"nvidia-smi": NVIDIA_SMI, "nvcc": NVCC, "make": MAKE, "compute-sanitizer": SANITIZER}.items():
            self.program(name, text)

    def program(self, name, text):
        path = self.tools / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def run_script(self, *arguments, program=GOOD, **environment):
        environment = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}", "NVCC": str(self.tools / "nvcc"),
                       "GIT_CEILING_DIRECTORIES": str(self.folder), "PROGRAM": self.program("test_cuda", program),
                       "BENCH": self.program("bench", BENCH),
                       **environment}
        return subprocess.run([self.tree / "tools/run_on_gpu.sh", "--output", self.folder / "results", "--python",
                               self.program("python", PYTHON), *arguments],
                              env=environment, capture_output=True, text=True, check=False)

    def result(self, name):
        return (self.folder / "results" / name).read_text(encoding="utf-8")

    def test_a_good_run_is_one_row_of_the_table(self):
        run = self.run_script()
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(self.result("summary.txt"), r"^\| \d{4}-\d\d-\d\d \| abc1234 \| NVIDIA Test 100, driver 999.1, CUDA 13.0 "
                                                     r"(\| good: 85, 85 passed, 0 failed, 0 skipped ){3}(\| good ){4}\|\n$")
        self.assertEqual(run.stdout, self.result("summary.txt"))
        for kind in ("memcheck", "racecheck", "initcheck", "synccheck"):
            self.assertIn(f"ran {kind}", self.result(f"{kind}.txt"))
        self.assertIn("gpu: NVIDIA Test 100\n", self.result("environment.txt"))
        self.assertIn("ARCH=sm_90", self.result("build.txt"))

    def test_benchmarks_and_comparison_leave_their_files(self):
        run = self.run_script("--shapes", "small")
        self.assertEqual(run.returncode, 0, run.stderr)
        for name in ("machine", "ops", "wkv", "gemm", "adapters", "step"):
            self.assertIn(f"bench_{name} --device=cuda --benchmark_format=json", self.result(f"bench_{name}.json"))
        self.assertIn("--batches=4x1024", self.result("bench_step.json"))
        self.assertIn("compared tools/compare_torch_gpu.py --bench build-gpu", self.result("comparison.txt"))
        self.assertIn("--shapes small", self.result("comparison.txt"))
        self.assertIn("BENCHMARK=build-gpu/lib/libbenchmark.so.1", self.result("build.txt"))
        self.assertEqual(self.run_script(FAULTY="bench_ops").returncode, 1)

    def test_what_is_missing_or_left_out_is_not_run(self):
        run = self.run_script("--skip", "benchmarks,memcheck", NO_TORCH="1")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("has no torch, transformers and peft", run.stderr)
        self.assertFalse(list((self.folder / "results").glob("bench_*")))
        (self.tree / "build-gpu/include/benchmark/benchmark.h").unlink()
        if not list(pathlib.Path("/usr").glob("*include/benchmark")):
            self.assertIn("Google Benchmark not found", self.run_script().stderr)

    def test_failures_are_told_apart(self):
        run = self.run_script(program=BAD)
        self.assertEqual(run.returncode, 1)
        self.assertIn("| FAILED (1): 85, 84 passed, 1 failed", self.result("summary.txt"))
        run = self.run_script(FAULTY="racecheck")
        self.assertEqual(run.returncode, 1)
        self.assertRegex(self.result("summary.txt"), r"\| good: .* \| good \| FAILED \(9\) \| good \| good \|$")

    def test_what_does_not_end_is_stopped(self):
        run = self.run_script("--limit", "1", "--skip", "memcheck,racecheck,initcheck,synccheck,benchmarks,comparison", program="#!/bin/bash\nsleep 30\n")
        self.assertEqual(run.returncode, 1)
        self.assertIn("| not done after 1 s:", self.result("summary.txt"))

    def test_sanitizers_can_be_chosen_or_missing(self):
        self.run_script("--skip", "racecheck,initcheck")
        self.assertRegex(self.result("summary.txt"), r"\| good \| left out \| left out \| good \|$")
        (self.tools / "compute-sanitizer").unlink()
        self.assertEqual(self.run_script("--skip", "initcheck").returncode, 0)
        self.assertRegex(self.result("summary.txt"), r"\| not installed \| not installed \| left out \| not installed \|$")

    def test_no_gpu_is_77_and_a_failed_build_1(self):
        run = self.run_script(program=NO_GPU)
        self.assertEqual(run.returncode, 77)
        self.assertIn("no GPU or no driver found", run.stderr)
        self.assertFalse((self.folder / "results/summary.txt").exists())
        run = self.run_script(MAKE_STATUS="2")
        self.assertEqual(run.returncode, 1)
        self.assertIn("the build failed", run.stderr)

    def test_wrong_usage_and_missing_tools_are_named(self):
        for arguments, words in ((["--fast"], "unknown option --fast"), (["--limit", "soon"], "expected seconds, got soon"),
                                 (["--skip", "valgrind"], "got valgrind"), (["--limit"], "--limit: expected a value")):
            run = self.run_script(*arguments)
            self.assertEqual(run.returncode, 2, arguments)
            self.assertIn(words, run.stderr)
        run = self.run_script(NVCC="/nowhere/nvcc")
        self.assertEqual(run.returncode, 3)
        self.assertIn("/nowhere/nvcc: not found", run.stderr)

    def test_the_makefile_builds_every_file_of_the_device_and_its_tests(self):
        said = subprocess.run(["make", "-n", "-f", "tools/run_on_gpu.mk", "NVCC=nvcc", "ARCH=sm_80",
                               f"BUILD={self.folder}/build", "BENCHMARK=libbenchmark.so",
                               *(f"{self.folder}/build/{name}" for name in ("test_cuda", "test_autograd", "test_peft", "bench_step"))],
                              cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for folder in ("backends/cuda", "backends/cpu", "backends", "autograd/ops", "nn/io", "peft"):
            for file in (ROOT / folder).glob("*.c*"):
                if file.name != "gemm_onednn.cpp":
                    self.assertIn(f" {file.relative_to(ROOT)} ", said)
        for kernel in (ROOT / "backends/cuda").glob("*.cu"):
            if (test := ROOT / f"test/backends/{kernel.stem}_test.cpp").exists():
                self.assertIn(f" -DOSTEON_TEST_CUDA -c {test.relative_to(ROOT)} ", said)
        self.assertIn(" -c test/autograd/gradient_test.cpp ", said)
        self.assertIn(" -c test/peft/golden_test.cpp ", said)
        for exact in (r"-ffp-contract=off -c backends/cpu/adamw.cpp", r"--fmad=false -c backends/cuda/adamw.cu"):
            self.assertIn(exact, said)


if __name__ == "__main__":
    unittest.main()
