#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

#include "autograd/recompute.hpp"
#include "autograd/tensor.hpp"

namespace osteon {

/// What the backward of an op may keep of a tensor: its bytes, or the recipe for them; no place in the graph.
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor& x);

  explicit operator bool() const { return tensor_.defined() || recipe_ != nullptr; }
  ConstView view() const { return recipe_ != nullptr ? recipe_->result().view().reshape(shape_) : tensor_.view(); }
  Tensor tensor() const { return recipe_ != nullptr ? recipe_->result().alias(shape_) : tensor_; }

 private:
  Tensor tensor_;
  std::shared_ptr<Recipe> recipe_;
  Shape shape_;
};

/// Keeps x for the backward of the op that records next, and enters it into the audit under `name`.
Saved save(std::string_view name, const Tensor& x);

/// The same where `wanted`; else nothing is kept.
inline Saved save_if(bool wanted, std::string_view name, const Tensor& x) { return wanted ? save(name, x) : Saved{}; }

/// Where an op's backward puts the gradients of its inputs. Places are asked for outside on_device, as all memory is:
/// on `meta` nothing in there runs, and the planner would miss them.
class Grads {
 public:
  explicit Grads(const std::vector<std::shared_ptr<GradState>>& inputs) : inputs_(inputs) {}

  /// Whether somebody needs the gradient of input i.
  bool wanted(std::size_t i) const;
  /// The place for input i's gradient: the first writer gets a fresh buffer and overwrites, later ones add. Empty if
  /// nobody wants it. Everything handed out must be written by the end of the backward. A leaf's gradient is in the
  /// accumulator dtype, whatever the leaf's own.
  Sink operator[](std::size_t i);
  /// The same in input i's own dtype, for kernels that do not convert.
  Sink narrow(std::size_t i);
  /// Hands dy on as (part of) input i's gradient, without a copy where nothing is there yet.
  void pass(std::size_t i, const Tensor& dy);
  /// What has arrived of input i's gradient, to be gone on with elsewhere and passed on afterwards; undefined of a
  /// leaf.
  Tensor take(std::size_t i);
  /// Hands over dy times a gradient of a leaf that the forward made already, in the dtype and category of gradients:
  /// without a copy where nothing is there yet.
  void give(std::size_t i, const Tensor& gradient, const Tensor& dy);
  /// Adds what went to places of its own: the second gradient of an input that an op took twice, narrow ones of leaves.
  void finish();

 private:
  Sink place(GradState& state);

  const std::vector<std::shared_ptr<GradState>>& inputs_;
  std::vector<GradState*> handed_out_;
  std::vector<std::pair<std::size_t, Tensor>> apart_;
};

using Backward = std::function<void(const Tensor& dy, Grads& grad)>;

/// Enters y = op(inputs) into the graph if an input needs a gradient and recording is on; else only returns y.
/// `backward` captures Saved and detached parameters, never a tensor with history: that would be a cycle.
/// Undefined inputs (an absent bias) are allowed.
Tensor record(std::string_view op, const Tensor& y, std::initializer_list<Tensor> inputs, Backward backward);

/// The same though no input need have a gradient: for regions that reach parameters by themselves.
Tensor record_always(std::string_view op, const Tensor& y, std::initializer_list<Tensor> inputs, Backward backward);

/// The first run of a region whose backward will run it again: nothing is recorded, but it is part of a training step.
class FirstRun {
 public:
  FirstRun();
  ~FirstRun();
  FirstRun(const FirstRun&) = delete;
  FirstRun& operator=(const FirstRun&) = delete;

  /// Whether an op would have been recorded: the region reaches a trainable parameter.
  bool reaches_parameters() const { return reaches_parameters_; }
  /// Told by the graph of an op that is not recorded though an input requires a gradient.
  static void note_unrecorded();

 private:
  NoGrad no_grad_;
  bool reaches_parameters_ = false;
  FirstRun* outer_;
};

/// A recorded op.
struct Node {
  std::string_view op;
  std::uint64_t sequence;
  std::vector<std::shared_ptr<GradState>> inputs;
  Backward backward;
  std::int64_t saved_bytes = 0;                       ///< what it keeps; known only while a trace records
  std::vector<std::shared_ptr<Recipe>> recipes = {};  ///< of what it saved; made before `backward`, outside on_device
  std::string module = {};                            ///< that it was recorded in, where somebody follows the costs
};

/// A tensor's place in the graph; it holds none of the tensor's bytes.
struct GradState {
  bool requires_grad = false;
  bool intermediate = false;  ///< an op's result or a region's input; else a parameter, whose gradient is kept
  bool queued = false;        ///< during a backward: waiting for its turn
  bool released = false;      ///< a backward has been through here
  Shape shape;
  DType dtype = DType::f32;
  Device device = Device::cpu;
  std::shared_ptr<Node> producer;  ///< none for a leaf
  Tensor gradient;                 ///< of a leaf: accumulated; of an intermediate tensor: what has arrived so far

  /// Unlinks a graph that was never gone back through node by node: destructors do not nest as deep as the model.
  ~GradState();
};

}  // namespace osteon
