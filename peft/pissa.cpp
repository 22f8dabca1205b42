#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "backends/kernels/decompose.hpp"
#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/gemm.hpp"
#include "backends/kernels/random.hpp"
#include "peft/method_list.hpp"
#include "peft/residual_lora.hpp"

// PiSSA, arXiv:2404.02948: LoRA that begins with the principal part of the weight and freezes the rest.
//   W = U S V^T,  A = sqrt(S_r / s) V_r^T,  B = U_r sqrt(S_r / s),  W_res = W - s B A
// init "pissa": exact SVD; "pissa_niter_n": randomised SVD with rank columns and n subspace iterations
// (N. Halko et al., arXiv:0909.4061, algorithm 4.4), as peft's svd_lowrank.

namespace osteon::peft {
namespace {

constexpr std::string_view kNiterPrefix = "pissa_niter_";

/// The n of "pissa_niter_n"; -1 for the exact SVD; nothing if it is neither.
std::optional<int> niter_of(const std::string& init) {
  if (init == "pissa")
    return -1;
  int n = 0;
  const char* const end = init.data() + init.size();
  if (!init.starts_with(kNiterPrefix) || init.size() == kNiterPrefix.size())
    return std::nullopt;
  const auto [stop, error] = std::from_chars(init.data() + kNiterPrefix.size(), end, n);
  return error == std::errc{} && stop == end && n >= 0 ? std::optional(n) : std::nullopt;
}

struct Svd {
  Tensor u, s, vt;
};

Tensor workspace(const Shape& shape, const Tensor& like) {
  return empty(shape, like.dtype(), like.device(), Category::workspace);
}

Svd exact_svd(const Tensor& w) {
  const std::int64_t q = std::min(w.dim(0), w.dim(1));
  Svd svd = {workspace({w.dim(0), q}, w), workspace({q}, w), workspace({q, w.dim(1)}, w)};
  on_device(w.device(), [&](auto dev) { kernels::svd(dev, w.view(), svd.u.mut(), svd.s.mut(), svd.vt.mut()); });
  return svd;
}

Tensor orthonormal(const Tensor& x) {  // Q of the thin QR
  const Tensor q = workspace({x.dim(0), std::min(x.dim(0), x.dim(1))}, x);
  const Tensor r = workspace({q.dim(1), x.dim(1)}, x);
  on_device(x.device(), [&](auto dev) { kernels::qr(dev, x.view(), q.mut(), r.mut()); });
  return q;
}

Tensor product(const Tensor& a, bool transpose_a, const Tensor& b) {
  const Tensor y = workspace({transpose_a ? a.dim(1) : a.dim(0), b.dim(1)}, a);
  on_device(a.device(),
            [&](auto dev) { kernels::gemm(dev, a.view(), b.view(), y.mut(), {.transpose_a = transpose_a}); });
  return y;
}

/// The leading `rank` triplets of w, by `niter` rounds of subspace iteration from a random start.
Svd randomised_svd(const Tensor& w, std::int64_t rank, int niter, RandomKey key) {
  const bool wide = w.dim(0) < w.dim(1);  // work on the tall side
  const std::int64_t columns = wide ? w.dim(0) : w.dim(1);
  const Tensor start = workspace({columns, rank}, w);
  on_device(w.device(), [&](auto dev) { kernels::fill_normal(dev, start.mut(), 0.0, 1.0, key); });
  // M = w, or its transpose where that is the tall one.
  const auto times = [&](const Tensor& x) { return product(w, wide, x); };
  const auto transposed_times = [&](const Tensor& x) { return product(w, !wide, x); };
  Tensor q = orthonormal(times(start));
  for (int i = 0; i < niter; ++i)
    q = orthonormal(times(orthonormal(transposed_times(q))));
  const Svd of_transpose = exact_svd(transposed_times(q));  // M^T Q = U' S V'^T  =>  M ~ (Q V') S U'^T
  const Tensor v = workspace({of_transpose.vt.dim(1), of_transpose.vt.dim(0)}, w);
  const Tensor ut = workspace({of_transpose.u.dim(1), of_transpose.u.dim(0)}, w);
  on_device(w.device(), [&](auto dev) {
    kernels::transpose(dev, of_transpose.vt.view(), {v.mut(), false});
    kernels::transpose(dev, of_transpose.u.view(), {ut.mut(), false});
  });
  const Tensor left = product(q, false, v);
  if (!wide)
    return {left, of_transpose.s, ut};
  const Tensor left_t = workspace({left.dim(1), left.dim(0)}, w);
  on_device(w.device(), [&](auto dev) { kernels::transpose(dev, left.view(), {left_t.mut(), false}); });
  return {of_transpose.u, of_transpose.s, left_t};
}

class PissaMethod final : public ResidualLoraMethod {
 public:
  std::string name() const override { return "pissa"; }
  std::string summary() const override { return "LoRA from the principal singular vectors (arXiv:2404.02948)"; }

 protected:
  bool accepts_init(const std::string& init) const override { return niter_of(init).has_value(); }
  std::string inits() const override { return "true, pissa or pissa_niter_<n>"; }
  std::string default_init() const override { return "pissa"; }

  Factors factors(const Tensor& weight, const AdapterConfig& config, double scaling, RandomKey key) const override {
    const int niter = *niter_of(config.init);
    const std::int64_t rank = config.rank;
    const Svd svd = niter < 0 ? exact_svd(weight) : randomised_svd(weight, rank, niter, key);
    std::vector<double> roots = svd.s.to_doubles();
    roots.resize(static_cast<std::size_t>(rank));
    for (double& root : roots)
      root = std::sqrt(root / scaling);
    const Tensor root = from_values(roots, {rank}, weight.dtype(), weight.device(), Category::workspace);
    const Tensor u = workspace({weight.dim(0), rank}, weight);
    Factors made = {workspace({rank, weight.dim(1)}, weight), workspace({weight.dim(0), rank}, weight)};
    on_device(weight.device(), [&](auto dev) {
      kernels::scale_rows(dev, svd.vt.slice(0, rank).view(), root.view(), made.a.mut());
      kernels::copy_columns(dev, svd.u.view(), 0, {u.mut(), false}, 0, rank);
      kernels::scale_columns(dev, u.view(), root.view(), {}, {made.b.mut(), false});
    });
    return made;
  }
};

}  // namespace

std::unique_ptr<Method> pissa_method() { return std::make_unique<PissaMethod>(); }

}  // namespace osteon::peft
