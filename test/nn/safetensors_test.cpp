#include "nn/io/safetensors.hpp"

#include <cmath>
#include <cstring>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/paths.hpp"

using namespace osteon;
using io::SafetensorsFile;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

std::string with_length(const std::string& header, const std::string& data) {
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i)
    file[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  return file + header + data;
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

/// The message with which a file of this content is refused.
std::string refusal(const std::string& content) {
  const TemporaryFolder folder;
  const fs::path path = folder / "bad.safetensors";
  std::ofstream(path, std::ios::binary) << content;
  const std::string message = message_of([&] { SafetensorsFile{path}; });
  if (message != "no error")
    CHECK(message.starts_with(path.string() + ": "));
  return message;
}

std::string refusal(const std::string& header, std::size_t data_bytes) {
  return refusal(with_length(header, std::string(data_bytes, '\0')));
}

std::vector<io::TensorToWrite> copy_of(const SafetensorsFile& file, std::vector<std::vector<std::byte>>& store) {
  std::vector<io::TensorToWrite> tensors;
  for (const io::TensorEntry& tensor : file.tensors()) {
    auto& bytes = store.emplace_back(static_cast<std::size_t>(tensor.end - tensor.begin));
    file.read_raw(tensor.name, bytes.data());
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape, [bytes] { return std::span(bytes); }});
  }
  return tensors;
}

template <class T>
std::vector<T> read(const SafetensorsFile& file, const std::string& name) {
  std::vector<T> values(static_cast<std::size_t>(file.info(name).numel));
  file.read_into(name, values.data(), dtype_of<T>::value);
  return values;
}

}  // namespace

TEST_CASE("safetensors: a file of the reference implementation is read, in every dtype") {
  const SafetensorsFile file(osteon::test::golden("safetensors/all_dtypes.safetensors"));
  constexpr float inf = std::numeric_limits<float>::infinity();
  CHECK(file.metadata() == io::Metadata{{"format", "pt"}});
  CHECK(file.tensors().size() == 28);
  CHECK(file.names().front() == "a.\"bfloat16\"\\\n\u00e9\U0001f9b4");
  CHECK(read<float>(file, "z.float32") ==
        std::vector<float>{0, -0.0F, 1.5F, -3.25F, 0x1p-149F, 0x1.fffffep127F, inf, -inf});
  CHECK(std::signbit(read<float>(file, "z.float32")[1]));
  CHECK(read<double>(file, "z.float64") == std::vector<double>{0.1, -1e308, 5e-324, static_cast<double>(inf), 1.0});
  CHECK(read<float>(file, "z.float64") == std::vector<float>{0.1F, -inf, 0, inf, 1});
  CHECK(read<float>(file, "z.float16") ==
        std::vector<float>{0, 0, 0x1p-24F, -0x1.ff8p-15F, 0x1p-14F, 1, 65504, inf, -inf, 0x1.554p-2F});
  CHECK(read<double>(file, "z.bfloat16") == std::vector<double>{0, 0, 1, 0x1p-133, static_cast<double>(inf),
                                                                -static_cast<double>(inf), 0x1.fep127, -0x1.92p1});
  CHECK(read<bf16>(file, "z.bfloat16")[7].bits == 0xc049);
  CHECK(read<bf16>(file, "z.float32")[2].bits == 0x3fc0);
  CHECK(read<std::int32_t>(file, "z.int64") == std::vector<std::int32_t>{-100, 2147483647, -2147483647 - 1, 0});
  CHECK(read<std::int32_t>(file, "z.int32") == std::vector<std::int32_t>{-2147483647 - 1, -100, 2147483647});
  CHECK(read<std::int32_t>(file, "z.int8") == std::vector<std::int32_t>{-128, -1, 0, 1, 127});
  CHECK(read<std::int32_t>(file, "z.uint16") == std::vector<std::int32_t>{0, 65535});
  CHECK(read<std::uint8_t>(file, "z.uint8") == std::vector<std::uint8_t>{0, 1, 127, 128, 255});
  CHECK(read<std::uint8_t>(file, "z.bool") == std::vector<std::uint8_t>{0, 1, 1});
  CHECK(read<float>(file, "scalar") == std::vector<float>{2.5F});
  CHECK(file.info("scalar").shape == Shape{});
  CHECK(file.info("nothing").shape == Shape{3, 0, 2});
  CHECK(read<float>(file, "nothing").empty());
}

TEST_CASE("safetensors: files we write equal the reference implementation's byte by byte") {
  const TemporaryFolder folder;
  for (const char* name : {"safetensors/all_dtypes.safetensors", "safetensors/empty.safetensors"}) {
    const SafetensorsFile file(osteon::test::golden(name));
    std::vector<std::vector<std::byte>> store;
    io::write_safetensors(folder / "copy", copy_of(file, store), file.metadata());
    CHECK((io::read_file(folder / "copy") == io::read_file(file.path())));
  }
}

TEST_CASE("safetensors: golden files come back byte by byte") {
  const TemporaryFolder folder;
  std::vector<fs::path> roots{osteon::test::golden("")};
  if (const auto shared = osteon::test::shared())
    roots.push_back(*shared / "golden");
  for (const fs::path& root : roots) {
    int files = 0;
    for (const auto& found : fs::recursive_directory_iterator(root)) {
      if (found.path().extension() != ".safetensors")
        continue;
      const SafetensorsFile file(found.path());
      std::vector<std::vector<std::byte>> store;
      io::write_safetensors(folder / "copy", copy_of(file, store), file.metadata());
      CHECK_MESSAGE((io::read_file(folder / "copy") == io::read_file(file.path())), found.path().string());
      ++files;
    }
    CHECK(files > 0);
  }
}

TEST_CASE("safetensors: large tensors are read in chunks without a seam") {
  const TemporaryFolder folder;
  std::vector<float> values(200'003);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i);
  const std::int64_t count = static_cast<std::int64_t>(values.size());
  io::write_safetensors(folder / "f", std::vector{io::tensor_to_write("x", DType::f32, {count}, values.data())});
  SafetensorsFile file(folder / "f");
  CHECK((read<float>(file, "x") == values));
  const std::vector<double> wide = read<double>(file, "x");
  CHECK((std::vector<float>(wide.begin(), wide.end()) == values));
  SafetensorsFile moved = std::move(file);
  CHECK(read<bf16>(moved, "x")[3].bits == bf16(3.0F).bits);
}

TEST_CASE("safetensors: dtypes that do not go together, numbers that do not fit") {
  const TemporaryFolder folder;
  const std::vector<float> floats{1};
  const std::int64_t big[] = {1, 1LL << 40};
  const std::vector<io::TensorToWrite> tensors{
      io::tensor_to_write("x", DType::f32, {1}, floats.data()),
      {"ids", io::FileDType::i64, {2}, [&] { return std::as_bytes(std::span(big)); }}};
  io::write_safetensors(folder / "f", tensors);
  const SafetensorsFile file(folder / "f");
  CHECK(contains(message_of([&] { read<std::int32_t>(file, "x"); }), "f: tensor x: F32 cannot be read as i32"));
  CHECK(contains(message_of([&] { read<float>(file, "ids"); }), "f: tensor ids: I64 cannot be read as f32"));
  CHECK(
      contains(message_of([&] { read<std::int32_t>(file, "ids"); }), "tensor ids: element 1 of I64 does not fit i32"));
  CHECK(contains(message_of([&] { read<float>(file, "y"); }), "f: no tensor y among its 2"));
}

TEST_CASE("safetensors: what cannot be written is refused, the old file stays") {
  const TemporaryFolder folder;
  const float one = 1;
  io::write_file_atomically(folder / "f", "old");
  const auto x = io::tensor_to_write("x", DType::f32, {1}, &one);
  const auto write = [&](std::vector<io::TensorToWrite> tensors) {
    return message_of([&] { io::write_safetensors(folder / "f", tensors); });
  };
  CHECK(contains(write({x, x}), "tensor x comes twice"));
  CHECK(contains(write({io::tensor_to_write("__metadata__", DType::f32, {1}, &one)}), "cannot be named"));
  CHECK(contains(write({io::tensor_to_write("\xff", DType::f32, {1}, &one)}), "not valid UTF-8"));
  CHECK(contains(write({{"y", io::FileDType::f32, {2}, x.bytes}}), "tensor y: expected 8 bytes, got 4"));
  CHECK(io::read_file(folder / "f") == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("safetensors: malformed headers are refused with what was expected and found") {
  const std::string x = R"({"x":)";
  CHECK(contains(refusal(""), "found 0 bytes in all"));
  CHECK(contains(refusal("1234567"), "found 7 bytes in all"));
  CHECK(contains(refusal(std::string(8, '\0')), "expected a JSON object"));
  CHECK(contains(refusal(std::string(8, '\xff')), "a header length of 18446744073709551615"));
  CHECK(contains(refusal(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8)), "a header length of 100000001"));
  CHECK(contains(refusal(std::string("\0\xe1\xf5\x05\0\0\0\0{}", 10)), "found 2 bytes after its length"));
  CHECK(contains(refusal("[]", 0), "expected a JSON object"));
  CHECK(contains(refusal("\xef\xbb\xbf{}", 0), "expected a JSON object"));
  CHECK(contains(refusal("{", 0), "not valid JSON"));
  CHECK(contains(refusal("{}{}", 0), "not valid JSON"));
  CHECK(contains(refusal(std::string("{}\0x", 4), 0), "NUL"));
  CHECK(contains(refusal("{\"\xff\":1}", 0), "not valid JSON"));
  CHECK(contains(refusal(R"({"x":1})", 0), "x: expected an object; found the number 1"));
  CHECK(contains(refusal(R"({"x":null})", 0), "found null"));
  CHECK(contains(refusal(R"({"x":[1]})", 0), "found a list"));
  CHECK(contains(refusal(R"({"x":{}})", 0), "tensor x: key \"dtype\" is missing"));
  CHECK(contains(refusal(x + entry("F4", "[1]", "[0,4]") + "}", 4), "unknown dtype \"F4\""));
  CHECK(contains(refusal(x + R"({"dtype":32,"shape":[1],"data_offsets":[0,4]}})", 4), "dtype: expected text"));
  CHECK(contains(refusal(x + R"({"dtype":"F32","shape":[1]}})", 4), "key \"data_offsets\" is missing"));
  CHECK(contains(refusal(x + R"({"dtype":"F32","stride":[1]}})", 4), "unknown key \"stride\""));
  CHECK(contains(refusal(x + R"({"dtype":"F32","dtype":"F32"}})", 4), "key \"dtype\" comes twice"));
  CHECK(contains(refusal(x + entry("F32", "[-1]", "[0,4]") + "}", 4),
                 "shape: expected whole numbers; found the number -1"));
  CHECK(contains(refusal(x + entry("F32", "[1.0]", "[0,4]") + "}", 4), "found the number 1.0"));
  CHECK(contains(refusal(x + entry("F32", "[[1]]", "[0,4]") + "}", 4), "found a list"));
  CHECK(contains(refusal(x + entry("F32", "1", "[0,4]") + "}", 4), "expected a list of whole numbers"));
  CHECK(contains(refusal(x + entry("F32", "[1,1,1,1,1,1,1]", "[0,4]") + "}", 4), "at most 6 numbers"));
  CHECK(contains(refusal(x + entry("F32", "[9223372036854775808]", "[0,4]") + "}", 4), "below 2^63"));
  CHECK(contains(refusal(x + entry("F32", "[18446744073709551616]", "[0,4]") + "}", 4), "expected whole numbers"));
  CHECK(contains(refusal(x + entry("F32", "[4611686018427387905]", "[0,4]") + "}", 4), "more bytes than any file"));
  CHECK(contains(refusal(x + entry("U8", "[4294967296,4294967296]", "[0,0]") + "}", 0), "more bytes than any file"));
  CHECK(contains(refusal(x + entry("F32", "[1]", "[0]") + "}", 4), "expected [begin, end], found 1 numbers"));
  CHECK(contains(refusal(x + entry("F32", "[1]", "[0,4,4]") + "}", 4), "found 3 numbers"));
  CHECK(contains(refusal(x + entry("F32", "[1]", "[0,8]") + "}", 4), "within [0, 4], the file's data, found [0, 8]"));
  CHECK(contains(refusal(x + entry("F32", "[1]", "[4,0]") + "}", 4), "found [4, 0]"));
  CHECK(contains(refusal(x + entry("F32", "[2]", "[0,4]") + "}", 4), "shape [2] of F32 needs 8 bytes"));
  CHECK(contains(refusal(x + entry("F32", "[1]", "[0,4]") + ",\"x\":" + entry("F32", "[1]", "[4,8]") + "}", 8),
                 "tensor x comes twice"));
  CHECK(contains(refusal(R"({"__metadata__":{"a":"1"},"__metadata__":{}})", 0), "__metadata__ comes twice"));
  CHECK(contains(refusal(R"({"__metadata__":{"a":"1","a":"1"}})", 0), "__metadata__: a comes twice"));
  CHECK(contains(refusal(R"({"__metadata__":{"a":1}})", 0), "__metadata__: a: expected text; found the number 1"));
  CHECK(contains(refusal(R"({"__metadata__":["a"]})", 0), "found a list"));
  CHECK(contains(refusal(R"({"a":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}", 0), "found a list"));
}

TEST_CASE("safetensors: overlap, hole, misalignment, missing and extra data are refused") {
  const auto two = [](const std::string& a, const std::string& b) { return R"({"a":)" + a + R"(,"b":)" + b + "}"; };
  const std::string four = entry("F32", "[1]", "[0,4]");
  CHECK(
      contains(refusal(two(four, entry("F32", "[1]", "[0,4]")), 4), "tensor b: data_offsets [0, 4] overlap tensor a"));
  CHECK(contains(refusal(two(entry("F32", "[2]", "[0,8]"), entry("F32", "[1]", "[4,8]")), 8), "overlap tensor a"));
  CHECK(contains(refusal(two(four, entry("F32", "[1]", "[8,12]")), 12), "from 4 on, found a hole up to 8"));
  CHECK(contains(refusal(R"({"a":)" + entry("F32", "[1]", "[4,8]") + "}", 8), "from 0 on, found a hole up to 4"));
  CHECK(contains(refusal(two(entry("U8", "[2]", "[0,2]"), entry("F32", "[1]", "[2,6]")), 6),
                 "aligned to 4 bytes, found a start at 2"));
  CHECK(contains(refusal(R"({"a":)" + four + "}", 3), "within [0, 3]"));
  CHECK(contains(refusal(R"({"a":)" + four + "}", 5), "expected 4 bytes of data, the end of the last tensor, found 5"));
  CHECK(contains(refusal("{}", 1), "expected 0 bytes of data"));
  CHECK(refusal(two(four, entry("F32", "[0]", "[0,0]")), 4) == "no error");
  CHECK(refusal(two(four, entry("F32", "[0,7]", "[4,4]")), 4) == "no error");
  CHECK(refusal(R"({"a":)" + four + "}   ", 4) == "no error");
}

TEST_CASE("safetensors: a file truncated at any byte, or with a byte too many, is refused") {
  const std::string whole = io::read_file(osteon::test::golden("safetensors/all_dtypes.safetensors"));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK(refusal(whole.substr(0, size)) != "no error");
  }
  CHECK(refusal(whole + '\0') != "no error");
}

TEST_CASE("safetensors: a file that shrinks while it is open is an error, not a crash") {
  const TemporaryFolder folder;
  const std::vector<float> values(1000);
  io::write_safetensors(folder / "f", std::vector{io::tensor_to_write("x", DType::f32, {1000}, values.data())});
  const SafetensorsFile file(folder / "f");
  fs::resize_file(folder / "f", 2000);
  CHECK(contains(message_of([&] { read<float>(file, "x"); }), "truncated while it was read"));
  CHECK(contains(message_of([&] { read<double>(file, "x"); }), "truncated while it was read"));
}

TEST_CASE("safetensors: every value of every header byte is refused, or changes a name, a text or a dtype's kind") {
  const TemporaryFolder folder;
  const float values[] = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<io::TensorToWrite> tensors{io::tensor_to_write("one", DType::f32, {2, 3}, values),
                                               io::tensor_to_write("two", DType::bf16, {4}, values)};
  io::write_safetensors(folder / "f", tensors);
  const std::string whole = io::read_file(folder / "f");
  const std::size_t data = whole.size() - 32;
  int accepted = 0, refused = 0;
  for (std::size_t i = 0; i < data; ++i) {
    for (int value = 0; value < 256; ++value) {
      if (static_cast<char>(value) == whole[i])
        continue;
      std::string changed = whole;
      changed[i] = static_cast<char>(value);
      const std::string message = message_of([&] {
        const std::string header = changed.substr(8, data - 8);
        std::uint64_t length;
        std::memcpy(&length, changed.data(), 8);
        if (length != header.size())  // a changed length word goes through the file
          fail<FileError>(refusal(changed) == "no error" ? "accepted another length" : "refused");
        const io::SafetensorsHeader parsed = io::parse_safetensors_header(header, 32, "f");
        // the layout of the data must be as it was
        REQUIRE(parsed.tensors.size() == 2);
        for (const io::TensorEntry& tensor : parsed.tensors)
          CHECK((tensor.shape == Shape{2, 3} ? tensor.begin == 0 && tensor.end == 24
                                             : tensor.shape == Shape{4} && tensor.begin == 24 && tensor.end == 32));
      });
      CHECK(message != "accepted another length");
      (message == "no error" ? accepted : refused) += 1;
    }
  }
  CHECK(refused > 25'000);
  CHECK(accepted < 5'000);  // names and metadata: 6 + 8 letters
}
