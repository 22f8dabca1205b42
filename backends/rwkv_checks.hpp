#pragma once

#include <initializer_list>

#include "backends/check.hpp"

namespace osteon {

// What RWKV's kernels of every device check; kernels/blend.hpp, time_mix.hpp and group_norm.hpp are the contract.

inline void expect_all_like(std::string_view op, std::string_view names, const ConstView& model,
                            std::initializer_list<ConstView> views) {
  for (const ConstView& view : views)
    expect_like(op, names, view, model);
}

/// Those that somebody wants.
inline void expect_sinks(std::string_view op, std::string_view names, const ConstView& model,
                         std::initializer_list<Sink> sinks) {
  for (const Sink& sink : sinks)
    if (sink)
      expect_like(op, names, sink.view, model);
}

inline void check_lerp(const ConstView& a, const ConstView& b, const ConstView& gate, const ConstView& y) {
  expect_all_like("lerp", "b, gate and y", a, {b, gate, y});
}

inline void check_lerp_backward(const ConstView& dy, const ConstView& a, const ConstView& b, const ConstView& gate,
                                const Sink& da, const Sink& db, const Sink& dgate) {
  expect_all_like("lerp_backward", "dy, b and gate", a, {dy, b, gate});
  expect_sinks("lerp_backward", "da, db and dgate", a, {da, db, dgate});
}

inline void check_strength(std::string_view op, const ConstView& k, const ConstView& strength) {
  expect_numel(op, "strength", strength, k.cols());
  expect_dtype(op, "strength", strength, k.dtype);
}

inline void check_gated_key(const ConstView& k, const ConstView& gate, const ConstView& strength, const ConstView& y) {
  expect_all_like("gated_key", "gate and y", k, {gate, y});
  check_strength("gated_key", k, strength);
}

inline void check_gated_key_backward(const ConstView& dy, const ConstView& k, const ConstView& gate,
                                     const ConstView& strength, const Sink& dk, const Sink& dgate,
                                     const Sink& dstrength) {
  expect_all_like("gated_key_backward", "dy and gate", k, {dy, gate});
  check_strength("gated_key_backward", k, strength);
  expect_sinks("gated_key_backward", "dk and dgate", k, {dk, dgate});
  if (dstrength)
    expect_numel("gated_key_backward", "dstrength", dstrength.view, k.cols());
}

/// What both directions of time_mix read.
inline void check_shifted(std::string_view op, const ConstView& x, const ConstView& mix, const ConstView& extra,
                          const ConstView& last) {
  expect_numel(op, "mix", mix, x.dim(2));
  if (extra)
    expect_like(op, "extra", extra, x);
  if (last)
    expect_shape(op, "last", last, {x.dim(0), x.dim(2)});
}

inline void check_time_mix(const ConstView& x, const ConstView& mix, const ConstView& extra, const ConstView& last,
                           const ConstView& y) {
  check_shifted("time_mix", x, mix, extra, last);
  expect_like("time_mix", "y", y, x);
}

inline void check_time_mix_backward(const ConstView& dy, const ConstView& x, const ConstView& mix,
                                    const ConstView& extra, const ConstView& last, const Sink& dx, const Sink& dmix,
                                    const Sink& dextra) {
  check_shifted("time_mix_backward", x, mix, extra, last);
  expect_like("time_mix_backward", "dy", dy, x);
  expect_sinks("time_mix_backward", "dx and dextra", x, {dx, dextra});
  if (dmix)
    expect_numel("time_mix_backward", "dmix", dmix.view, mix.numel());
}

inline void check_group_norm(const ConstView& x, const ConstView& weight, const ConstView& bias, const ConstView& y,
                             const ConstView& statistics) {
  expect_like("group_norm", "y", y, x);
  expect_numel("group_norm", "weight", weight, x.cols());
  expect_numel("group_norm", "bias", bias, x.cols());
  expect_numel("group_norm", "statistics", statistics, x.rows() * statistics.dim(-2) * 2);
}

inline void check_group_norm_backward(const ConstView& dy, const ConstView& x, const ConstView& weight,
                                      const ConstView& statistics, const Sink& dx, const Sink& dweight) {
  expect_like("group_norm_backward", "dy", dy, x);
  expect_numel("group_norm_backward", "weight", weight, x.cols());
  expect_numel("group_norm_backward", "statistics", statistics, x.rows() * statistics.dim(-2) * 2);
  expect_sinks("group_norm_backward", "dx", x, {dx});
  if (dweight)
    expect_numel("group_norm_backward", "dweight", dweight.view, x.cols());
}

/// `norm` [rows, heads]: of either direction, the other one of whose sequences is `like`.
inline void check_head_normalize(std::string_view op, std::string_view name, const ConstView& like,
                                 const ConstView& other, const ConstView& norm) {
  expect_like(op, name, other, like);
  expect_numel(op, "norm", norm, like.rows() * norm.cols());
}

inline void check_head_bonus(const ConstView& r, const ConstView& k, const ConstView& v, const ConstView& bonus,
                             const ConstView& y) {
  expect_all_like("head_bonus", "k, v and y", r, {k, v, y});
  expect_numel("head_bonus", "bonus", bonus, r.cols());
}

inline void check_head_bonus_backward(const ConstView& dy, const ConstView& r, const ConstView& k, const ConstView& v,
                                      const ConstView& bonus, const Sink& dr, const Sink& dk, const Sink& dv) {
  expect_all_like("head_bonus_backward", "dy, k and v", r, {dy, k, v});
  expect_numel("head_bonus_backward", "bonus", bonus, r.cols());
  expect_sinks("head_bonus_backward", "dr, dk and dv", r, {dr, dk, dv});
}

}  // namespace osteon
