#include "nn/io/torch_file.hpp"

#include <cstring>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/crc32.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/paths.hpp"

using namespace osteon;
using io::TorchFile;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<char>;

template <class File>
Bytes bytes_of(const File& file, const std::string& name) {
  Bytes bytes(static_cast<std::size_t>(file.info(name).end - file.info(name).begin));
  file.read_raw(name, bytes.data());
  return bytes;
}

/// A .pth file around any pickle, with one storage of 16 bytes.
void write_around(const fs::path& path, const std::string& pickle, const std::string& storage = std::string(16, 'x')) {
  io::AtomicFile file(path);
  io::ZipWriter zip(file);
  zip.add("a/data.pkl", pickle);
  zip.add("a/data/0", storage);
  zip.finish();
  file.commit();
}

std::string refusal_of_file(const std::string& content) {
  const TemporaryFolder folder;
  const fs::path path = folder / "bad.pth";
  std::ofstream(path, std::ios::binary) << content;
  const std::string message = message_of([&] { TorchFile{path}; });
  if (message != "no error")
    CHECK(message.starts_with(path.string() + ": "));
  return message;
}

std::string refusal(const std::string& pickle) {
  const TemporaryFolder folder;
  write_around(folder / "bad.pth", pickle);
  return refusal_of_file(io::read_file(folder / "bad.pth"));
}

const std::string kStart = std::string("\x80\x02", 2) + "}";
const std::string kHooks = "ccollections\nOrderedDict\n)R";

std::string text(const std::string& value) {
  return "X" + std::string(1, static_cast<char>(value.size())) + std::string(3, '\0') + value;
}

std::string whole(int value) { return "K" + std::string(1, static_cast<char>(value)); }

std::string storage(int numel, const std::string& key = "0") {
  return "(" + text("storage") + "ctorch\nFloatStorage\n" + text(key) + text("cpu") + whole(numel) + "tQ";
}

/// {"w": a tensor of 2 by `columns` with these strides at `offset` of a storage of 4 f32}
std::string tensor(int columns, int row_stride, int column_stride, int offset = 0,
                   const std::string& held = storage(4)) {
  return kStart + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n(" + held + whole(offset) + whole(2) +
         whole(columns) + "\x86" + whole(row_stride) + whole(column_stride) + "\x86\x89" + kHooks + "tRs.";
}

}  // namespace

TEST_CASE("torch file: crc32 is the standard's, whole or in parts") {
  CHECK(io::crc32(0, "123456789", 9) == 0xCBF43926U);
  const std::string long_text = "the quick brown fox jumps over the lazy dog";
  for (std::size_t cut = 0; cut <= long_text.size(); ++cut)
    CHECK(io::crc32(io::crc32(0, long_text.data(), cut), long_text.data() + cut, long_text.size() - cut) ==
          io::crc32(0, long_text.data(), long_text.size()));
}

TEST_CASE("torch file: every dtype, views and parameters as torch itself gives them") {
  const TorchFile file(test::golden("torch/mixed.pth"));
  const io::SafetensorsFile expected(test::golden("torch/mixed.safetensors"));
  REQUIRE(file.tensors().size() == expected.tensors().size());
  for (const io::TensorEntry& entry : expected.tensors()) {
    CAPTURE(entry.name);
    CHECK(file.info(entry.name).dtype == entry.dtype);
    CHECK(file.info(entry.name).shape == entry.shape);
    CHECK(bytes_of(file, entry.name) == bytes_of(expected, entry.name));
  }
  std::vector<float> half(24), reference(24);
  file.read_into("f16", half.data(), DType::f32);
  expected.read_into("f16", reference.data(), DType::f32);
  CHECK(half == reference);
  CHECK(contains(message_of([&] { file.read_into("f16", half.data(), DType::i32); }), "cannot be read as"));
  CHECK(contains(message_of([&] { file.info("nothing"); }), "no tensor nothing among its 12"));
  CHECK(file.names().front() == "f32");  // the file's own order
}

TEST_CASE("torch file: a state_dict with its metadata") {
  const TorchFile file(test::golden("torch/state_dict.pth"));
  CHECK(file.names() == std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias"});
}

TEST_CASE("torch file: read, written and read again is equal") {
  const TemporaryFolder folder;
  std::vector<fs::path> paths{test::golden("torch/mixed.pth")};
  if (const auto shared = test::shared())
    for (const auto& entry : fs::recursive_directory_iterator(*shared / "golden/rwkv"))
      if (entry.path().extension() == ".pth")
        paths.push_back(entry.path());
  for (const fs::path& path : paths) {
    CAPTURE(path.string());
    const TorchFile file(path);
    std::vector<Bytes> store;
    store.reserve(file.tensors().size());
    std::vector<io::TensorToWrite> tensors;
    for (const io::TensorEntry& entry : file.tensors()) {
      const Bytes& bytes = store.emplace_back(bytes_of(file, entry.name));
      tensors.push_back({entry.name, entry.dtype, entry.shape, [&bytes] { return std::as_bytes(std::span(bytes)); }});
    }
    io::write_torch(folder / "copy.pth", tensors);
    const TorchFile copy(folder / "copy.pth");
    CHECK(copy.names() == file.names());
    for (const io::TensorEntry& entry : file.tensors()) {
      CHECK(copy.info(entry.name).shape == entry.shape);
      CHECK(bytes_of(copy, entry.name) == bytes_of(file, entry.name));
    }
  }
  CHECK(folder.entries() == 1);  // no temporary file is left
}

TEST_CASE("torch file: the writer refuses what it cannot write") {
  const TemporaryFolder folder;
  const std::vector<float> values(4);
  const io::TensorToWrite one = io::tensor_to_write("w", DType::f32, Shape{4}, values.data());
  CHECK(contains(message_of([&] { io::write_torch(folder / "a.pth", std::vector{one, one}); }), "w comes twice"));
  io::TensorToWrite odd = one;
  odd.dtype = io::FileDType::u16;
  CHECK(contains(message_of([&] { io::write_torch(folder / "a.pth", std::vector{odd}); }), "got U16"));
  odd = one;
  odd.shape = Shape{5};
  CHECK(
      contains(message_of([&] { io::write_torch(folder / "a.pth", std::vector{odd}); }), "expected 20 bytes, got 16"));
  CHECK(folder.entries() == 0);
}

TEST_CASE("torch file: the pickle may only hold tensors") {
  REQUIRE(refusal(tensor(2, 2, 1)) == "no error");
  CHECK(contains(refusal(kStart + text("w") + "cos\nsystem\n" + text("ls") + "\x85Rs."),
                 "offset 9: global \"os system\" is refused"));
  CHECK(contains(refusal(kStart + "i" + "os\nsystem\n."), "opcode 0x69 is refused"));
  CHECK(contains(refusal(std::string("\x80\x04", 2) + "}."), "expected pickle protocol 2, found 4"));
  CHECK(contains(refusal(kStart + text("w") + whole(1) + "s."), "w: expected a tensor, found an int"));
  CHECK(contains(refusal(kStart + whole(1) + whole(1) + "s."), "expected names of tensors as keys"));
  CHECK(contains(refusal(kStart), "expected 1 more bytes, found 0: truncated"));
  CHECK(contains(refusal(kStart + "X\xff\xff\xff\x7f"), "expected 2147483647 more bytes"));
  CHECK(contains(refusal(kStart + ".."), "1 bytes after the end"));
  CHECK(contains(refusal(kStart + "h\x05."), "nothing was remembered as 5"));
  CHECK(contains(refusal(std::string("\x80\x02", 2) + "]q" + std::string(1, '\0') + "h" + std::string(1, '\0') + "a."),
                 "expected a dict, found a list"));  // a list inside itself
  CHECK(contains(refusal(kStart + "t."), "expected a mark"));
  CHECK(contains(refusal(kStart + "s."), "expected a value on the stack"));
  CHECK(contains(refusal(kStart + "(NNNu."), "expected pairs"));
  CHECK(contains(refusal(kStart + "ctorch\nFloatStorage\n)R."), "a storage cannot be called"));
  const std::string twice = tensor(2, 2, 1);
  CHECK(contains(refusal(twice.substr(0, twice.size() - 1) + twice.substr(kStart.size())), "w comes twice"));
}

TEST_CASE("torch file: views stay inside their storage, storages inside the file") {
  CHECK(contains(refusal(tensor(2, 2, 2)), "reaches element 4 of the 4"));
  CHECK(contains(refusal(tensor(2, 2, 1, 1)), "reaches element 4 of the 4"));
  CHECK(contains(refusal(tensor(200, 0, 0)), "more elements than the 4"));
  const std::string large = std::string("\x8a\x06\0\0\0\0\0\x01", 8);  // 2^40
  CHECK(contains(refusal(kStart + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n(" + storage(4) + whole(0) + large +
                         large + whole(0) + "\x87" + whole(1) + whole(1) + whole(1) + "\x87\x89" + kHooks + "tRs."),
                 "more elements than the 4"));
  CHECK(contains(refusal(tensor(2, 2, 1, 0, storage(5))), "expected 5 elements of 4 bytes, found 16 bytes"));
  CHECK(contains(refusal(tensor(2, 2, 1, 0, storage(4, "1"))), "storage 1: the file has no such entry"));
  CHECK(contains(refusal(tensor(2, 2, 1, 0, storage(4, "../../0"))), "the file has no such entry"));
}

TEST_CASE("torch file: bad zip files") {
  const TemporaryFolder folder;
  write_around(folder / "good.pth", tensor(2, 2, 1));
  const std::string good = io::read_file(folder / "good.pth");
  const std::size_t directory = good.find("PK\1\2"), end = good.find("PK\5\6");
  const auto with = [&](std::size_t at, const std::string& bytes) {
    std::string bad = good;
    return bad.replace(at, bytes.size(), bytes);
  };
  REQUIRE(refusal_of_file(good) == "no error");
  CHECK(contains(refusal_of_file(""), "zip format"));
  CHECK(contains(message_of([] { TorchFile{test::golden("torch/legacy.pth")}; }), "older versions are a bare pickle"));
  CHECK(contains(refusal_of_file(good.substr(0, good.size() - 1)), "truncated"));
  CHECK(contains(refusal_of_file(with(directory + 10, "\x08")), "expected a stored entry, found compression method 8"));
  CHECK(contains(refusal_of_file(with(8, "\x08")), "compressed by its local header"));
  CHECK(contains(refusal_of_file(with(directory + 8, "\x01")), "encrypted"));
  CHECK(contains(refusal_of_file(with(directory + 46, "../ta.pkl")), "expected a plain relative name"));
  CHECK(contains(refusal_of_file(with(directory + 46, "/")), "expected a plain relative name"));
  CHECK(contains(refusal_of_file(with(30, "b")), "its local header has another name"));
  CHECK(contains(refusal_of_file(with(directory + 20, "\xff\xff\xff\x7f\xff\xff\xff\x7f")), "before the directory"));
  CHECK(contains(refusal_of_file(with(directory + 20, "\x01")), "stored, but its sizes are"));
  CHECK(contains(refusal_of_file(with(directory + 42, "\x10")), "no local header at 16"));
  CHECK(contains(refusal_of_file(with(end + 8, "\xff\xff\xff\xff")), "cannot hold 65535 entries"));
  CHECK(contains(refusal_of_file(with(end + 16, "\xff\xff\xff\x7f")), "expected a directory inside the file"));
  CHECK(contains(refusal_of_file(with(good.find("cpu"), "gpu")), "data.pkl: its CRC-32 is not the directory's"));
  CHECK(contains(message_of([&] { TorchFile{folder / "absent.pth"}; }), "cannot open"));

  std::ofstream(folder / "damaged.pth", std::ios::binary) << with(good.find("xxxx"), "y");
  const TorchFile damaged(folder / "damaged.pth");
  std::vector<float> values(4);
  CHECK(contains(message_of([&] { damaged.read_into("w", values.data(), DType::f32); }), "data/0: its CRC-32"));
}
