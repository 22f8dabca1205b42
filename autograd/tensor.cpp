#include "autograd/tensor.hpp"

#include <map>

#include "autograd/node.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/transfer.hpp"

namespace osteon {
namespace {
thread_local bool recording = true;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
}  // namespace

struct Derived {
  std::string stamp;
  Tensor tensor;
};

struct Tensor::Data {
  Storage storage;
  std::int64_t offset_bytes;
  Shape shape;
  DType dtype;
  std::map<std::string, Derived> derived;
  std::uint64_t derived_from;  ///< version of the storage that `derived` belongs to: other handles may write too
  std::shared_ptr<GradState> leaf;
  std::shared_ptr<Recipe> recipe;
  std::uint64_t recipe_of;  ///< version of the storage that `recipe` makes again
  bool kept;
  std::uint64_t one_at = kNever;  ///< the version of the storage at which it is `one`
};

Tensor::Tensor(Storage storage, const Shape& shape, DType dtype)
    : data_(std::make_shared<Data>(Data{std::move(storage), 0, shape, dtype, {}, 0, {}, {}, 0, false})) {
  check(data_->storage.bytes() >= bytes(), "tensor: expected at least ", bytes(), " bytes, got ",
        data_->storage.bytes());
}

const Shape& Tensor::shape() const {
  check<Error>(defined(), "tensor: used before it was given a value");
  return data_->shape;
}
DType Tensor::dtype() const { return data_->dtype; }
Device Tensor::device() const { return data_->storage.device(); }
const Storage& Tensor::storage() const { return data_->storage; }

ConstView Tensor::view() const {
  if (!defined())
    return {};
  std::byte* base = data_->storage.data();
  return {base == nullptr ? nullptr : base + data_->offset_bytes, data_->dtype, data_->shape, true};
}

View Tensor::mut() const {
  const ConstView read = view();
  data_->derived.clear();
  data_->storage.touch();
  return {const_cast<void*>(read.data), read.dtype, read.shape, read.given};  // NOLINT: the storage is ours
}

const std::shared_ptr<GradState>& Tensor::grad_state() const {
  return state_ != nullptr || data_ == nullptr ? state_ : data_->leaf;
}

bool Tensor::requires_grad() const { return grad_state() != nullptr && grad_state()->requires_grad; }

const Tensor& Tensor::set_requires_grad(bool requires_grad) const {
  check<Error>(state_ == nullptr, "set_requires_grad: expected a leaf, got the result of an op");
  if (data_->leaf == nullptr)
    data_->leaf = std::make_shared<GradState>(
        GradState{.shape = shape(), .dtype = dtype(), .device = device(), .producer = {}, .gradient = {}});
  data_->leaf->requires_grad = requires_grad;
  if (!requires_grad)
    data_->leaf->gradient = {};
  return *this;
}

Tensor Tensor::grad() const { return grad_state() == nullptr ? Tensor{} : grad_state()->gradient; }

void Tensor::set_grad(Tensor grad) const {
  check<Error>(requires_grad(), "set_grad: expected a tensor that requires a gradient");
  grad_state()->gradient = std::move(grad);
}

void Tensor::clear_grad() const {
  if (grad_state() != nullptr)
    grad_state()->gradient = {};
}

Tensor Tensor::detach() const { return defined() ? alias(shape()) : Tensor{}; }

Tensor Tensor::alias(const Shape& shape) const {
  check(shape.numel() == numel(), "reshape: expected ", numel(), " elements, got ", shape);
  Tensor same;
  same.data_ = std::make_shared<Data>(Data{data_->storage,
                                           data_->offset_bytes,
                                           shape,
                                           data_->dtype,
                                           {},
                                           0,
                                           {},
                                           data_->recipe,
                                           data_->recipe_of,
                                           data_->kept,
                                           data_->one_at});
  return same;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  check(0 <= begin && begin <= end && end <= dim(0), "slice: [", begin, ", ", end, ") of ", shape());
  std::vector<std::int64_t> dims(shape().begin(), shape().end());
  dims[0] = end - begin;
  Tensor part = alias(shape());
  part.data_->shape = Shape(dims);
  part.data_->recipe = {};  // it makes the whole
  part.data_->offset_bytes += dim(0) == 0 ? 0 : begin * (bytes() / dim(0));
  return part;
}

double Tensor::item() const {
  check(numel() == 1, "item: expected one element, got ", shape());
  if (device() == Device::meta)
    return 0.0;
  return data_->one_at == data_->storage.version() ? 1.0 : to_doubles()[0];
}

std::vector<double> Tensor::to_doubles() const {
  std::vector<double> values(static_cast<std::size_t>(numel()));
  on_device(device(), [&](auto dev) {
    kernels::download(dev, view(), View{values.data(), DType::f64, shape(), true});
  });
  return values;
}

Tensor Tensor::derive(const std::string& key, const std::function<Tensor()>& make, const std::string& stamp) const {
  if (data_->derived_from != data_->storage.version())
    data_->derived.clear();
  data_->derived_from = data_->storage.version();
  // A result made without recording has no node, and after a backward its node is gone: then it is made anew.
  const std::string full_key = wants_grad(*this) ? key + " (recorded)" : key;
  if (const auto found = data_->derived.find(full_key); found != data_->derived.end()) {
    const auto& [made_for, tensor] = found->second;
    if (made_for == stamp && (tensor.grad_state() == nullptr || !tensor.grad_state()->released))
      return tensor;
  }
  const Tensor made = make();
  data_->derived[full_key] = {stamp, made};
  return made;
}

std::shared_ptr<Recipe> Tensor::recipe() const {
  return data_ != nullptr && data_->recipe_of == data_->storage.version() ? data_->recipe : nullptr;
}
void Tensor::set_recipe(std::shared_ptr<Recipe> recipe) const {
  data_->recipe = std::move(recipe);
  data_->recipe_of = data_->storage.version();
}

bool Tensor::kept() const { return data_ != nullptr && data_->kept; }
void Tensor::mark_kept() const { data_->kept = true; }

std::ostream& operator<<(std::ostream& out, const Tensor& x) {
  return x.defined() ? out << x.dtype() << ' ' << x.shape() : out << "nothing";
}

Tensor record_output(Tensor y, std::shared_ptr<GradState> state) {
  y.state_ = std::move(state);
  return y;
}

Tensor empty(const Shape& shape, DType dtype, Device device, Category category) {
  return {Storage(shape.numel() * size_of(dtype), device, category), shape, dtype};
}

Tensor zeros(const Shape& shape, DType dtype, Device device, Category category) {
  Tensor y = empty(shape, dtype, device, category);
  on_device(device, [&](auto dev) { kernels::fill(dev, y.mut(), 0.0); });
  return y;
}

Tensor one(DType dtype, Device device) {
  Tensor y = empty({}, dtype, device);
  on_device(device, [&](auto dev) { kernels::fill(dev, y.mut(), 1.0); });
  y.data_->one_at = y.storage().version();
  return y;
}

Tensor empty_like(const Tensor& x, Category category) { return empty(x.shape(), x.dtype(), x.device(), category); }

Tensor from_values(std::span<const double> values, const Shape& shape, DType dtype, Device device, Category category) {
  check(static_cast<std::int64_t>(values.size()) == shape.numel(), "from_values: expected ", shape.numel(),
        " values, got ", values.size());
  Tensor y = empty(shape, dtype, device, category);
  on_device(device, [&](auto dev) { kernels::upload(dev, {values.data(), DType::f64, shape, true}, y.mut()); });
  return y;
}

Tensor from_ids(std::span<const std::int32_t> ids, const Shape& shape, Device device) {
  check(static_cast<std::int64_t>(ids.size()) == shape.numel(), "from_ids: expected ", shape.numel(), " ids, got ",
        ids.size());
  Tensor y = empty(shape, DType::i32, device, Category::workspace);
  on_device(device, [&](auto dev) { kernels::upload(dev, {ids.data(), DType::i32, shape, true}, y.mut()); });
  return y;
}

void copy_elements(const Tensor& from, const Tensor& to) {
  check(from.shape() == to.shape() && from.dtype() == to.dtype(), "copy_elements: expected ", to, ", got ", from);
  if (from.device() == to.device())
    on_device(to.device(), [&](auto dev) { kernels::copy(dev, from.view(), to.mut()); });
  else if (from.device() == Device::cpu)
    on_device(to.device(), [&](auto dev) { kernels::upload(dev, from.view(), to.mut()); });
  else
    on_device(from.device(), [&](auto dev) { kernels::download(dev, from.view(), to.mut()); });
}

Tensor to_device(const Tensor& x, Device device, Category category) {
  if (x.device() == device)
    return x;
  Tensor copy = empty(x.shape(), x.dtype(), device, category);
  copy_elements(x, copy);
  return copy;
}

Tensor converted(const Tensor& x, DType dtype, Category category) {
  Tensor y = empty(x.shape(), dtype, x.device(), category);
  on_device(x.device(), [&](auto dev) { kernels::copy(dev, x.view(), y.mut()); });
  return y;
}

NoGrad::NoGrad() : before_(recording) { recording = false; }
NoGrad::~NoGrad() { recording = before_; }
EnableGrad::EnableGrad() : before_(recording) { recording = true; }
EnableGrad::~EnableGrad() { recording = before_; }

bool grad_enabled() { return recording; }
bool wants_grad(const Tensor& x) { return recording && x.requires_grad(); }

}  // namespace osteon
