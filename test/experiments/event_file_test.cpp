#include "experiments/training/event_file.hpp"

#include <bit>
#include <doctest/doctest.h>
#include <fstream>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
using osteon::test::TemporaryFolder;

namespace {

std::uint64_t number(const std::string& bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i)
    value |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(bytes.at(at + i))) << 8 * i;
  return value;
}

/// The checksum behind a mask, as TFRecord's reader takes it off.
std::uint32_t unmasked(std::uint64_t masked) {
  const auto rotated = static_cast<std::uint32_t>(masked) - 0xa282ead8U;
  return rotated >> 17 | rotated << 15;
}

/// The messages of a file, whose frames are checked.
std::vector<std::string> events(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = number(text, at, 8);
    CHECK(unmasked(number(text, at + 8, 4)) == crc32c(text.substr(at, 8)));
    out.push_back(text.substr(at + 12, length));
    CHECK(unmasked(number(text, at + 12 + length, 4)) == crc32c(out.back()));
    at += 16 + length;
  }
  return out;
}

}  // namespace

TEST_CASE("the checksum has the values of RFC 3720") {
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xe3069283);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);
}

TEST_CASE("a record of scalars has the bytes that the protocol buffer library writes") {
  // Event(wall_time=1.5, step=300, summary=Summary(value=[Value(tag="a", simple_value=0.5)])).SerializeToString()
  const std::string want(
      "\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x10\xac\x02\x2a\x0a\x0a\x08\x0a\x01\x61\x15\x00\x00\x00\x3f", 24);
  CHECK(events(scalar_record(1.5, 300, std::vector<Scalar>{{"a", 0.5}})) == std::vector<std::string>{want});
}

TEST_CASE("an event file begins with its version and holds history, then every line when write() returns") {
  const TemporaryFolder folder;
  const StepMetrics step{.step = 2, .loss = 1.5, .lr = 0.01, .grad_norm = 1.25, .tokens = 768, .step_seconds = 0.5};
  Metrics history;
  history.steps = {StepMetrics{.step = 1, .loss = 2.5, .lr = 0.01, .grad_norm = 1, .tokens = 768, .step_seconds = 0}};
  EventFile file(folder / "tensorboard", history);
  const auto path = folder / "tensorboard/events.out.tfevents.osteon";
  CHECK(events(io::read_file(path)).size() == 2);
  file.write(step);
  file.write(EvaluationMetrics{.step = 2, .eval_loss = 2.25, .eval_accuracy = std::nullopt});
  const std::vector<std::string> all = events(io::read_file(path));
  REQUIRE(all.size() == 4);
  CHECK(all[0].ends_with("brain.Event:2"));
  CHECK(all[1].find("train/loss") != std::string::npos);
  CHECK(all[1].find("tokens_per_second") == std::string::npos);  // no time, no rate
  CHECK(all[2].find("train/tokens_per_second") != std::string::npos);
  CHECK(all[3].find("eval/loss") != std::string::npos);
  CHECK(all[3].find("eval/accuracy") == std::string::npos);
  EventFile again(folder / "tensorboard", history);
  CHECK(events(io::read_file(path)).size() == 2);
}

TEST_CASE("an event file that cannot be written is an error with its name") {
  const TemporaryFolder folder;
  std::ofstream(folder / "tensorboard") << "a file where a folder is to be";
  CHECK_THROWS_WITH_AS(EventFile(folder / "tensorboard", Metrics{}), doctest::Contains("tensorboard"), FileError);
}
