#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "backends/device.hpp"
#include "backends/scratch.hpp"

namespace osteon::cpu {

/// [begin, end)
struct Range {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};

/// The result of a product shared out among threads: a rectangle of whole tiles for each, in memory of its own, so that
/// no thread waits for another.
class Split {
 public:
  struct Tile {
    std::int64_t rows, cols;
  };

  /// m x n, among `threads`. work(tall, wide) is what a thread does that has so many tiles below each other and so many
  /// side by side: of all splits the one is taken whose busiest thread has the least.
  template <class Work>
  Split(std::int64_t m, std::int64_t n, Tile tile, std::int64_t threads, const Work& work) : m_(m), n_(n), tile_(tile) {
    std::int64_t best = 0;
    for (std::int64_t across = 1; across <= threads; ++across) {
      if (threads % across != 0)
        continue;
      const std::int64_t down = threads / across;
      const std::int64_t least = work(most_tiles(m, tile.rows, down), most_tiles(n, tile.cols, across));
      if (across == 1 || least < best) {
        best = least;
        down_ = down;
        across_ = across;
      }
    }
  }

  /// run(rows, cols, memory) for each rectangle; need(rows, cols) says how many bytes one takes. On meta it asks for
  /// them and is done.
  template <class Need, class Run>
  void run(Device device, const Need& need, const Run& run) const {
    const std::int64_t cells = down_ * across_;
    std::int64_t each = 0;  // what the largest rectangle needs
    for (std::int64_t cell = 0; cell < cells; ++cell)
      each = std::max<std::int64_t>(each, need(rows(cell), cols(cell)));
    std::byte* const memory = scratch(cells * each, device);
    if (device == Device::meta)
      return;
    if (cells == 1)
      return run(rows(0), cols(0), memory);
#pragma omp parallel for schedule(static, 1)
    for (std::int64_t cell = 0; cell < cells; ++cell)
      run(rows(cell), cols(cell), memory + cell * each);
  }

 private:
  static std::int64_t most_tiles(std::int64_t count, std::int64_t grain, std::int64_t parts) {
    return ((count + grain - 1) / grain + parts - 1) / parts;
  }
  /// Part `index` of `parts` of [0, count), cut at multiples of `grain`.
  static Range part_of(std::int64_t count, std::int64_t grain, std::int64_t index, std::int64_t parts) {
    const std::int64_t grains = (count + grain - 1) / grain;
    return {std::min(grains * index / parts * grain, count), std::min(grains * (index + 1) / parts * grain, count)};
  }
  Range rows(std::int64_t cell) const { return part_of(m_, tile_.rows, cell / across_, down_); }
  Range cols(std::int64_t cell) const { return part_of(n_, tile_.cols, cell % across_, across_); }

  std::int64_t m_, n_;
  Tile tile_;
  std::int64_t down_ = 1, across_ = 1;  ///< threads that share the rows, and the columns
};

}  // namespace osteon::cpu
