#include "backends/cuda/index_reports.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/cuda/runtime.hpp"

namespace osteon::cuda {
namespace {

constexpr std::size_t kReports = 1024;  // checks between two synchronize() of a training step: a few for each layer
constexpr unsigned long long kNothing = ~0ULL;

using Fail = std::function<void(std::int64_t, std::int64_t, std::int64_t)>;
constexpr std::size_t kWords = 2;  // of a report

struct Pending {
  CUstream_st* stream;
  std::size_t report;
  Fail fail;
};

/// Words in pinned memory, which kernels write and the host reads without a copy.
struct Reports {
  std::mutex mutex;
  Buffer memory;  ///< from the first check on
  std::vector<std::size_t> unused;
  std::vector<Pending> pending;

  void allocate() {
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
  if (r.memory.data() == nullptr)
    r.allocate();
  if (r.unused.empty())
    return nullptr;
  const std::size_t report = r.unused.back();
  r.pending.push_back({device.stream, report, fail});
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
  if (report_ == nullptr) {
    synchronize(device);
    report_ = take(device, fail);
  }
  check<Error>(report_ != nullptr, "cuda: more than ", kReports, " index checks wait for other streams");
}

void throw_reported(Cuda device) {
  Reports& r = reports();
  std::vector<std::pair<Fail, std::array<unsigned long long, kWords>>> failed;
  {
    const std::lock_guard lock(r.mutex);
    const auto is_over = [&](const Pending& p) { return p.stream == device.stream; };
    for (const Pending& p : r.pending)
      if (is_over(p)) {
        if (const unsigned long long* words = r.word(p.report); words[0] != kNothing)
          failed.push_back({p.fail, {words[0], words[1]}});
        r.unused.push_back(p.report);
      }
    std::erase_if(r.pending, is_over);
  }
  for (const auto& [fail, words] : failed)
    fail(static_cast<std::int64_t>(words[0] >> 32), static_cast<std::int32_t>(words[0] & 0xffffffffU),
         static_cast<std::int32_t>(words[1] & 0xffffffffU));
}

}  // namespace osteon::cuda
