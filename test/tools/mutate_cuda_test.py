"""tools/mutate_cuda.py on small texts made for the purpose."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
import mutate_cuda

KERNEL = """template <class T>
__global__ void kernel(std::int64_t rows, Global<const T> x) {
  OSTEON_SHARED(T, tile, 2 * kTile);
  for (std::int64_t row = first; row < rows; row += step) {
    x[row] = static_cast<T>(1);
    __syncthreads();  // why
    if (row + 1 <= rows && x[2 * row] < T(2))
      return;
  }
  for (int k = 0; k < 4; ++k)  // mutant: the same
    k -= x[k] * k;  // mutant sum: the same
  k = k - x[k] * k;  // mutant product: the same
}

void host(std::int64_t rows) {
  for (std::int64_t row = 0; row < rows; ++row)
    launch(row);
}
"""

PROGRAM = """
void __syncthreads() { puts("barrier"); }
__global__ int kernel(int rows) {
  int sum = 0;
  for (int row = 0; row < rows; ++row)
    sum += row * 3;
  __syncthreads();
  return sum - 1;
}
int main() { printf("%d\\n", kernel(3)); }
"""


class MutateCuda(unittest.TestCase):
    def test_code_for_the_device_is_broken_where_it_is_not_said_to_be_harmless(self):
        found = [(number, kind, after) for number, kind, _, after in mutate_cuda.Mutants(KERNEL).described()]
        self.assertEqual(found, [
            (4, "bound", "for (std::int64_t row = first; row < 1 + rows; row += step) {"),
            (6, "barrier", ";  // why"),
            (7, "sum", "if (row + -1 <= rows && x[2 * row] < T(2))"),
            (7, "bound", "if (row + 1 <= 1 + rows && x[2 * row] < T(2))"),
            (7, "product", "if (row + 1 <= rows && x[2 * 2 * row] < T(2))"),
            (7, "bound", "if (row + 1 <= rows && x[2 * row] < 1 + T(2))"),
            (11, "product", "k -= x[k] * 2 * k;  // mutant sum: the same"),
            (12, "sum", "k = k - -x[k] * k;  // mutant product: the same"),
        ])

    def test_one_copy_has_all_mutants_behind_a_switch(self):
        mutants = mutate_cuda.Mutants(PROGRAM)
        self.assertEqual([kind for _, kind, _, _ in mutants.described()], ["bound", "sum", "product", "barrier", "sum"])
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "copy.cpp").write_text("#include <cstdio>\n#define __global__\n" + mutants.text())
            subprocess.run(["c++", folder / "copy.cpp", "-std=c++20", "-o", folder / "copy"], check=True)
            said = [subprocess.run([folder / "copy"], capture_output=True, text=True, check=True,
                                   env=dict(os.environ, OSTEON_MUTANT=str(place))).stdout.split() for place in range(6)]
        self.assertEqual(said, [["barrier", "8"], ["barrier", "17"], ["barrier", "-10"], ["barrier", "17"], ["8"], ["barrier", "10"]])

    def test_lines_that_do_not_compile_broken_are_left_out(self):
        self.assertEqual({number for number, _, _, _ in mutate_cuda.Mutants(PROGRAM, {5, 7}).described()}, {6, 8})

    def test_every_kernel_file_has_mutants(self):
        files = {*mutate_cuda.FOLDER.glob("*.cu"), *map(mutate_cuda.FOLDER.joinpath, mutate_cuda.USERS)}
        self.assertGreaterEqual(len(files), 30)
        for file in files:
            self.assertTrue(mutate_cuda.Mutants(file.read_text(encoding="utf-8")).places, file.name)


if __name__ == "__main__":
    unittest.main()
