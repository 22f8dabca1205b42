#pragma once

#include <functional>
#include <initializer_list>
#include <string_view>

#include "autograd/tensor.hpp"

namespace osteon {

/// How to make the result of a cheap op again in the backward, for all ops that would have kept it: the first one to
/// read it makes it, the last one to be released gives it back.
class Recipe {
 public:
  /// `bytes`: what making it reads and writes.
  Recipe(std::string_view op, std::int64_t bytes, std::function<Tensor()> make)
      : op_(op), bytes_(bytes), make_(std::move(make)) {}

  /// Made on the first call, which also releases what it is made from.
  const Tensor& result();

 private:
  std::string_view op_;
  std::int64_t bytes_;
  std::function<Tensor()> make_;
  Tensor result_;
};

/// While one lives that is `on`, results of cheap ops are kept for the backward as recipes. Bit-equal to keeping them.
class RecomputeCheap {
 public:
  explicit RecomputeCheap(bool on);
  ~RecomputeCheap();
  RecomputeCheap(const RecomputeCheap&) = delete;
  RecomputeCheap& operator=(const RecomputeCheap&) = delete;

 private:
  bool before_;
};

/// y, the just recorded result of the cheap op `op` (a literal), to be kept as a recipe where RecomputeCheap is on and
/// nothing more is kept for it: each of `from`, what `make` reads through Saved, is kept for the backward anyway or has
/// a recipe itself. Else y as it is. `make` runs the same kernel on the same bytes.
Tensor cheap(std::string_view op, const Tensor& y, std::initializer_list<Tensor> from, std::function<Tensor()> make);

}  // namespace osteon
