"""tools/cuda_budget.py on small texts made for the purpose."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
import cuda_budget

LOG = """ptxas info    : 11 bytes gmem
ptxas info    : Compiling entry function '_ZN6osteon4cuda10map_kernelILi4EEEvl' for 'sm_80'
ptxas info    : Function properties for _ZN6osteon4cuda10map_kernelILi4EEEvl
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN6osteon4cuda10map_kernelILi1EEEvl' for 'sm_90'
ptxas info    : Function properties for _ZN6osteon4cuda10map_kernelILi1EEEvl
    8 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 4224 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN6osteon7kernels12_GLOBAL__N_115rms_norm_kernelIfEEvl' for 'sm_80'
ptxas info    : Function properties for _ZN6osteon7kernels12_GLOBAL__N_115rms_norm_kernelIfEEvl
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, used 1 barriers, 128 bytes smem, 416 bytes cmem[0]
"""


class CudaBudget(unittest.TestCase):
    def test_the_highest_of_all_instances_counts(self):
        self.assertEqual(cuda_budget.highest([LOG]), {"map_kernel": (40, 20, 4224), "rms_norm_kernel": (28, 0, 128)})

    def test_names_lose_namespaces_and_parameters(self):
        names = cuda_budget.kernel_names(["_ZN6osteon7kernels12_GLOBAL__N_115rms_norm_kernelIfEEvl"])
        self.assertEqual(list(names.values()), ["rms_norm_kernel"])

    def test_what_is_over_missing_or_gone_is_named(self):
        kernels = {"a": (40, 0, 0), "b": (10, 4, 0)}
        self.assertEqual(list(cuda_budget.faults(kernels, {"a": (40, 0, 0), "b": (10, 4, 0)})), [])
        budget = cuda_budget.read_budget("# a comment\na 39 0 0\nc 1 0 0\n")
        self.assertEqual(list(cuda_budget.faults(kernels, budget)),
                         ["a: 40 registers, budget 39", "b: has no budget", "c: has a budget, but is not compiled"])


if __name__ == "__main__":
    unittest.main()
