#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/storage.hpp"
#include "backends/view.hpp"

namespace osteon {

struct GradState;
class Recipe;

/// A handle on dense row-major elements, with or without a place in the recorded graph. Copies share both.
class Tensor {
 public:
  Tensor() = default;
  /// Over the whole of `storage`, which holds at least shape.numel() elements.
  Tensor(Storage storage, const Shape& shape, DType dtype);

  bool defined() const { return data_ != nullptr; }
  const Shape& shape() const;
  std::int64_t dim(std::int64_t i) const { return shape()[i]; }
  std::int64_t numel() const { return shape().numel(); }
  DType dtype() const;
  Device device() const;
  std::int64_t bytes() const { return numel() * size_of(dtype()); }
  const Storage& storage() const;

  ConstView view() const;
  /// Writable elements. Forgets what was derived from them, through whatever handle.
  View mut() const;

  bool requires_grad() const;
  /// Marks a leaf as trainable or frozen. Throws Error on a tensor that an op produced.
  const Tensor& set_requires_grad(bool requires_grad) const;
  /// The accumulated gradient of a leaf, in the accumulator dtype; undefined before the first backward.
  Tensor grad() const;
  void set_grad(Tensor grad) const;
  /// Releases the gradient: the next backward overwrites.
  void clear_grad() const;

  /// The same elements without a place in the graph.
  Tensor detach() const;
  /// The same elements under another shape, without a place in the graph (the op is `reshape`).
  Tensor alias(const Shape& shape) const;
  /// The elements [begin, end) of the first dimension, sharing memory, without a place in the graph.
  Tensor slice(std::int64_t begin, std::int64_t end) const;

  /// Back-propagates from this scalar through everything recorded, adding into grad() of trainable leaves. Goes in
  /// reverse recording order and releases each op's saved tensors as soon as they are used: it runs once.
  void backward() const;
  /// The same from any tensor with the given gradient.
  void backward(const Tensor& dy) const;

  /// The value of a tensor with one element; 0 on `meta`. Waits for a GPU, unless the tensor is `one` still.
  double item() const;
  /// All elements as double, for tests and reports.
  std::vector<double> to_doubles() const;

  /// A result that depends on this tensor's elements alone, made on first use and kept until they change or this
  /// tensor's last handle goes: the q, k and v projections share one block sum, and its one node in the graph.
  /// `stamp` names the state of anything else the result depends on: it is made anew when the stamp changes.
  Tensor derive(const std::string& key, const std::function<Tensor()>& make, const std::string& stamp = {}) const;

  /// How ops keep these elements for their backward where not by their bytes (recompute.hpp); null after a change.
  std::shared_ptr<Recipe> recipe() const;
  void set_recipe(std::shared_ptr<Recipe> recipe) const;
  /// Whether an op keeps these bytes for its backward.
  bool kept() const;
  void mark_kept() const;

  /// This tensor's place in the graph, null if it has none.
  const std::shared_ptr<GradState>& grad_state() const;

 private:
  friend Tensor one(DType dtype, Device device);
  friend Tensor record_output(Tensor y, std::shared_ptr<GradState> state);
  struct Data;
  std::shared_ptr<Data> data_;
  std::shared_ptr<GradState> state_;  ///< of an op's result; a leaf's is shared by all its handles, in data_
};

/// "f32 [2, 3]", or "nothing" if undefined: for messages.
std::ostream& operator<<(std::ostream& out, const Tensor& x);

using NamedTensor = std::pair<std::string, Tensor>;
using NamedTensors = std::vector<NamedTensor>;

/// Not initialised.
Tensor empty(const Shape& shape, DType dtype, Device device = default_device(),
             Category category = Category::activation);
Tensor zeros(const Shape& shape, DType dtype, Device device = default_device(),
             Category category = Category::activation);
/// A scalar 1, which the host need not ask a GPU for: where every backward begins.
Tensor one(DType dtype, Device device = default_device());
/// Not initialised, with the shape, dtype and device of x.
Tensor empty_like(const Tensor& x, Category category = Category::activation);
/// A copy of host values.
Tensor from_values(std::span<const double> values, const Shape& shape, DType dtype, Device device = default_device(),
                   Category category = Category::activation);
Tensor from_ids(std::span<const std::int32_t> ids, const Shape& shape, Device device = default_device());
/// Copies all elements; both are of one shape and dtype, on any devices with memory.
void copy_elements(const Tensor& from, const Tensor& to);
/// x as it is on `device`: x itself, or a copy without a place in the graph.
Tensor to_device(const Tensor& x, Device device, Category category = Category::workspace);
/// A converted copy (one rounding), without a place in the graph.
Tensor converted(const Tensor& x, DType dtype, Category category = Category::activation);

/// While one lives, ops on this thread record nothing and save nothing.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

/// While one lives, ops record again, inside a NoGrad too (activation checkpointing).
class EnableGrad {
 public:
  EnableGrad();
  ~EnableGrad();
  EnableGrad(const EnableGrad&) = delete;
  EnableGrad& operator=(const EnableGrad&) = delete;

 private:
  bool before_;
};

bool grad_enabled();

/// Whether what runs now is part of a training step, so that dropout drops: recording is on, or this is the first run
/// of a checkpointed region, which records nothing.
bool training();

/// True if an op on x must be recorded for x's sake.
bool wants_grad(const Tensor& x);

}  // namespace osteon
