#include "nn/io/atomic_file.hpp"

#include <csignal>
#include <doctest/doctest.h>
#include <filesystem>
#include <random>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/error.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using io::AtomicFile;
using io::AtomicFolder;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

/// Every file this process writes may have at most `bytes`: a write that crosses the limit is short, the next fails.
/// It is how a full disk looks to a program, and needs no rights.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

}  // namespace

TEST_CASE("AtomicFile: nothing is visible before commit, everything after") {
  const TemporaryFolder folder;
  const fs::path target = folder / "a.txt";
  io::write_file_atomically(target, "old");
  {
    AtomicFile file(target);
    file.write("new ");
    file.write("content");
    CHECK(io::read_file(target) == "old");
    file.commit();
    CHECK(io::read_file(target) == "new content");
    CHECK_THROWS_AS(file.write("more"), FileError);
    CHECK_THROWS_AS(file.commit(), FileError);
  }
  CHECK(io::read_file(target) == "new content");
  CHECK(folder.entries() == 1);
}

TEST_CASE("AtomicFile: without commit the old file stays and no temporary file is left") {
  const TemporaryFolder folder;
  io::write_file_atomically(folder / "a.txt", "old");
  {
    AtomicFile file(folder / "a.txt");
    file.write(std::string(1 << 20, 'x'));
    CHECK(folder.entries() == 2);
  }
  CHECK(io::read_file(folder / "a.txt") == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("AtomicFile: pieces of every size arrive in order") {
  const TemporaryFolder folder;
  std::string expected;
  AtomicFile file(folder / "pieces");
  for (std::size_t size : {0UL, 1UL, 100000UL, 200000UL, 262143UL, 262144UL, 5UL, 1000000UL, 3UL}) {
    std::string piece(size, '\0');
    for (std::size_t i = 0; i < size; ++i)
      piece[i] = static_cast<char>(i * 31 + size);
    file.write(piece.data(), piece.size());
    expected += piece;
  }
  file.commit();
  CHECK((io::read_file(folder / "pieces") == expected));
}

TEST_CASE("AtomicFile: permissions follow the umask") {
  const TemporaryFolder folder;
  const mode_t old = ::umask(0027);
  io::write_file_atomically(folder / "a", "x");
  ::umask(old);
  struct stat status {};
  REQUIRE(::stat((folder / "a").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
}

TEST_CASE("AtomicFile: a full disk, at every byte, is an error and the old file stays") {
  const TemporaryFolder folder;
  const fs::path target = folder / "checkpoint.bin";
  io::write_file_atomically(target, "old");
  const std::string content = "twenty-five bytes of data";
  for (std::size_t limit = 0; limit <= content.size(); ++limit) {
    CAPTURE(limit);
    std::string message;
    {
      const FileSizeLimit full(limit);
      message = message_of([&] { io::write_file_atomically(target, content); });
    }
    if (limit < content.size()) {
      CHECK(contains(message, target.string() + ": cannot write: File too large"));
      CHECK(io::read_file(target) == "old");
    } else {
      CHECK(message == "no error");
      CHECK(io::read_file(target) == content);
    }
    CHECK(folder.entries() == 1);
  }
}

TEST_CASE("AtomicFile: errors name the path and the reason") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "sub");
  CHECK(message_of([&] { AtomicFile(folder / "missing/a.txt"); }) ==
        (folder / "missing/a.txt").string() + ": cannot create a file in its folder: No such file or directory");
  CHECK(contains(message_of([&] { AtomicFile(folder / "sub"); }), "expected a file to write, found a folder"));
  CHECK(contains(message_of([&] { AtomicFile(folder / "sub/"); }), "expected the name of a file"));
}

TEST_CASE("read_file: size limit, missing file, folder") {
  const TemporaryFolder folder;
  io::write_file_atomically(folder / "a", "12345");
  CHECK(io::read_file(folder / "a", 5) == "12345");
  CHECK(contains(message_of([&] { io::read_file(folder / "a", 4); }), "expected at most 4 bytes, found more"));
  CHECK(contains(message_of([&] { io::read_file(folder / "b"); }), "cannot open: No such file or directory"));
  CHECK(contains(message_of([&] { io::read_file(folder.path()); }), "cannot read: Is a directory"));
  CHECK(contains(message_of([] { io::read_file("/dev/zero", 1 << 20); }), "expected at most 1048576 bytes"));
}

TEST_CASE("AtomicFolder: a new folder replaces an old one as a whole") {
  const TemporaryFolder folder;
  const fs::path target = folder / "checkpoint";
  for (int round = 0; round < 3; ++round) {
    AtomicFolder next(target);
    io::write_file_atomically(next.path() / "step.txt", std::to_string(round));
    fs::create_directory(next.path() / "nested");
    io::write_file_atomically(next.path() / "nested" / join("only-in-", round), "x");
    if (round > 0)
      CHECK(io::read_file(target / "step.txt") == std::to_string(round - 1));
    next.commit();
    CHECK(io::read_file(target / "step.txt") == std::to_string(round));
    CHECK(fs::exists(target / "nested" / join("only-in-", round)));
    CHECK_FALSE(fs::exists(target / "nested" / join("only-in-", round - 1)));
    CHECK_THROWS_AS(next.commit(), FileError);
  }
  CHECK(folder.entries() == 1);
}

TEST_CASE("AtomicFolder: without commit, or when the disk is full, the old folder stays") {
  const TemporaryFolder folder;
  const fs::path target = folder / "checkpoint/";
  {
    AtomicFolder first(target);
    io::write_file_atomically(first.path() / "weights", "old");
    first.commit();
  }
  CHECK(contains(message_of([&] {
                   AtomicFolder second(target);
                   io::write_file_atomically(second.path() / "step", "2");
                   const FileSizeLimit full(10);
                   io::write_file_atomically(second.path() / "weights", "more than ten bytes");
                   second.commit();
                 }),
                 "File too large"));
  CHECK(io::read_file(target / "weights") == "old");
  CHECK_FALSE(fs::exists(target / "step"));
  CHECK(folder.entries() == 1);
}

TEST_CASE("AtomicFolder: a file in its place, a missing parent") {
  const TemporaryFolder folder;
  io::write_file_atomically(folder / "file", "x");
  CHECK(contains(message_of([&] { AtomicFolder(folder / "file"); }), "expected a folder to write, found a file"));
  CHECK(contains(message_of([&] { AtomicFolder(folder / "missing/sub"); }), "No such file or directory"));
}

TEST_CASE("tidy_folder: brings a moved folder back, removes what a dead process left, touches nothing else") {
  const TemporaryFolder folder;
  const fs::path target = folder / "checkpoint";
  fs::create_directory(folder / ".checkpoint.old-1-0");
  io::write_file_atomically(folder / ".checkpoint.old-1-0/weights", "old");
  fs::create_directory(folder / ".checkpoint.tmp-1-1");
  io::write_file_atomically(folder / ".checkpoint.tmp-1-1/weights", "half");
  io::write_file_atomically(folder / ".checkpoint2.tmp-1-1", "another target's");
  io::tidy_folder(target);
  CHECK(io::read_file(target / "weights") == "old");
  CHECK(folder.entries() == 2);

  fs::create_directory(folder / ".checkpoint.old-1-2");  // the exchange was complete: the old one is only a leftover
  io::tidy_folder(target);
  CHECK(io::read_file(target / "weights") == "old");
  CHECK(folder.entries() == 2);
}

TEST_CASE("AtomicFolder: a process killed at any time leaves a complete folder") {
  const TemporaryFolder folder;
  const fs::path target = folder / "checkpoint";
  const auto save = [&](int step) {
    AtomicFolder next(target);
    io::write_file_atomically(next.path() / "weights", join("step ", step));
    io::write_file_atomically(next.path() / "optimizer", join("step ", step));
    next.commit();
  };
  save(0);
  std::minstd_rand random(5);
  for (int trial = 0; trial < 30; ++trial) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (int step = 1;; ++step)
        save(step);
    }
    ::usleep(static_cast<useconds_t>(random() % 20'000));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));  // it did not end by itself, with an error
    io::tidy_folder(target);
    CHECK(io::read_file(target / "weights") == io::read_file(target / "optimizer"));
    CHECK(folder.entries() == 1);
  }
}
