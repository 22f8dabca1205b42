#pragma once

#include <filesystem>

#include "nn/io/atomic_file.hpp"

namespace osteon::io {

/// Writes an adapter or a model to a folder that may hold an earlier one, and files of the user's: fill path(), then
/// commit() puts it in place. Until then, and after any failure before it, the folder is what it was.
///   a new folder        appears whole, by one rename
///   a folder in place   keeps its other files; every new file is complete on the disk, inside it, before the first
///                       old one is touched. commit() then takes the old .json files away (nothing reads weights
///                       without config.json or adapter_config.json), renames the weights, and the .json files last:
///                       a crash in these few renames leaves a folder that is refused, never a mixture that is read.
/// What an earlier save left and this one's would be read together with, or instead of, is removed: other shards of
/// the same weights, other files of a tokenizer where one is written. No other file is. FileError with path and reason.
class OutputFolder {
 public:
  /// Makes the folders above `target`, and removes what a process that died left of an earlier OutputFolder there.
  explicit OutputFolder(std::filesystem::path target);

  const std::filesystem::path& path() const { return staging_.path(); }  ///< write the content here; files only
  void commit();                                                         ///< at most once

 private:
  std::filesystem::path target_;
  bool in_place_;
  AtomicFolder staging_;
};

/// Removes what a process that died left of an OutputFolder at `target`.
void tidy_output(const std::filesystem::path& target);

}  // namespace osteon::io
