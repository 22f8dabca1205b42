#include "experiments/training/event_file.hpp"

#include <array>
#include <bit>
#include <chrono>
#include <vector>

#include "backends/error.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {
namespace {

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    table[i] = i;
    for (int bit = 0; bit < 8; ++bit)
      table[i] = table[i] >> 1 ^ (table[i] & 1U) * 0x82f63b78U;
  }
  return table;
}();

/// TFRecord's: a checksum of bytes that hold checksums is no longer one.
std::uint32_t masked(std::uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8U; }

template <class Number>
std::string little_endian(Number value) {
  std::string bytes;
  auto bits = [&] {
    if constexpr (sizeof(Number) == 8)
      return std::bit_cast<std::uint64_t>(value);
    else
      return std::bit_cast<std::uint32_t>(value);
  }();
  for (std::size_t i = 0; i < sizeof value; ++i, bits >>= 8)
    bytes.push_back(static_cast<char>(bits & 0xff));
  return bytes;
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7)
    bytes.push_back(static_cast<char>((value & 0x7f) | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

// Fields of a message: their number and wire type, then the value.
enum WireType : unsigned { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
std::string tag(unsigned number, WireType type) { return varint(number << 3 | type); }
std::string bytes_field(unsigned number, std::string_view bytes) {
  return tag(number, kBytes) + varint(bytes.size()) + std::string(bytes);
}

std::string framed(const std::string& event) {
  const std::string length = little_endian(static_cast<std::uint64_t>(event.size()));
  return length + little_endian(masked(crc32c(length))) + event + little_endian(masked(crc32c(event)));
}

/// Event.wall_time = 1, Event.step = 2.
std::string event_at(double wall_time, std::int64_t step) {
  return tag(1, kFixed64) + little_endian(wall_time) + tag(2, kVarint) + varint(static_cast<std::uint64_t>(step));
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string record(double wall_time, const StepMetrics& m) {
  std::vector<Scalar> scalars = {{"train/loss", m.loss}, {"train/lr", m.lr}, {"train/grad_norm", m.grad_norm}};
  if (m.step_seconds > 0)
    scalars.push_back({"train/tokens_per_second", static_cast<double>(m.tokens) / m.step_seconds});
  return scalar_record(wall_time, m.step, scalars);
}

std::string record(double wall_time, const EvaluationMetrics& m) {
  std::vector<Scalar> scalars;
  if (m.eval_loss)
    scalars.push_back({"eval/loss", *m.eval_loss});
  if (m.eval_accuracy)
    scalars.push_back({"eval/accuracy", *m.eval_accuracy});
  return scalar_record(wall_time, m.step, scalars);
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char byte : bytes)
    crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<std::uint8_t>(byte)) & 0xff];
  return ~crc;
}

std::string scalar_record(double wall_time, std::int64_t step, std::span<const Scalar> scalars) {
  std::string summary;  // Summary.value = 1: tag = 1, simple_value = 2
  for (const Scalar& s : scalars)
    summary += bytes_field(1, bytes_field(1, s.tag) + tag(2, kFixed32) + little_endian(static_cast<float>(s.value)));
  return framed(event_at(wall_time, step) + bytes_field(5, summary));  // Event.summary = 5
}

EventFile::EventFile(const std::filesystem::path& folder, const Metrics& history) {
  const double begin = now();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  check<FileError>(!error, folder.string(), ": expected a folder that can be written: ", error.message());
  path_ = folder / "events.out.tfevents.osteon";                                    // TensorBoard looks for "tfevents"
  std::string text = framed(event_at(begin, 0) + bytes_field(3, "brain.Event:2"));  // Event.file_version = 3
  for (const StepMetrics& step : history.steps)
    text += record(begin, step);
  for (const EvaluationMetrics& evaluation : history.evaluations)
    text += record(begin, evaluation);
  io::write_file_atomically(path_, text);
  file_.open(path_, std::ios::binary | std::ios::app);
  append("");
}

void EventFile::write(const StepMetrics& metrics) { append(record(now(), metrics)); }

void EventFile::write(const EvaluationMetrics& metrics) { append(record(now(), metrics)); }

void EventFile::append(const std::string& record) {
  file_ << record << std::flush;
  check<FileError>(file_.good(), path_.string(), ": could not write the next event");
}

}  // namespace osteon::experiments
