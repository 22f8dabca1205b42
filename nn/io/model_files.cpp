#include "nn/io/model_files.hpp"

#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>
#include <utility>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::io {
namespace fs = std::filesystem;
namespace {

using json = nlohmann::json;

/// "model-00002-of-00003.safetensors" of the stem "model".
bool is_shard_of(const std::string& name, const std::string& stem) {
  const std::string pattern = stem + "-00000-of-00000.safetensors";
  return name.size() == pattern.size() &&
         std::equal(name.begin(), name.end(), pattern.begin(), [](char found, char expected) {
           return expected == '0' ? found >= '0' && found <= '9' : found == expected;
         });
}

/// The weight map of an index file, each entry checked.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const json index = json::parse(read_file(path, kMaxHeaderBytes), nullptr, /*allow_exceptions=*/false);
  check<FileError>(!index.is_discarded(), path.string(), ": not valid JSON");
  check<FileError>(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(), path.string(),
                   ": expected an object \"weight_map\" from tensor names to files");
  std::map<std::string, std::string> map;
  for (const auto& [name, file] : index["weight_map"].items()) {
    check<FileError>(file.is_string(), path.string(), ": weight_map: ", name, ": expected a file name, found ",
                     file.dump());
    const auto& text = file.get_ref<const std::string&>();
    // A downloaded index must not reach outside its folder.
    check<FileError>(fs::path(text).filename() == text && text != ".." && text.ends_with(".safetensors"), path.string(),
                     ": weight_map: ", name, ": expected the name of a safetensors file in the same folder, found \"",
                     text, "\"");
    map[name] = text;
  }
  check<FileError>(!map.empty(), path.string(), ": weight_map: expected at least one tensor, found none");
  return map;
}

std::string weight_files_in(const fs::path& folder) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string extension = entry->path().extension().string();
    if (extension == ".safetensors" || extension == ".bin" || extension == ".pth" || extension == ".gguf")
      found.push_back(entry->path().filename().string());
  }
  std::sort(found.begin(), found.end());
  std::string list;
  for (const std::string& name : found)
    list += (list.empty() ? "" : ", ") + name;
  return list.empty() ? "no weights" : list;
}

std::string shard_name(const std::string& stem, std::size_t index, std::size_t count) {
  std::ostringstream name;
  name << stem << std::setfill('0') << '-' << std::setw(5) << index + 1 << "-of-" << std::setw(5) << count
       << ".safetensors";
  return name.str();
}

}  // namespace

bool is_weight_file(const std::string& name, const std::string& stem) {
  const std::string single = stem + ".safetensors";
  return name == single || name == single + ".index.json" || is_shard_of(name, stem);
}

ModelFiles::ModelFiles(const fs::path& path, const std::string& stem) : path_(path) {
  if (!fs::is_directory(path)) {
    files_.emplace_back(path);
  } else if (const fs::path single = path / (stem + ".safetensors"); fs::exists(single)) {
    files_.emplace_back(single);
  } else {
    const fs::path index = path / (stem + ".safetensors.index.json");
    check<FileError>(fs::exists(index), path.string(), ": expected ", stem, ".safetensors or ", stem,
                     ".safetensors.index.json, found ", weight_files_in(path));
    open_shards(index, path);
    return;
  }
  for (const TensorEntry& tensor : files_.front().tensors())
    shard_of_.emplace(tensor.name, 0);
}

void ModelFiles::open_shards(const fs::path& index, const fs::path& folder) {
  const std::map<std::string, std::string> weight_map = read_index(index);
  std::map<std::string, std::size_t> number;
  for (const auto& [name, file] : weight_map)
    number.emplace(file, 0);
  std::string missing;
  for (auto& [file, position] : number) {
    if (!fs::exists(folder / file)) {
      missing += (missing.empty() ? "" : ", ") + file;
      continue;
    }
    position = files_.size();
    files_.emplace_back(folder / file);
  }
  check<FileError>(missing.empty(), index.string(), ": expected its shards in the same folder, missing: ", missing);

  for (const auto& [name, file] : weight_map) {
    const std::size_t position = number.at(file);
    if (!files_[position].contains(name))
      missing += "\n  " + name + " in " + file;
    shard_of_.emplace(name, position);
  }
  check<FileError>(missing.empty(), index.string(),
                   ": tensors of the weight_map that their shard does not hold:", missing);
  for (std::size_t position = 0; position < files_.size(); ++position) {
    for (const TensorEntry& tensor : files_[position].tensors()) {
      const auto found = shard_of_.find(tensor.name);
      const std::string file = files_[position].path().string();
      if (found == shard_of_.end())
        warnings_.push_back(join(file, ": tensor ", tensor.name, " is not in the index and is ignored"));
      else if (found->second != position)
        warnings_.push_back(join(file, ": tensor ", tensor.name, " is ignored: the index takes it from ",
                                 files_[found->second].path().filename().string()));
    }
  }
}

std::vector<std::string> ModelFiles::names() const {
  std::vector<std::string> names;
  for (const auto& [name, position] : shard_of_)
    names.push_back(name);
  return names;
}

const TensorFile& ModelFiles::file_of(std::string_view name) const {
  const auto found = shard_of_.find(name);
  check<FileError>(found != shard_of_.end(), path_.string(), ": no tensor ", name, " among its ", shard_of_.size());
  return files_[found->second];
}

void write_model_files(const fs::path& folder, std::span<const TensorToWrite> tensors, std::int64_t max_shard_bytes,
                       const Metadata& metadata, const std::string& stem) {
  check<ConfigError>(max_shard_bytes > 0, "max_shard_bytes: expected more than 0, got ", max_shard_bytes);
  std::vector<std::size_t> starts{0};  // of each shard in `tensors`
  std::int64_t shard_bytes = 0, total_bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t bytes = tensors[i].byte_count();
    if (shard_bytes > 0 && shard_bytes + bytes > max_shard_bytes) {
      starts.push_back(i);
      shard_bytes = 0;
    }
    shard_bytes += bytes;
    total_bytes += bytes;
  }

  std::vector<std::string> written;
  const std::string single = stem + ".safetensors", index_name = single + ".index.json";
  if (starts.size() == 1) {
    write_safetensors(folder / single, tensors, metadata);
    written = {single};
  } else {
    json weight_map = json::object();
    for (std::size_t shard = 0; shard < starts.size(); ++shard) {
      const std::size_t end = shard + 1 < starts.size() ? starts[shard + 1] : tensors.size();
      const std::span<const TensorToWrite> part = tensors.subspan(starts[shard], end - starts[shard]);
      written.push_back(shard_name(stem, shard, starts.size()));
      for (const TensorToWrite& tensor : part) {
        check<FileError>(!weight_map.contains(tensor.name), folder.string(), ": tensor ", tensor.name, " comes twice");
        weight_map[tensor.name] = written.back();
      }
      write_safetensors(folder / written.back(), part, metadata);
    }
    const json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}};
    write_file_atomically(folder / index_name, index.dump(2) + "\n");
    written.push_back(index_name);
  }

  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (is_weight_file(name, stem) && std::find(written.begin(), written.end(), name) == written.end())
      fs::remove(entry.path(), error);
    check<FileError>(!error, entry.path().string(), ": cannot remove what an earlier save left: ", error.message());
  }
}

}  // namespace osteon::io
