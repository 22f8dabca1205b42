#include "backends/memory.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <sys/mman.h>
#include <vector>

#include "backends/error.hpp"
#include "backends/scratch.hpp"
#include "backends/storage.hpp"

namespace osteon {
namespace {

constexpr std::int64_t kAlignment = 64;
constexpr std::int64_t kReadPadding = 64;
constexpr std::int64_t kHugePage = 2 << 20;

/// Size classes: 16 to a power of two, so that a block is at most 1/16 larger than asked for.
std::int64_t size_class(std::int64_t bytes) {
  std::int64_t step = kAlignment;
  while (step * 32 <= bytes)
    step *= 2;
  return std::max(kAlignment, (bytes + step - 1) / step * step);
}

/// What a request takes from the system: vector kernels may read a whole vector that begins inside it.
std::int64_t block_bytes(std::int64_t bytes) { return size_class(bytes + kReadPadding); }

void* system_allocate(std::int64_t bytes) {
  const bool huge = bytes >= kHugePage;
  void* memory =
      std::aligned_alloc(static_cast<std::size_t>(huge ? kHugePage : kAlignment),
                         static_cast<std::size_t>(huge ? (bytes + kHugePage - 1) / kHugePage * kHugePage : bytes));
  // Page faults are expensive: ask for huge pages where the system allows them.
  if (memory != nullptr && huge)
    madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  return memory;
}

/// Idle blocks by their size.
using IdleBlocks = std::map<std::int64_t, std::vector<void*>>;

}  // namespace

struct GraphMemory::Blocks {
  IdleBlocks idle;
  bool gave_back_others = false;
};

namespace {

/// Counts one device's bytes and keeps freed blocks for reuse; without memory the blocks are null, and counted alike.
class Allocator {
 public:
  static Allocator& of(Device device) {
    // Leaked on purpose: tensors with static lifetime may be released after any other static object.
    static const std::array<Allocator*, kDevices> all = {new Allocator(true, {system_allocate, std::free}),
                                                         new Allocator(true, {}), new Allocator(false, {})};
    return *all[static_cast<std::size_t>(device)];
  }

  std::byte* allocate(std::int64_t bytes, Category category) {
    const std::lock_guard lock(mutex_);
    const std::int64_t rounded = block_bytes(bytes);
    GraphMemory::Blocks* const graph = capturing() ? capture_ : nullptr;
    auto& blocks = graph != nullptr && !graph->idle[rounded].empty() ? graph->idle[rounded] : idle_[rounded];
    void* memory = nullptr;
    if (!blocks.empty()) {
      memory = blocks.back();
      blocks.pop_back();
      idle_bytes_ -= rounded;
    } else {
      if (has_memory_)
        memory = from_source(rounded);
      check<Error>(memory != nullptr || !has_memory_, "memory: expected ", bytes, " bytes for ", name_of(category),
                   ", but the system has no more");
      ++system_allocations_;
    }
    if (graph != nullptr)
      owners_[memory] = graph;
    rounding_bytes_ += rounded - bytes;
    count(category, bytes);
    return static_cast<std::byte*>(memory);
  }

  void release(std::byte* memory, std::int64_t bytes, Category category) {
    const std::lock_guard lock(mutex_);
    count(category, -bytes);
    const std::int64_t rounded = block_bytes(bytes);
    const auto owner = owners_.find(memory);
    if (owner == owners_.end() && capture_ != nullptr && capturing())
      capture_->gave_back_others = true;
    (owner == owners_.end() ? idle_ : owner->second->idle)[rounded].push_back(memory);
    idle_bytes_ += rounded;
    rounding_bytes_ -= rounded - bytes;
  }

  void move(std::int64_t bytes, Category from, Category to) {
    const std::lock_guard lock(mutex_);
    live_.bytes[static_cast<std::size_t>(from)] -= bytes;  // the total stays: no new peak
    live_.bytes[static_cast<std::size_t>(to)] += bytes;
    raise_each();
  }

  MemoryReport report() {
    const std::lock_guard lock(mutex_);
    return {live_, peak_, peak_each_, idle_bytes_ + rounding_bytes_, system_allocations_};
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = peak_each_ = live_;
    system_allocations_ = 0;
  }

  void release_idle() {
    const std::lock_guard lock(mutex_);
    release_idle_locked();
  }

  void begin_capture(GraphMemory::Blocks* graph) {
    const std::lock_guard lock(mutex_);
    check<Error>(capture_ == nullptr, "graph: expected one at a time to be captured");
    capture_ = graph;
  }

  void end_capture(const GraphMemory::Blocks* graph) {
    const std::lock_guard lock(mutex_);
    if (capture_ == graph)
      capture_ = nullptr;
  }

  /// The graph's blocks are the pool's again: those in use when they are given back.
  void dissolve(GraphMemory::Blocks& graph) {
    const std::lock_guard lock(mutex_);
    for (auto& [bytes, blocks] : graph.idle)
      idle_[bytes].insert(idle_[bytes].end(), blocks.begin(), blocks.end());
    std::erase_if(owners_, [&](const auto& owned) { return owned.second == &graph; });
  }

  void set_source(MemorySource source) {
    const std::lock_guard lock(mutex_);
    release_idle_locked();
    source_ = source;
  }

 private:
  Allocator(bool has_memory, MemorySource source) : has_memory_(has_memory), source_(source) {}

  void* from_source(std::int64_t bytes) {
    check<Error>(source_.allocate != nullptr, "memory: device cuda: expected a GPU to be opened first");
    if (void* const memory = source_.allocate(bytes); memory != nullptr || capturing())
      return memory;  // a capture may not give back
    release_idle_locked();
    return source_.allocate(bytes);
  }

  void count(Category category, std::int64_t bytes) {
    live_.bytes[static_cast<std::size_t>(category)] += bytes;
    if (live_.total() > peak_.total())
      peak_ = live_;
    raise_each();
  }

  void raise_each() {
    for (std::size_t i = 0; i < live_.bytes.size(); ++i)
      peak_each_.bytes[i] = std::max(peak_each_.bytes[i], live_.bytes[i]);
  }

  void release_idle_locked() {
    for (auto& [bytes, blocks] : idle_)
      for (void* block : blocks) {
        idle_bytes_ -= bytes;
        if (block != nullptr)
          source_.release(block);
      }
    idle_.clear();
  }

  std::mutex mutex_;
  bool has_memory_;
  MemorySource source_;
  MemoryUse live_, peak_, peak_each_;
  IdleBlocks idle_;
  GraphMemory::Blocks* capture_ = nullptr;
  std::map<void*, GraphMemory::Blocks*> owners_;  ///< of what graphs have asked for
  std::int64_t idle_bytes_ = 0, rounding_bytes_ = 0, system_allocations_ = 0;
};

}  // namespace

std::string_view name_of(Category category) {
  constexpr std::array<std::string_view, kCategories.size()> names = {"weights",   "adapter",    "gradient",
                                                                      "optimizer", "activation", "workspace"};
  return names[static_cast<std::size_t>(category)];
}

std::int64_t MemoryUse::total() const { return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0}); }

MemoryReport memory_report(Device device) { return Allocator::of(device).report(); }
void reset_memory_peak(Device device) { Allocator::of(device).reset_peak(); }
void set_memory_source(Device device, MemorySource source) { Allocator::of(device).set_source(source); }
void release_idle_memory(Device device) {
  release_scratch(device);
  Allocator::of(device).release_idle();
}

GraphMemory::GraphMemory(Device device) : device_(device), blocks_(std::make_unique<Blocks>()) {
  Allocator::of(device).begin_capture(blocks_.get());
}
GraphMemory::~GraphMemory() {
  Allocator::of(device_).end_capture(blocks_.get());
  Allocator::of(device_).dissolve(*blocks_);
}
void GraphMemory::end() {
  Allocator::of(device_).end_capture(blocks_.get());
  check<Error>(!blocks_->gave_back_others,
               "graph: a block of memory from before the capture was given back in it, which replays would still use");
}

namespace {
std::uint64_t next_number() {
  static std::atomic<std::uint64_t> number = 0;
  return number.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

struct Storage::Block {
  std::byte* data;
  std::int64_t bytes;
  Device device;
  Category category;
  const std::uint64_t id = next_number();
  std::uint64_t version = id;

  Block(std::int64_t size, Device where, Category what)
      : data(Allocator::of(where).allocate(size, what)), bytes(size), device(where), category(what) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { Allocator::of(device).release(data, bytes, category); }
};

Storage::Storage(std::int64_t bytes, Device device, Category category)
    : block_(std::make_shared<Block>(bytes, device, category)) {}

std::byte* Storage::data() const { return block_->data; }
std::int64_t Storage::bytes() const { return block_->bytes; }
Device Storage::device() const { return block_->device; }
Category Storage::category() const { return block_->category; }
std::uint64_t Storage::id() const { return block_->id; }
std::uint64_t Storage::version() const { return block_->version; }
void Storage::touch() { block_->version = next_number(); }

void Storage::set_category(Category category) {
  if (category == block_->category)
    return;
  Allocator::of(block_->device).move(block_->bytes, block_->category, category);
  block_->category = category;
}

}  // namespace osteon
