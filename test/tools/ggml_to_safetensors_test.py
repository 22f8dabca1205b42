"""tools/ggml_to_safetensors.py: names, shapes and values from a file made here, and what it refuses."""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/ggml_to_safetensors.py"
F32, F16, Q5_1 = 0, 1, 8


def tensor(name, shape, data, dtype=F32):
    key = name.encode()
    return struct.pack(f"<3i{len(shape)}i", len(shape), len(key), dtype, *reversed(shape)) + key + data


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def container(*tensors, magic=0x67676D66, version=101, sizes=(2, 2, 1)):
    return struct.pack("<6i", magic, version, *sizes, F32) + b"".join(tensors)


EMB = tensor("emb.weight", (2, 2), floats(1, 2, 3, 4))
SEVEN = tensor("blocks.0.att.r_k", (1, 2), floats(5, 6))
SIX = tensor("blocks.0.att.time_maa_x", (2,), floats(5, 6))


class GgmlToSafetensors(unittest.TestCase):
    def convert(self, data):
        """Status, what was said, and the tensors: name -> (shape, values)."""
        with tempfile.TemporaryDirectory() as folder:
            source, target = pathlib.Path(folder, "model.bin"), pathlib.Path(folder, "model.safetensors")
            source.write_bytes(data)
            done = subprocess.run([sys.executable, TOOL, source, target], capture_output=True, text=True, check=False)
            self.assertEqual(target.exists(), done.returncode == 0)
            self.assertEqual(len(list(pathlib.Path(folder).iterdir())), 2 - done.returncode)
            if done.returncode:
                return done.returncode, done.stderr.replace(folder + "/", ""), {}
            content = target.read_bytes()
        size, = struct.unpack_from("<Q", content)
        self.assertEqual(size % 8, 0)
        tensors = {}
        for name, info in json.loads(content[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = info["data_offsets"]
                self.assertEqual(info["dtype"], "F32")
                tensors[name] = info["shape"], list(struct.unpack(f"<{(end - begin) // 4}f", content[8 + size + begin:8 + size + end]))
        return 0, done.stdout, tensors

    def refused(self, data, message):
        status, said, _ = self.convert(data)
        self.assertEqual(status, 1)
        self.assertEqual(said, f"error: model.bin: {message}\n")

    def test_rwkv7_gets_the_published_names_and_shapes(self):
        mixes = tensor("blocks.0.att.x_rwkvag", (6, 1, 2), floats(*range(12)))
        w1 = tensor("blocks.0.att.w1", (3, 2), floats(1, 2, 3, 4, 5, 6))
        w0 = tensor("blocks.0.att.w0", (1, 1, 2), floats(7, 8))
        key = tensor("blocks.0.ffn.key.weight", (3, 2), floats(1, 2, 3, 4, 5, 6))
        status, said, tensors = self.convert(container(EMB, SEVEN, mixes, w1, w0, key))
        self.assertEqual((status, said), (0, "11 tensors, 32 parameters\n"))
        self.assertEqual(tensors["emb.weight"], ([2, 2], [1, 2, 3, 4]))
        self.assertEqual(tensors["blocks.0.att.r_k"], ([1, 2], [5, 6]))
        for i, mix in enumerate("rwkvag"):
            self.assertEqual(tensors[f"blocks.0.att.x_{mix}"], ([1, 1, 2], [2 * i, 2 * i + 1]))
        self.assertEqual(tensors["blocks.0.att.w1"], ([2, 3], [1, 3, 5, 2, 4, 6]))
        self.assertEqual(tensors["blocks.0.att.w0"], ([1, 1, 2], [7, 8]))
        self.assertEqual(tensors["blocks.0.ffn.key.weight"], ([3, 2], [1, 2, 3, 4, 5, 6]))

    def test_rwkv6_gets_the_published_shapes(self):
        w2 = tensor("blocks.0.att.time_maa_w2", (2, 3, 2), floats(*range(12)))
        decay = tensor("blocks.0.att.time_decay", (2, 1, 1), floats(7, 8))
        bonus = tensor("blocks.0.att.time_faaaa", (2, 1, 1), floats(9, 10))
        _, _, tensors = self.convert(container(EMB, SIX, w2, decay, bonus))
        self.assertEqual(tensors["blocks.0.att.time_maa_x"], ([1, 1, 2], [5, 6]))
        self.assertEqual(tensors["blocks.0.att.time_maa_w2"], ([2, 2, 3], [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]))
        self.assertEqual(tensors["blocks.0.att.time_decay"], ([1, 1, 2], [7, 8]))
        self.assertEqual(tensors["blocks.0.att.time_faaaa"], ([2, 1], [9, 10]))

    def test_f16_and_q5_1_become_f32(self):
        half = tensor("head.weight", (1, 2), struct.pack("<2e", 0.5, -3), F16)
        numbers = [(7 * i + 3) % 32 for i in range(32)]
        fifth = sum((q >> 4) << i for i, q in enumerate(numbers))
        quants = bytes((numbers[j] & 15) | (numbers[j + 16] & 15) << 4 for j in range(16))
        block = struct.pack("<eeI", 0.25, -2, fifth) + quants
        quantised = tensor("blocks.0.ffn.key.weight", (2, 32), block + struct.pack("<eeI16x", 1, 0.5, 0), Q5_1)
        _, _, tensors = self.convert(container(EMB, SEVEN, half, quantised))
        self.assertEqual(tensors["head.weight"], ([1, 2], [0.5, -3]))
        self.assertEqual(tensors["blocks.0.ffn.key.weight"], ([2, 32], [q / 4 - 2 for q in numbers] + [0.5] * 32))

    def test_other_versions_are_refused(self):
        self.refused(container(EMB, SEVEN, magic=0x46554747), "expected rwkv.cpp's magic number 0x67676d66, got 0x46554747")
        self.refused(container(EMB, SEVEN, version=100), "expected version 101 of the format, got 100")
        self.refused(container(EMB, tensor("blocks.0.att.time_decay", (1, 2, 1), floats(1, 2))),
                     "expected a model of RWKV-7 (blocks.0.att.r_k) or RWKV-6 (blocks.0.att.time_maa_x), got neither: other "
                     "versions are not converted")
        self.refused(container(EMB, SEVEN, tensor("head.weight", (1, 32), b"\0" * 22, 7)),
                     "head.weight: expected F32, F16 or Q5_1, got Q5_0")

    def test_broken_files_are_refused(self):
        whole = container(EMB, SEVEN)
        self.refused(b"", "the header: expected 24 bytes at offset 0, the file has 0 more")
        self.refused(whole[:-1], "blocks.0.att.r_k: expected 8 bytes at offset 106, the file has 7 more")
        self.refused(container(EMB, EMB), "emb.weight: comes twice")
        self.refused(container(SEVEN), "expected a tensor emb.weight, got none")
        self.refused(container(EMB, SEVEN, sizes=(3, 2, 1)), "emb.weight: expected [3, 2] as the header says, got [2, 2]")
        self.refused(container(EMB, SEVEN, sizes=(2, 2, 2)), "expected 2 layers as the header says, got 1")
        self.refused(container(EMB, tensor("x", (-1,), b"")), "x: expected positive dimensions, got [-1]")
        self.refused(container(EMB, struct.pack("<3i", 9, 1, 0)),
                     "a tensor's header: expected 1 to 4 dimensions before offset 82, got 9")
        self.refused(container(EMB, SEVEN, tensor("blocks.0.att.w1", (2,), floats(1, 2))),
                     "blocks.0.att.w1: expected a matrix, got [2]")
        self.refused(container(EMB, SEVEN, tensor("head.weight", (1, 2), b"", Q5_1)),
                     "head.weight: expected rows of a multiple of 32 elements for Q5_1, got 2")


if __name__ == "__main__":
    unittest.main()
