#include "nn/io/safetensors_header.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "backends/error.hpp"

namespace osteon::io {
namespace {

using json = nlohmann::json;

struct DTypeFact {
  std::string_view name;
  std::int64_t bytes;
};
constexpr std::array<DTypeFact, 15> kDTypes{{{"BOOL", 1},
                                             {"U8", 1},
                                             {"I8", 1},
                                             {"F8_E5M2", 1},
                                             {"F8_E4M3", 1},
                                             {"I16", 2},
                                             {"U16", 2},
                                             {"F16", 2},
                                             {"BF16", 2},
                                             {"I32", 4},
                                             {"U32", 4},
                                             {"F32", 4},
                                             {"F64", 8},
                                             {"I64", 8},
                                             {"U64", 8}}};

/// Receives the JSON events and accepts nothing but the format's own structure, so that neither depth nor unknown
/// content can cost memory, and a name that comes twice is seen (a JSON object in memory would keep only the last).
class HeaderReader final : public json::json_sax_t {
 public:
  HeaderReader(std::string path, SafetensorsHeader& header) : path_(std::move(path)), header_(header) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("true or false"); }
  bool number_float(double, const std::string& text) override { return unexpected("the number " + text); }
  bool binary(json::binary_t&) override { return unexpected("binary data"); }
  bool number_integer(std::int64_t value) override { return unexpected(join("the number ", value)); }

  bool number_unsigned(std::uint64_t value) override {
    if (where_ != Where::shape && where_ != Where::offsets)
      return unexpected(join("the number ", value));
    const auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    check<FileError>(value <= limit, context(), "expected a number below 2^63, found ", value);
    check<FileError>(count_ < numbers_.size(), context(), "expected at most ", numbers_.size(), " numbers, found more");
    numbers_[count_++] = static_cast<std::int64_t>(value);
    return true;
  }

  bool string(std::string& value) override {
    if (where_ == Where::metadata) {
      check<FileError>(header_.metadata.emplace(key_, std::move(value)).second, path_, ": header: __metadata__: ", key_,
                       " comes twice");
    } else if (where_ == Where::tensor && key_ == "dtype") {
      const std::optional<FileDType> dtype = parse_file_dtype(value);
      check<FileError>(dtype.has_value(), context(), "unknown dtype \"", value, "\"");
      header_.tensors.back().dtype = *dtype;
    } else {
      return unexpected("the text \"" + value + "\"");
    }
    return true;
  }

  bool key(std::string& key) override {
    if (where_ == Where::tensor) {
      const auto found = std::find(kTensorKeys.begin(), kTensorKeys.end(), key);
      check<FileError>(found != kTensorKeys.end(), path_, ": header: tensor ", name(), ": unknown key \"", key, "\"");
      bool& seen = seen_[static_cast<std::size_t>(found - kTensorKeys.begin())];
      check<FileError>(!seen, path_, ": header: tensor ", name(), ": key \"", key, "\" comes twice");
      seen = true;
    }
    key_ = std::move(key);
    return true;
  }

  bool start_object(std::size_t) override {
    if (where_ == Where::outside) {
      where_ = Where::top;
    } else if (where_ == Where::top && key_ == "__metadata__") {
      check<FileError>(!seen_metadata_, path_, ": header: __metadata__ comes twice");
      seen_metadata_ = true;
      where_ = Where::metadata;
      key_.clear();
    } else if (where_ == Where::top) {
      where_ = Where::tensor;
      header_.tensors.emplace_back().name = std::move(key_);
      seen_ = {};
      key_.clear();
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (where_ == Where::tensor) {
      for (std::size_t i = 0; i < kTensorKeys.size(); ++i)
        check<FileError>(seen_[i], path_, ": header: tensor ", name(), ": key \"", kTensorKeys[i], "\" is missing");
    }
    where_ = where_ == Where::top ? Where::outside : Where::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (where_ == Where::tensor && key_ == "shape")
      where_ = Where::shape;
    else if (where_ == Where::tensor && key_ == "data_offsets")
      where_ = Where::offsets;
    else
      return unexpected("a list");
    count_ = 0;
    return true;
  }

  bool end_array() override {
    TensorEntry& tensor = header_.tensors.back();
    if (where_ == Where::shape) {
      tensor.shape = Shape(std::span<const std::int64_t>(numbers_.data(), count_));
    } else {
      check<FileError>(count_ == 2, context(), "expected [begin, end], found ", count_, " numbers");
      tensor.begin = numbers_[0];
      tensor.end = numbers_[1];
    }
    where_ = Where::tensor;
    key_.clear();
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    fail<FileError>(path_, ": header: not valid JSON: ", error.what());
  }

 private:
  enum class Where { outside, top, metadata, tensor, shape, offsets };
  static constexpr std::array<std::string_view, 3> kTensorKeys{"dtype", "shape", "data_offsets"};

  const std::string& name() const { return header_.tensors.back().name; }

  std::string context() const {
    switch (where_) {
      case Where::outside:
        return path_ + ": header: expected a JSON object; ";
      case Where::top:
        return path_ + ": header: " + key_ + ": expected an object; ";
      case Where::metadata:
        return path_ + ": header: __metadata__: " + key_ + ": expected text; ";
      case Where::tensor:
        return path_ + ": header: tensor " + name() + ": " + key_ +
               (key_ == "dtype" ? ": expected text; " : ": expected a list of whole numbers; ");
      case Where::shape:
        return path_ + ": header: tensor " + name() + ": shape: ";
      case Where::offsets:
        return path_ + ": header: tensor " + name() + ": data_offsets: ";
    }
    return path_ + ": header: ";
  }

  bool unexpected(const std::string& found) const {
    fail<FileError>(context(), where_ == Where::shape || where_ == Where::offsets ? "expected whole numbers; " : "",
                    "found ", found);
  }

  std::string path_;
  SafetensorsHeader& header_;
  Where where_ = Where::outside;
  std::string key_;
  bool seen_metadata_ = false;
  std::array<bool, 3> seen_{};
  std::array<std::int64_t, Shape::kMaxRank> numbers_{};
  std::size_t count_ = 0;
};

/// Sets numel; refuses a shape whose bytes do not fit 63 bits or differ from the offsets' range.
void check_entry(TensorEntry& tensor, std::int64_t data_bytes, const std::string& path) {
  std::int64_t bytes = size_of(tensor.dtype);
  bool fits = true;
  for (const std::int64_t dim : tensor.shape)
    fits = fits && !__builtin_mul_overflow(bytes, dim, &bytes);
  const std::string where = join(path, ": tensor ", tensor.name, ": ");
  check<FileError>(fits, where, "shape ", tensor.shape, " of ", tensor.dtype, " is more bytes than any file can hold");
  tensor.numel = bytes / size_of(tensor.dtype);
  check<FileError>(tensor.begin <= tensor.end && tensor.end <= data_bytes, where, "expected data_offsets within [0, ",
                   data_bytes, "], the file's data, found [", tensor.begin, ", ", tensor.end, "]");
  check<FileError>(tensor.end - tensor.begin == bytes, where, "shape ", tensor.shape, " of ", tensor.dtype, " needs ",
                   bytes, " bytes, data_offsets [", tensor.begin, ", ", tensor.end, "] hold ",
                   tensor.end - tensor.begin);
  check<FileError>(tensor.begin % size_of(tensor.dtype) == 0, where, "expected data_offsets aligned to ",
                   size_of(tensor.dtype), " bytes, found a start at ", tensor.begin);
}

/// The tensors must cover the data exactly: a hole could hide content, an overlap would alias two tensors.
void check_coverage(const std::vector<TensorEntry>& tensors, std::int64_t data_bytes, const std::string& path) {
  std::vector<const TensorEntry*> in_order;
  in_order.reserve(tensors.size());
  for (const TensorEntry& tensor : tensors)
    in_order.push_back(&tensor);
  std::sort(in_order.begin(), in_order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::int64_t covered = 0;
  const TensorEntry* previous = nullptr;
  for (const TensorEntry* tensor : in_order) {
    check<FileError>(tensor->begin >= covered, path, ": tensor ", tensor->name, ": data_offsets [", tensor->begin, ", ",
                     tensor->end, "] overlap tensor ", previous == nullptr ? "" : previous->name, ", which ends at ",
                     covered);
    check<FileError>(tensor->begin == covered, path, ": tensor ", tensor->name, ": expected data from ", covered,
                     " on, found a hole up to ", tensor->begin);
    covered = tensor->end;
    previous = tensor;
  }
  check<FileError>(covered == data_bytes, path, ": expected ", covered,
                   " bytes of data, the end of the last tensor, found ", data_bytes);
}

}  // namespace

std::int64_t size_of(FileDType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].bytes; }

std::string_view name_of(FileDType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].name; }

std::ostream& operator<<(std::ostream& out, FileDType dtype) { return out << name_of(dtype); }

FileDType file_dtype(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return FileDType::f32;
    case DType::bf16:
      return FileDType::bf16;
    case DType::f64:
      return FileDType::f64;
    case DType::i32:
      return FileDType::i32;
    case DType::u8:
      return FileDType::u8;
  }
  return FileDType::u8;
}

std::optional<FileDType> parse_file_dtype(std::string_view name) {
  for (std::size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == name)
      return static_cast<FileDType>(i);
  }
  return std::nullopt;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, std::int64_t data_bytes, const std::string& path) {
  // The parser would skip a byte order mark and take a NUL for the end of its input.
  check<FileError>(text.starts_with('{'), path, ": header: expected a JSON object, which starts with '{'");
  check<FileError>(text.find('\0') == std::string_view::npos, path, ": header: not valid JSON: it holds a NUL byte");
  SafetensorsHeader header;
  HeaderReader reader(path, header);
  json::sax_parse(text.begin(), text.end(), &reader);

  std::vector<TensorEntry>& tensors = header.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    check<FileError>(i == 0 || tensors[i].name != tensors[i - 1].name, path, ": header: tensor ", tensors[i].name,
                     " comes twice");
    check_entry(tensors[i], data_bytes, path);
  }
  check_coverage(tensors, data_bytes, path);
  return header;
}

std::string format_safetensors_header(const std::vector<TensorEntry>& tensors, const Metadata& metadata,
                                      const std::string& path) {
  std::string text;
  try {
    if (!metadata.empty())
      text = "\"__metadata__\":" + json(metadata).dump();
    for (const TensorEntry& tensor : tensors) {
      const json shape = std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end());
      text += join(text.empty() ? "" : ",", json(tensor.name).dump(), ":{\"dtype\":\"", tensor.dtype,
                   "\",\"shape\":", shape.dump(), ",\"data_offsets\":[", tensor.begin, ",", tensor.end, "]}");
    }
  } catch (const json::exception&) {
    fail<FileError>(path, ": a tensor's name or the metadata is not valid UTF-8");
  }
  text = "{" + text + "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  check<FileError>(static_cast<std::int64_t>(text.size()) <= kMaxHeaderBytes, path, ": expected a header of at most ",
                   kMaxHeaderBytes, " bytes, got ", text.size());
  std::string length(8, '\0');
  for (std::size_t i = 0; i < length.size(); ++i)
    length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return length + text;
}

}  // namespace osteon::io
