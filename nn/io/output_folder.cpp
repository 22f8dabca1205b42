#include "nn/io/output_folder.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/model_files.hpp"

namespace osteon::io {
namespace fs = std::filesystem;
namespace {

constexpr std::array kTokenizerFiles = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json",   "special_tokens_map.json", "added_tokens.json",
    "vocab.json",     "merges.txt",      "rwkv_vocab_v20230424.txt"};

/// The name of the set that a file belongs to: its members are only right together. Empty for any other file.
std::string set_of(const std::string& name) {
  for (const char* stem : {"model", "adapter_model"})
    if (is_weight_file(name, stem))
      return stem;
  return std::find(kTokenizerFiles.begin(), kTokenizerFiles.end(), name) != kTokenizerFiles.end() ? "tokenizer" : "";
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    names.insert(entry->path().filename().string());
  check<FileError>(!error, folder.string(), ": cannot list: ", error.message());
  return names;
}

/// What an OutputFolder writes beside or inside, seen as the target of an AtomicFolder.
fs::path staging_target(const fs::path& target) { return fs::is_directory(target) ? target / "." : target; }

fs::path with_parents(fs::path target) {
  if (!target.has_filename())  // "folder/"
    target = target.parent_path();
  std::error_code error;
  if (target.has_parent_path())
    fs::create_directories(target.parent_path(), error);  // a link to a folder is an error here, and none below
  check<FileError>(!target.has_parent_path() || fs::is_directory(target.parent_path()), target.string(),
                   ": cannot create the folder above it: ", error.message());
  tidy_output(target);
  return target;
}

}  // namespace

void tidy_output(const fs::path& target) {
  tidy_folder(target);
  if (fs::is_directory(target))
    tidy_folder(target / ".");
}

OutputFolder::OutputFolder(fs::path target)
    : target_(with_parents(std::move(target))),
      in_place_(fs::is_directory(target_)),
      staging_(staging_target(target_)) {}

void OutputFolder::commit() {
  if (!in_place_) {
    staging_.commit();
    return;
  }
  const std::set<std::string> written = names_in(path());
  std::set<std::string> sets;
  for (const std::string& name : written) {
    check<FileError>(!fs::is_directory(target_ / name), (target_ / name).string(),
                     ": expected a file to write, found a folder");
    sets.insert(set_of(name));
  }
  sets.erase("");
  std::vector<std::string> first, last, stale;
  for (const std::string& name : written)
    (name.ends_with(".json") ? last : first).push_back(name);
  for (const std::string& name : names_in(target_))
    if (!written.contains(name) && sets.contains(set_of(name)))
      stale.push_back(name);

  std::error_code error;
  const auto remove = [&](const std::string& name) {
    fs::remove(target_ / name, error);
    check<FileError>(!error, (target_ / name).string(), ": cannot remove what an earlier save left: ", error.message());
  };
  const auto put = [&](const std::string& name) {
    fs::rename(path() / name, target_ / name, error);
    check<FileError>(!error, (target_ / name).string(),
                     ": cannot rename the finished file into place: ", error.message());
  };
  // Microseconds: no sync in between, as file systems with a journal keep the order of a folder's changes.
  std::for_each(last.begin(), last.end(), remove);
  std::for_each(stale.begin(), stale.end(), remove);
  std::for_each(first.begin(), first.end(), put);
  std::for_each(last.begin(), last.end(), put);
  sync_folder(target_);
}

}  // namespace osteon::io
