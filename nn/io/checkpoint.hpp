#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "autograd/tensor.hpp"
#include "nn/io/model_files.hpp"

namespace osteon::nn {

/// Compares the names and shapes of `tensors` (of any device, `meta` too) with what the files hold, before a byte of
/// data is read. One FileError lists every missing tensor with the nearest name among the unexpected, every other
/// shape with file, tensor, expected and found, and every dtype that cannot be read. Returns the names that the files
/// hold beyond `tensors`, sorted.
std::vector<std::string> check_tensors(const io::ModelFiles& files, const NamedTensors& tensors);

/// Reads one tensor straight into place, converting to its dtype on the way; by the host's memory where it is
/// elsewhere.
void read_tensor(const io::ModelFiles& files, const std::string& name, const Tensor& to);

/// check_tensors, then read_tensor for each. If anything is
/// missing or does not fit, no tensor has been touched. Returns the unexpected names.
std::vector<std::string> load_tensors(const io::ModelFiles& files, const NamedTensors& tensors);

/// Writes one file of the tensors in their dtypes, atomically: safetensors, or what .pth names. load_tensors reads it
/// back.
void write_tensors(const std::filesystem::path& file, const NamedTensors& tensors);

/// Writes the tensors in their dtypes to `folder`, which is made if it is not there, as one file or as shards; see
/// io::write_model_files.
void save_tensors(const std::filesystem::path& folder, const NamedTensors& tensors, const std::string& stem = "model",
                  std::int64_t max_shard_bytes = io::kDefaultShardBytes);

}  // namespace osteon::nn
