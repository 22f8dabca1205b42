"""tools/check_layers.py on small trees made for the purpose."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "check_layers.py"


class CheckLayers(unittest.TestCase):
    def run_on(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return subprocess.run([sys.executable, TOOL, folder], capture_output=True, text=True)

    def assert_fault(self, name, text, *expected):
        result = self.run_on({"backends/ok.hpp": "#include <vector>\n", name: text})
        self.assertEqual(result.returncode, 1, result.stdout)
        for part in expected:
            self.assertIn(part, result.stderr)

    def test_downward_includes_pass_and_lines_are_counted(self):
        result = self.run_on({
            "backends/shape.hpp": "#include <vector>\nint a;\n",
            "autograd/tensor.hpp": '#include "backends/shape.hpp"\n',
            "nn/io/file.cpp": '#include "nn/io/file.hpp"\n#include "backends/shape.hpp"\n',
            "experiments/main.cpp": '#include "peft/adapter.hpp"\n',
            "test/nn/file_test.cpp": '#include "experiments/main.hpp"\n#include "test/op_cases.hpp"\n',
            "bench/nn.cpp": '#include "nn/llama.hpp"\n',
        })
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"backends +1 files +2 lines")
        self.assertRegex(result.stdout, r"nn +1 files +2 lines")
        self.assertRegex(result.stdout, r"all +6 files +9 lines")

    def test_every_upward_include_is_found(self):
        layers = ["backends", "autograd", "nn", "peft", "experiments"]
        for low in range(len(layers)):
            for high in range(low + 1, len(layers)):
                with self.subTest(low=layers[low], high=layers[high]):
                    self.assert_fault(f"{layers[low]}/deep/a.cpp", f'\n#include "{layers[high]}/b.hpp"\n',
                                      f"{layers[low]}/deep/a.cpp:2:", f"must not include {layers[high]}")

    def test_unusual_spellings_are_found(self):
        for text in ('#include <peft/a.hpp>\n', ' # include\t"peft/a.hpp" // why\n', '#include"peft/a.hpp"\n'):
            with self.subTest(text=text):
                self.assert_fault("nn/a.hpp", text, "nn must not include peft")

    def test_cuda_sources_are_read_too(self):
        self.assert_fault("backends/cuda/a.cu", '#include "autograd/tensor.hpp"\n', "must not include autograd")

    def test_product_code_does_not_include_tests_or_benchmarks(self):
        self.assert_fault("nn/a.cpp", '#include "test/op_cases.hpp"\n', "must not include test")
        self.assert_fault("nn/a.cpp", '#include "bench/shapes.hpp"\n', "must not include bench")

    def test_paths_are_from_the_root(self):
        self.assert_fault("nn/a.cpp", '#include "../peft/a.hpp"\n', "path from the root")
        self.assert_fault("nn/a.cpp", '#include "a.hpp"\n', "path from the root")

    def test_one_device_stays_inside_backends(self):
        self.assert_fault("autograd/a.cpp", '#include "backends/cpu/gemm.hpp"\n', "only backends")
        result = self.run_on({"test/backends/simd_test.cpp": '#include "backends/cpu/simd.hpp"\n'})
        self.assertEqual(result.returncode, 0, result.stderr)   # tests may look inside

    def test_a_tree_without_sources_is_an_error(self):
        result = self.run_on({"README.md": "nothing\n"})
        self.assertEqual(result.returncode, 1)
        self.assertIn("found none", result.stderr)

    def test_this_repository_passes(self):
        result = subprocess.run([sys.executable, TOOL], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    unittest.main()
