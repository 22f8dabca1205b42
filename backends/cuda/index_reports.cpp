#include "backends/cuda/index_reports.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/cuda/runtime.hpp"

namespace osteon::cuda {
namespace {

// Checks between two synchronize() of a training step, or in a graph: a few for each layer and micro-batch.
constexpr std::size_t kReports = 4096;
constexpr unsigned long long kNothing = ~0ULL;

using Fail = std::function<void(std::int64_t, std::int64_t, std::int64_t)>;
constexpr std::size_t kWords = 2;  // of a report

struct Pending {
  CUstream_st* stream;
  bool captured;  ///< on that stream: for all replays
  std::size_t report;
  Fail fail;
};

/// Words in pinned memory, which kernels write and the host reads without a copy.
struct Reports {
  std::mutex mutex;
  Buffer memory;  ///< from the first check on
  std::vector<std::size_t> unused;
  std::vector<Pending> pending;

  /// Called with the mutex held.
  void allocate() {
    if (memory.data() != nullptr)
      return;
    memory = Buffer(Memory::pinned, static_cast<std::int64_t>(kReports * kWords * sizeof(unsigned long long)));
    for (std::size_t i = kReports; i > 0; --i)
      unused.push_back(i - 1);
  }
  unsigned long long* word(std::size_t i) const {
    return reinterpret_cast<unsigned long long*>(memory.data()) + kWords * i;
  }
};

Reports& reports() {
  static auto* const one = new Reports;  // leaked on purpose: CUDA may be gone before static objects are
  return *one;
}

unsigned long long* take(Cuda device, const Fail& fail) {
  Reports& r = reports();
  const std::lock_guard lock(r.mutex);
  r.allocate();
  if (r.unused.empty())
    return nullptr;
  const std::size_t report = r.unused.back();
  r.pending.push_back({device.stream, capturing(), report, fail});
  r.unused.pop_back();
  std::fill_n(r.word(report), kWords, kNothing);
  return r.word(report);
}

}  // namespace

IndexCheck::IndexCheck(Cuda device, const std::function<void(std::int64_t, std::int64_t)>& fail)
    : IndexCheck(device,
                 Fail([fail](std::int64_t position, std::int64_t index, std::int64_t) { fail(position, index); })) {}

IndexCheck::IndexCheck(Cuda device, const Fail& fail) {
  report_ = take(device, fail);
  if (report_ == nullptr && !capturing()) {
    synchronize(device);
    report_ = take(device, fail);
  }
  check<Error>(report_ != nullptr, "cuda: more than ", kReports, " index checks ",
               capturing() ? "in graphs" : "wait for other streams or belong to graphs");
}

void allocate_reports() {
  const std::lock_guard lock(reports().mutex);
  reports().allocate();
}

void throw_reported(Cuda device) {
  Reports& r = reports();
  std::vector<std::pair<Fail, std::array<unsigned long long, kWords>>> failed;
  {
    const std::lock_guard lock(r.mutex);
    const auto is_over = [&](const Pending& p) { return !p.captured && p.stream == device.stream; };
    for (const Pending& p : r.pending) {
      if (!is_over(p) && !p.captured)
        continue;
      if (unsigned long long* words = r.word(p.report); words[0] != kNothing) {
        failed.push_back({p.fail, {words[0], words[1]}});
        std::fill_n(words, kWords, kNothing);
      }
      if (!p.captured)
        r.unused.push_back(p.report);
    }
    std::erase_if(r.pending, is_over);
  }
  for (const auto& [fail, words] : failed)
    fail(static_cast<std::int64_t>(words[0] >> 32), static_cast<std::int32_t>(words[0] & 0xffffffffU),
         static_cast<std::int32_t>(words[1] & 0xffffffffU));
}

void release_reports(Cuda captured_on) {
  Reports& r = reports();
  const std::lock_guard lock(r.mutex);
  for (Pending& p : r.pending)
    if (p.captured && p.stream == captured_on.stream) {
      p.stream = nullptr;
      p.captured = false;
    }
}

}  // namespace osteon::cuda
