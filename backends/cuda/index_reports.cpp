#include "backends/cuda/index_reports.hpp"

#include <mutex>
#include <utility>
#include <vector>

#include "backends/cuda/runtime.hpp"

namespace osteon::cuda {
namespace {

constexpr std::size_t kReports = 1024;  // checks between two synchronize() of a training step: a few for each layer
constexpr unsigned long long kNothing = ~0ULL;

using Fail = std::function<void(std::int64_t, std::int64_t)>;

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
    memory = Buffer(Memory::pinned, static_cast<std::int64_t>(kReports * sizeof(unsigned long long)));
    for (std::size_t i = kReports; i > 0; --i)
      unused.push_back(i - 1);
  }
  unsigned long long* word(std::size_t i) const { return reinterpret_cast<unsigned long long*>(memory.data()) + i; }
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
  *r.word(report) = kNothing;
  return r.word(report);
}

}  // namespace

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
  std::vector<std::pair<Fail, unsigned long long>> failed;
  {
    const std::lock_guard lock(r.mutex);
    const auto is_over = [&](const Pending& p) { return p.stream == device.stream; };
    for (const Pending& p : r.pending)
      if (is_over(p)) {
        if (const unsigned long long word = *r.word(p.report); word != kNothing)
          failed.emplace_back(p.fail, word);
        r.unused.push_back(p.report);
      }
    std::erase_if(r.pending, is_over);
  }
  for (const auto& [fail, word] : failed)
    fail(static_cast<std::int64_t>(word >> 32), static_cast<std::int32_t>(word & 0xffffffffU));
}

}  // namespace osteon::cuda
