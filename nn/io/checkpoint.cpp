#include "nn/io/checkpoint.hpp"

#include <algorithm>
#include <memory>
#include <set>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "nn/io/convert.hpp"

namespace osteon::nn {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMostListed = 10;

/// The first lines of a list, and how many more there are.
std::string listed(const std::vector<std::string>& lines) {
  std::string text;
  for (std::size_t i = 0; i < std::min(lines.size(), kMostListed); ++i)
    text += "\n  " + lines[i];
  if (lines.size() > kMostListed)
    text += join("\n  and ", lines.size() - kMostListed, " more");
  return text;
}

std::vector<io::TensorToWrite> to_write(const NamedTensors& tensors) {
  std::vector<io::TensorToWrite> all;
  const auto copy = std::make_shared<Tensor>();  // on the host, of the one whose turn it is
  for (const auto& [name, tensor] : tensors) {
    all.push_back(io::tensor_to_write(name, tensor.dtype(), tensor.shape(), tensor.view().data));
    if (tensor.device() != Device::cpu)
      all.back().bytes = [copy, &tensor = tensor] {
        *copy = to_device(tensor, Device::cpu);
        return std::span(static_cast<const std::byte*>(copy->view().data), static_cast<std::size_t>(copy->bytes()));
      };
  }
  return all;
}

}  // namespace

std::vector<std::string> check_tensors(const io::ModelFiles& files, const NamedTensors& tensors) {
  std::set<std::string> wanted;
  for (const auto& [name, tensor] : tensors)
    wanted.insert(name);
  std::vector<std::string> unexpected = files.names();
  std::erase_if(unexpected, [&](const std::string& name) { return wanted.contains(name); });

  std::vector<std::string> missing, wrong;
  for (const auto& [name, tensor] : tensors) {
    if (!files.contains(name)) {
      missing.push_back(name + suggestion(name, unexpected));
      continue;
    }
    const io::TensorEntry& found = files.info(name);
    const std::string where = files.file_of(name).path().string() + ": " + name + ": ";
    if (found.shape != tensor.shape())
      wrong.push_back(join(where, "expected shape ", tensor.shape(), ", found ", found.shape));
    else if (!io::can_convert(found.dtype, tensor.dtype()))
      wrong.push_back(join(where, "expected elements to read as ", tensor.dtype(), ", found ", found.dtype));
  }
  if (missing.empty() && wrong.empty())
    return unexpected;
  std::string problems;
  if (!missing.empty())
    problems += join("\n", missing.size(), " of ", tensors.size(), " tensors are missing:", listed(missing));
  if (!missing.empty() && !unexpected.empty())
    problems += join("\nnot expected, but found:", listed(unexpected));
  if (!wrong.empty())
    problems += join("\n", wrong.size(), " of ", tensors.size(), " tensors do not fit:", listed(wrong));
  fail<FileError>(files.path().string(), ": the weights are not those of the model:", problems);
}

void read_tensor(const io::ModelFiles& files, const std::string& name, const Tensor& to) {
  if (to.device() == Device::cpu)
    return files.read_into(name, to.mut().data, to.dtype());
  const Tensor read = empty(to.shape(), to.dtype(), Device::cpu, Category::workspace);
  files.read_into(name, read.mut().data, read.dtype());
  copy_elements(read, to);
}

std::vector<std::string> load_tensors(const io::ModelFiles& files, const NamedTensors& tensors) {
  std::vector<std::string> unexpected = check_tensors(files, tensors);
  for (const auto& [name, tensor] : tensors)
    read_tensor(files, name, tensor);
  return unexpected;
}

void write_tensors(const fs::path& file, const NamedTensors& tensors) {
  io::write_tensor_file(file, to_write(tensors));
}

void save_tensors(const fs::path& folder, const NamedTensors& tensors, const std::string& stem,
                  std::int64_t max_shard_bytes) {
  std::error_code error;
  fs::create_directories(folder, error);  // reports an existing file, but not a link to a folder, as an error
  check<FileError>(fs::is_directory(folder), folder.string(), ": expected a folder to write, ",
                   fs::exists(folder) ? "found a file" : error.message());
  io::write_model_files(folder, to_write(tensors), max_shard_bytes, io::default_metadata(), stem);
}

}  // namespace osteon::nn
