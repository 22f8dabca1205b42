#include "nn/io/torch_file.hpp"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/convert.hpp"
#include "nn/io/crc32.hpp"

namespace osteon::io {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kMaxPickleBytes = std::int64_t{1} << 22;  // a 14B model's has a third of a MiB

/// Copies a view to row-major elements, dimension by dimension; ranks are at most Shape::kMaxRank.
char* gather(const TorchTensor& tensor, std::int64_t dim, const char* source, std::int64_t element, char* out) {
  if (dim == tensor.shape.rank()) {
    std::memcpy(out, source, static_cast<std::size_t>(element));
    return out + element;
  }
  for (std::int64_t i = 0; i < tensor.shape[dim]; ++i)
    out = gather(tensor, dim + 1, source + i * tensor.strides[static_cast<std::size_t>(dim)] * element, element, out);
  return out;
}

}  // namespace

TorchFile::TorchFile(fs::path path) : file_(std::move(path)) {
  const std::string where = file_.path().string();
  char magic[2]{};
  if (file_.bytes() >= 2)
    file_.read_at(0, magic, 2);
  check<FileError>(magic[0] == 'P' && magic[1] == 'K', where,
                   ": expected a .pth file in torch's zip format (torch 1.6 or newer); files of older versions are a "
                   "bare pickle and are not read");
  const auto reader = [this](std::int64_t offset, char* to, std::int64_t count) { file_.read_at(offset, to, count); };
  const std::vector<ZipEntry> entries = read_zip_directory(reader, file_.bytes(), where);

  const ZipEntry* pickle = nullptr;
  for (const ZipEntry& entry : entries)
    if (entry.name.ends_with("/data.pkl") && entry.name.find('/') == entry.name.size() - 9) {
      check<FileError>(pickle == nullptr, where, ": expected one data.pkl, found two");
      pickle = &entry;
    }
  check<FileError>(pickle != nullptr, where, ": expected an entry <name>/data.pkl, found none among ", entries.size());
  const auto small_entry = [&](const ZipEntry& entry, std::int64_t limit) {
    check<FileError>(entry.bytes <= limit, where, ": ", entry.name, ": expected at most ", limit, " bytes, found ",
                     entry.bytes);
    std::string text(static_cast<std::size_t>(entry.bytes), '\0');
    file_.read_at(entry.begin, text.data(), entry.bytes);
    check<FileError>(crc32(0, text.data(), text.size()) == entry.crc, where, ": ", entry.name,
                     ": its CRC-32 is not the directory's: the file is damaged");
    return text;
  };
  const std::string top = pickle->name.substr(0, pickle->name.find('/') + 1);
  for (const ZipEntry& entry : entries)
    if (entry.name == top + "byteorder") {
      const std::string order = small_entry(entry, 16);
      check<FileError>(order == "little", where, ": byteorder: expected little");
    }
  tensors_ = parse_torch_pickle(small_entry(*pickle, kMaxPickleBytes), where);
  set_storages(entries, top);
}

void TorchFile::set_storages(const std::vector<ZipEntry>& entries, const std::string& top) {
  std::map<std::string_view, const ZipEntry*> by_name;
  for (const ZipEntry& entry : entries)
    by_name.emplace(entry.name, &entry);
  std::map<std::string, std::pair<std::size_t, const TorchTensor*>> known;
  for (const TorchTensor& tensor : tensors_) {
    const std::string where = join(path().string(), ": tensor ", tensor.name, ": storage ");
    const auto [at, is_new] = known.emplace(tensor.storage, std::pair{storages_.size(), &tensor});
    if (is_new) {
      const auto entry = by_name.find(top + "data/" + tensor.storage);
      check<FileError>(entry != by_name.end(), where, tensor.storage, ": the file has no such entry");
      // In units of elements: a storage of 2^62 of them has no byte count.
      const std::int64_t element = size_of(tensor.dtype), bytes = entry->second->bytes;
      check<FileError>(bytes % element == 0 && bytes / element == tensor.storage_numel, where, tensor.storage,
                       ": expected ", tensor.storage_numel, " elements of ", element, " bytes, found ", bytes,
                       " bytes");
      storages_.push_back(*entry->second);
    } else {
      const TorchTensor& first = *at->second.second;
      check<FileError>(first.dtype == tensor.dtype && first.storage_numel == tensor.storage_numel, where,
                       tensor.storage, ": another dtype or size than for tensor ", first.name);
    }
    storage_of_.push_back(at->second.first);
    place_.emplace(tensor.name, entries_.size());
    const std::int64_t numel = tensor.numel();
    entries_.push_back({tensor.name, tensor.dtype, tensor.shape, numel, 0, numel * size_of(tensor.dtype)});
  }
  checked_ = std::make_unique<std::atomic<bool>[]>(storages_.size());
}

std::vector<std::string> TorchFile::names() const {
  std::vector<std::string> names;
  for (const TensorEntry& entry : entries_)
    names.push_back(entry.name);
  return names;
}

std::size_t TorchFile::place(std::string_view name) const {
  const auto found = place_.find(name);
  check<FileError>(found != place_.end(), path().string(), ": no tensor ", name, " among its ", entries_.size());
  return found->second;
}

void TorchFile::check_storage(std::size_t tensor) const {
  const std::size_t storage = storage_of_[tensor];
  if (checked_[storage].load(std::memory_order_relaxed))
    return;
  constexpr std::int64_t kChunk = std::int64_t{1} << 20;
  const ZipEntry& entry = storages_[storage];
  const auto chunk = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(std::min(kChunk, entry.bytes)));
  std::uint32_t crc = 0;
  for (std::int64_t at = 0; at < entry.bytes; at += kChunk) {
    const std::int64_t count = std::min(kChunk, entry.bytes - at);
    file_.read_at(entry.begin + at, chunk.get(), count);
    crc = crc32(crc, chunk.get(), static_cast<std::size_t>(count));
  }
  check<FileError>(crc == entry.crc, path().string(), ": ", entry.name,
                   ": its CRC-32 is not the directory's: the file is damaged");
  checked_[storage].store(true, std::memory_order_relaxed);
}

void TorchFile::read_raw(std::string_view name, void* destination) const {
  const std::size_t index = place(name);
  const TorchTensor& tensor = tensors_[index];
  const ZipEntry& storage = storages_[storage_of_[index]];
  const std::int64_t element = size_of(tensor.dtype), bytes = entries_[index].end;
  check_storage(index);
  if (bytes == 0)
    return;
  const std::int64_t begin = storage.begin + tensor.offset * element;
  if (tensor.is_contiguous()) {
    file_.read_at(begin, static_cast<char*>(destination), bytes);
    return;
  }
  std::int64_t span = 1;  // elements from the view's first to its last
  for (std::int64_t i = 0; i < tensor.shape.rank(); ++i)
    span += (tensor.shape[i] - 1) * tensor.strides[static_cast<std::size_t>(i)];
  const auto view = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(span * element));
  file_.read_at(begin, view.get(), span * element);
  gather(tensor, 0, view.get(), element, static_cast<char*>(destination));
}

void TorchFile::read_into(std::string_view name, void* destination, DType wanted) const {
  const TensorEntry& entry = info(name);
  if (entry.dtype == file_dtype(wanted)) {
    read_raw(name, destination);
    return;
  }
  check<FileError>(can_convert(entry.dtype, wanted), path().string(), ": tensor ", name, ": ", entry.dtype,
                   " cannot be read as ", wanted);
  const auto raw = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(entry.end));
  read_raw(name, raw.get());
  const std::int64_t bad = convert_elements(entry.dtype, raw.get(), wanted, destination, entry.numel);
  check<FileError>(bad < 0, path().string(), ": tensor ", name, ": element ", bad, " of ", entry.dtype,
                   " does not fit ", wanted);
}

void write_torch(const fs::path& path, std::span<const TensorToWrite> tensors) {
  std::set<std::string_view> names;
  std::vector<TorchTensor> described;
  for (const TensorToWrite& tensor : tensors) {
    check<FileError>(names.insert(tensor.name).second, path.string(), ": tensor ", tensor.name, " comes twice");
    TorchTensor& one = described.emplace_back();
    one.name = tensor.name;
    one.dtype = tensor.dtype;
    one.shape = tensor.shape;
  }
  const std::string pickle = format_torch_pickle(described, path.string());
  const std::string top = path.stem().string();
  AtomicFile file(path);
  ZipWriter zip(file);
  zip.add(top + "/data.pkl", pickle);
  zip.add(top + "/byteorder", "little");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::span<const std::byte> bytes = tensors[i].bytes();
    check<FileError>(static_cast<std::int64_t>(bytes.size()) == tensors[i].byte_count(), path.string(), ": tensor ",
                     tensors[i].name, ": expected ", tensors[i].byte_count(), " bytes, got ", bytes.size());
    zip.add(join(top, "/data/", i), bytes);
  }
  zip.add(top + "/version", "3\n");
  zip.finish();
  file.commit();
}

}  // namespace osteon::io
