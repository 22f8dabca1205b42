#include <limits>

#include "backends/error.hpp"
#include "nn/io/torch_pickle.hpp"

namespace osteon::io {
namespace {

void put(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i)
    out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

void put_text(std::string& out, const std::string& text) {
  out += 'X';
  put(out, text.size(), 4);
  out += text;
}

void put_whole(std::string& out, std::int64_t value) {
  if (value <= std::numeric_limits<std::int32_t>::max()) {
    out += 'J';
    put(out, static_cast<std::uint64_t>(value), 4);
  } else {
    out += "\x8a\x08";
    put(out, static_cast<std::uint64_t>(value), 8);
  }
}

const char* storage_name(const TorchTensor& tensor, const std::string& path) {
  switch (tensor.dtype) {
    case FileDType::f32:
      return "FloatStorage";
    case FileDType::f16:
      return "HalfStorage";
    case FileDType::bf16:
      return "BFloat16Storage";
    case FileDType::i64:
      return "LongStorage";
    case FileDType::i32:
      return "IntStorage";
    case FileDType::u8:
      return "ByteStorage";
    default:
      fail<FileError>(path, ": tensor ", tensor.name, ": expected F32, F16, BF16, I64, I32 or U8 for a .pth file, got ",
                      tensor.dtype);
  }
}

void put_tensor(std::string& out, const TorchTensor& tensor, std::size_t index, const std::string& path) {
  out += "ctorch._utils\n_rebuild_tensor_v2\n((";
  put_text(out, "storage");
  out += std::string("ctorch\n") + storage_name(tensor, path) + "\n";
  put_text(out, std::to_string(index));
  put_text(out, "cpu");
  put_whole(out, tensor.numel());
  out += "tQ";
  put_whole(out, 0);
  out += '(';
  for (const std::int64_t size : tensor.shape)
    put_whole(out, size);
  out += "t(";
  for (std::int64_t i = 0, stride = tensor.numel(); i < tensor.shape.rank(); ++i) {
    stride = tensor.shape[i] == 0 ? 1 : stride / tensor.shape[i];
    put_whole(out, stride);
  }
  out +=
      "t\x89"
      "ccollections\nOrderedDict\n)RtR";
}

}  // namespace

std::string format_torch_pickle(std::span<const TorchTensor> tensors, const std::string& path) {
  std::string out = "\x80\x02";
  out += "ccollections\nOrderedDict\n)R(";
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    put_text(out, tensors[i].name);
    put_tensor(out, tensors[i], i, path);
  }
  return out + "u.";
}

}  // namespace osteon::io
