#include "nn/io/output_folder.hpp"

#include <csignal>
#include <doctest/doctest.h>
#include <map>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/error.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using io::OutputFolder;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

using Files = std::map<std::string, std::string>;

void write(const fs::path& folder, const Files& files) {
  for (const auto& [name, content] : files)
    io::write_file_atomically(folder / name, content);
}

void save(const fs::path& folder, const Files& files) {
  OutputFolder out(folder);
  write(out.path(), files);
  out.commit();
}

Files files_of(const fs::path& folder) {
  Files files;
  for (const auto& entry : fs::directory_iterator(folder))
    files[entry.path().filename().string()] = entry.is_directory() ? "a folder" : io::read_file(entry.path());
  return files;
}

const Files kAdapter = {{"adapter_model.safetensors", "new"}, {"adapter_config.json", "new"}};

}  // namespace

TEST_CASE("OutputFolder: a new folder, its parents and a trailing slash") {
  const TemporaryFolder folder;
  save(folder / "a/b/adapter/", kAdapter);
  CHECK(files_of(folder / "a/b/adapter") == kAdapter);
  CHECK(files_of(folder / "a/b") == Files{{"adapter", "a folder"}});
}

TEST_CASE("OutputFolder: keeps the user's files, drops what belonged to the save before") {
  const TemporaryFolder folder;
  const Files mine = {{"README.md", "mine"}, {"notes.json", "mine"}, {"other.safetensors", "mine"}};
  write(folder.path(), mine);
  write(folder.path(), {{"adapter_model-00001-of-00002.safetensors", "old"},
                        {"adapter_model-00002-of-00002.safetensors", "old"},
                        {"adapter_model.safetensors.index.json", "old"},
                        {"model.safetensors", "kept"},
                        {"tokenizer.json", "kept"},
                        {"adapter_config.json", "old"}});
  fs::create_directory(folder / "data");
  struct stat before {
  }, after{};
  ::stat(folder.path().c_str(), &before);
  save(folder.path(), kAdapter);
  Files expected = mine;
  expected.insert(kAdapter.begin(), kAdapter.end());
  expected["model.safetensors"] = expected["tokenizer.json"] = "kept";
  expected["data"] = "a folder";
  CHECK(files_of(folder.path()) == expected);
  ::stat(folder.path().c_str(), &after);
  CHECK(before.st_ino == after.st_ino);  // whoever stands in it, or mounted it, still does

  save(folder.path(), {{"model-00001-of-00001.safetensors", "new"},
                       {"model.safetensors.index.json", "new"},
                       {"tokenizer.model", "new"},
                       {"config.json", "new"}});
  expected.erase("model.safetensors");
  expected.erase("tokenizer.json");  // it would be read in tokenizer.model's stead
  for (const char* name :
       {"model-00001-of-00001.safetensors", "model.safetensors.index.json", "tokenizer.model", "config.json"})
    expected[name] = "new";
  CHECK(files_of(folder.path()) == expected);

  save(folder.path(), {{"rwkv_vocab_v20230424.txt", "new"}});
  expected.erase("tokenizer.model");
  expected["rwkv_vocab_v20230424.txt"] = "new";
  CHECK(files_of(folder.path()) == expected);
}

TEST_CASE("OutputFolder: without commit nothing changes, and errors name the file to be") {
  const TemporaryFolder folder;
  const Files old = {{"adapter_model.safetensors", "old"}, {"adapter_config.json", "old"}};
  save(folder / "adapter", old);
  for (const char* name : {"adapter", "new"}) {
    const std::string message = message_of([&] {
      OutputFolder out(folder / name);
      write(out.path(), kAdapter);
      fs::remove_all(out.path());
      io::write_file_atomically(out.path() / "adapter_config.json", "new");
    });
    CHECK(contains(message, (folder / name).string() + "/adapter_config.json: cannot create a file"));
  }
  CHECK(files_of(folder.path()) == Files{{"adapter", "a folder"}});
  CHECK(files_of(folder / "adapter") == old);

  fs::create_directory(folder / "adapter/config.json");
  CHECK(contains(message_of([&] {
                   save(folder / "adapter", {{"config.json", ""}, {"adapter_config.json", "new"}});
                 }),
                 "config.json: expected a file to write, found a folder"));
  CHECK(files_of(folder / "adapter").at("adapter_config.json") == "old");
  io::write_file_atomically(folder / "file", "");
  CHECK(contains(message_of([&] { OutputFolder(folder / "file"); }), "expected a folder to write, found a file"));
  CHECK(contains(message_of([&] { OutputFolder(folder / "file/sub"); }), "cannot create the folder above it"));
}

TEST_CASE("OutputFolder: a process killed at any time leaves old, new, or a folder without config") {
  const TemporaryFolder folder;
  const fs::path target = folder / "adapter";
  const auto content = [](int version) {
    const std::string text(1 << 16, static_cast<char>('a' + version % 26));
    return Files{{"adapter_model.safetensors", text}, {"adapter_config.json", text}};
  };
  save(target, content(0));
  write(target, {{"README.md", "mine"}});
  for (int round = 0; round < 40; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int version = 1;; ++version)
        save(target, content(version));
    }
    ::usleep(static_cast<useconds_t>(500 + 397 * round));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    io::tidy_output(target);
    const Files files = files_of(target);
    CHECK(files.at("README.md") == "mine");
    if (files.contains("adapter_config.json"))
      CHECK(files.at("adapter_config.json") == files.at("adapter_model.safetensors"));
    CHECK(files.size() == 2 + files.count("adapter_config.json"));
    CHECK(folder.entries() == 1);
  }
  save(target, kAdapter);
  CHECK(files_of(target).at("adapter_config.json") == "new");
}
