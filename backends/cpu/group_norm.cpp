#include "backends/kernels/group_norm.hpp"

#include <cmath>

#include "backends/cpu/column_chain.hpp"
#include "backends/rwkv_checks.hpp"

namespace osteon::kernels {
namespace {

using namespace cpu;

/// Sum of (x - mean)^2: of small differences, so that a large mean does not cancel.
template <class C, class T>
C centred_square(const T* x, C mean, std::int64_t n) {
  C s = 0;
#pragma omp simd reduction(+ : s)
  for (std::int64_t i = 0; i < n; ++i)
    s += (load(x[i]) - mean) * (load(x[i]) - mean);
  return s;
}

template <class T, class C>
void normalise(const T* x, const T* weight, const T* bias, C mean, C rstd, std::int64_t n, T* y) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i)
    store(y[i], load(weight[i]) * ((load(x[i]) - mean) * rstd) + load(bias[i]));
}

template <class T, class C, class Add>
void row_gradient(const T* dy, const T* x, const T* weight, C mean, C rstd, std::int64_t n, T* dx, Add add) {
  C sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
  for (std::int64_t i = 0; i < n; ++i) {
    const C q = load(dy[i]) * load(weight[i]);
    sum += q;
    dot += q * (load(x[i]) - mean);
  }
  const C mean_q = sum / static_cast<C>(n), slope = dot / static_cast<C>(n) * rstd * rstd;
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i)
    store(dx[i], rstd * (load(dy[i]) * load(weight[i]) - mean_q - (load(x[i]) - mean) * slope), add);
}

/// to (+)= factor * a b
template <class T, class C>
void scaled_product(const T* a, const T* b, C factor, std::int64_t n, T* to, bool add) {
  dispatch_add(add, [=](auto adds) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i)
      store(to[i], factor * load(a[i]) * load(b[i]), adds);
  });
}
template <class T, class C>
void scaled(const T* a, C factor, std::int64_t n, T* to, bool add) {
  dispatch_add(add, [=](auto adds) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i)
      store(to[i], factor * load(a[i]), adds);
  });
}

}  // namespace

void group_norm(Cpu, ConstView x, ConstView weight, ConstView bias, double eps, View y, View statistics) {
  const std::int64_t rows = x.rows(), d = x.cols(), groups = statistics.dim(-2), width = d / groups;
  check_group_norm(x, weight, bias, y, statistics);
  dispatch_floating(x.dtype, "group_norm", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *in = x.as<T>(), *w = weight.as<T>(), *b = bias.as<T>();
    T* out = y.as<T>();
    C* kept = statistics.as<C>();
    parallel_rows(rows * groups, width, [=](std::int64_t i) {
      const T* row = in + i * width;
      const std::int64_t column = i % groups * width;
      const C mean = vector_sum<C>(row, width) / static_cast<C>(width);
      const C variance = centred_square(row, mean, width) / static_cast<C>(width);
      const C rstd = C(1) / std::sqrt(variance + static_cast<C>(eps));
      kept[2 * i] = mean, kept[2 * i + 1] = rstd;
      normalise(row, w + column, b + column, mean, rstd, width, out + i * width);
    });
  });
}

void group_norm_backward(Cpu, ConstView dy, ConstView x, ConstView weight, ConstView statistics, Sink dx,
                         Sink dweight) {
  const std::int64_t rows = x.rows(), d = x.cols(), groups = statistics.dim(-2), width = d / groups;
  check_group_norm_backward(dy, x, weight, statistics, dx, dweight);
  dispatch_floating(x.dtype, "group_norm_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *grad = dy.as<T>(), *in = x.as<T>(), *w = weight.as<T>();
    const C* kept = statistics.as<C>();
    if (dweight)
      column_chain<C>("group_norm_backward", rows, d, dweight, [=](std::int64_t row, std::int64_t i) {
        const C* of = kept + 2 * (row * groups + (i - row * d) / width);
        return load(grad[i]) * ((load(in[i]) - of[0]) * of[1]);
      });
    if (dx)
      dispatch_add(dx.add, [&](auto add) {
        T* out = dx.view.as<T>();
        parallel_rows(rows * groups, width, [=](std::int64_t i) {
          row_gradient(grad + i * width, in + i * width, w + i % groups * width, kept[2 * i], kept[2 * i + 1], width,
                       out + i * width, add);
        });
      });
  });
}

void head_normalize(Cpu, ConstView x, double eps, View y, View norm) {
  const std::int64_t heads = norm.cols(), n = x.cols() / heads, count = x.rows() * heads;
  check_head_normalize("head_normalize", "y", x, y, norm);
  dispatch_floating(x.dtype, "head_normalize", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T* in = x.as<T>();
    T* out = y.as<T>();
    C* norms = norm.as<C>();
    parallel_rows(count, n, [=](std::int64_t i) {
      const T* head = in + i * n;
      norms[i] = std::max(std::sqrt(vector_dot<C>(head, head, n)), static_cast<C>(eps));
      scaled(head, C(1) / norms[i], n, out + i * n, false);
    });
  });
}

void head_normalize_backward(Cpu, ConstView dy, ConstView y, ConstView norm, Sink dx) {
  const std::int64_t heads = norm.cols(), n = y.cols() / heads, count = y.rows() * heads;
  check_head_normalize("head_normalize_backward", "dy", y, dy, norm);
  expect_sinks("head_normalize_backward", "dx", y, {dx});
  dispatch_floating(y.dtype, "head_normalize_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *grad = dy.as<T>(), *at = y.as<T>();
    const C* norms = norm.as<C>();
    T* out = dx.view.as<T>();
    dispatch_add(dx.add, [&](auto add) {
      parallel_rows(count, n, [=](std::int64_t i) {
        const T *g = grad + i * n, *head = at + i * n;
        T* to = out + i * n;
        const C along = vector_dot<C>(g, head, n), scale = C(1) / norms[i];
#pragma omp simd
        for (std::int64_t j = 0; j < n; ++j)
          store(to[j], (load(g[j]) - load(head[j]) * along) * scale, add);
      });
    });
  });
}

void head_bonus(Cpu, ConstView r, ConstView k, ConstView v, ConstView bonus, std::int64_t heads, View y) {
  const std::int64_t n = r.cols() / heads;
  check_head_bonus(r, k, v, bonus, y);
  dispatch_floating(r.dtype, "head_bonus", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *in_r = r.as<T>(), *in_k = k.as<T>(), *in_v = v.as<T>(), *u = bonus.as<T>();
    T* out = y.as<T>();
    parallel_rows(r.rows() * heads, n, [=](std::int64_t i) {
      const C weight = vector_dot<C>(in_r + i * n, in_k + i * n, u + i % heads * n, n);
      scaled(in_v + i * n, weight, n, out + i * n, false);
    });
  });
}

void head_bonus_backward(Cpu, ConstView dy, ConstView r, ConstView k, ConstView v, ConstView bonus, std::int64_t heads,
                         Sink dr, Sink dk, Sink dv, View terms) {
  const std::int64_t n = r.cols() / heads;
  check_head_bonus_backward(dy, r, k, v, bonus, dr, dk, dv);
  dispatch_floating(r.dtype, "head_bonus_backward", [&](auto element) {
    using T = decltype(element);
    using C = compute_t<T>;
    const T *grad = dy.as<T>(), *in_r = r.as<T>(), *in_k = k.as<T>(), *in_v = v.as<T>(), *u = bonus.as<T>();
    const auto place = [](const Sink& sink) { return sink ? sink.view.as<T>() : nullptr; };
    T *const out_r = place(dr), *const out_k = place(dk), *const out_v = place(dv);
    C* const out_terms = terms ? terms.as<C>() : nullptr;
    parallel_rows(r.rows() * heads, 4 * n, [=, add_r = dr.add, add_k = dk.add, add_v = dv.add](std::int64_t i) {
      const std::int64_t at = i * n;
      const T* own = u + i % heads * n;
      const C t = vector_dot<C>(grad + at, in_v + at, n);
      if (out_v != nullptr)
        scaled(grad + at, vector_dot<C>(in_r + at, in_k + at, own, n), n, out_v + at, add_v);
      if (out_r != nullptr)
        scaled_product(in_k + at, own, t, n, out_r + at, add_r);
      if (out_k != nullptr)
        scaled_product(in_r + at, own, t, n, out_k + at, add_k);
      if (out_terms != nullptr)
        for (std::int64_t j = 0; j < n; ++j)
          out_terms[at + j] = t * load(in_r[at + j]) * load(in_k[at + j]);
    });
  });
}

}  // namespace osteon::kernels
