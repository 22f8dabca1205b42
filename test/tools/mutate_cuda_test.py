"""tools/mutate_cuda.py on small texts made for the purpose."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
import mutate_cuda

KERNEL = """template <class T>
__global__ void kernel(std::int64_t rows, Global<const T> x) {
  for (std::int64_t row = first; row < rows; row += step) {
    x[row] = static_cast<T>(1);
    __syncthreads();  // why
    if (row + 1 < rows && x[row] < T(2))
      return;
  }
  for (int k = 0; k < 4; ++k)  // mutant: the same
    ++k;
}

void host(std::int64_t rows) {
  for (std::int64_t row = 0; row < rows; ++row)
    launch(row);
}
"""


class MutateCuda(unittest.TestCase):
    def test_barriers_go_and_bounds_widen_in_code_for_the_device_only(self):
        found = [(number, after.strip()) for number, _, after in mutate_cuda.mutants(KERNEL)]
        self.assertEqual(found, [
            (3, "for (std::int64_t row = first; row <= rows; row += step) {"),
            (5, ";"),
            (6, "if (row + 1 <= rows && x[row] < T(2))"),
            (6, "if (row + 1 < rows && x[row] <= T(2))"),
        ])

    def test_every_kernel_file_has_mutants(self):
        texts = {file.name: file.read_text(encoding="utf-8") for file in mutate_cuda.FOLDER.glob("*.cu")}
        self.assertGreaterEqual(len(texts), 10)
        for name, text in texts.items():   # others leave their loops to a header, which has
            if "__global__" in text:
                self.assertTrue(list(mutate_cuda.mutants(text)), name)
        for name in mutate_cuda.USERS:
            self.assertTrue(list(mutate_cuda.mutants((mutate_cuda.FOLDER / name).read_text(encoding="utf-8"))), name)


if __name__ == "__main__":
    unittest.main()
