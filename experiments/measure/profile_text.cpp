#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/measure/profile.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {
namespace {

constexpr double kGiga = 1e-9;

/// Numbers of one row of the table, per step.
struct Row {
  const Profile& profile;
  const ProfileCost& cost;
  DType dtype;

  double steps() const { return static_cast<double>(profile.steps); }
  double milliseconds() const { return cost.seconds / steps() * 1e3; }
  double share() const { return profile.seconds > 0 ? cost.seconds / profile.seconds : 0; }
  double flop_rate() const { return cost.seconds > 0 ? cost.flops / cost.seconds : 0; }
  double byte_rate() const { return cost.seconds > 0 ? cost.bytes / cost.seconds : 0; }
  double of_peak() const { return ratio(flop_rate(), profile.machine.products(dtype)); }
  double of_memory() const { return ratio(byte_rate(), profile.machine.copy); }

  static double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }
};

std::string count(std::int64_t number, const char* one) {
  return fmt::format("{} {}{}", number, one, number == 1 ? "" : "s");
}

std::string number_or_dash(double value, int digits, const char* unit = "") {
  return value > 0 ? fmt::format("{:.{}f}{}", value, digits, unit) : "-";
}

std::string line(const std::string& name, const Row& row, std::int64_t saved_bytes) {
  return fmt::format("{:<46}{:>8.5g}{:>10.3f}{:>8.1f}%{:>10}{:>9}{:>8}{:>9}{:>12}\n", name,
                     static_cast<double>(row.cost.calls) / row.steps(), row.milliseconds(), 100 * row.share(),
                     number_or_dash(row.flop_rate() * kGiga, 1), number_or_dash(100 * row.of_peak(), 0, "%"),
                     number_or_dash(row.byte_rate() * kGiga, 1), number_or_dash(100 * row.of_memory(), 0, "%"),
                     number_or_dash(static_cast<double>(saved_bytes) / (1 << 20), 2));
}

std::string product_name(const ProfileProduct& product) {
  const auto [m, n, k] = product.shape;
  return fmt::format("  {:<9} {} {} x {} x {}", name_of(product.work), product.kernel, m, n, k);
}

std::string machine_text(const MachinePeaks& machine) {
  const std::string gemm = fmt::format("gemm of {0} x {0} x {0}: {1:.1f} in f32, {2:.1f} in bf16", machine.gemm_size,
                                       machine.gemm_f32 * kGiga, machine.gemm_bf16 * kGiga);
  if (!machine.gpu.empty())
    return fmt::format("machine, {}: {} GFLOP/s; memory: {:.1f} GB/s copied\n", machine.gpu, gemm,
                       machine.copy * kGiga);
  const std::string bf16 = machine.fma_bf16 > 0 ? fmt::format("{:.1f} in bf16", machine.fma_bf16 * kGiga)
                                                : "no instructions for bf16: f32's peak counts";
  return fmt::format(
      "machine, {}: multiply-adds {:.1f} GFLOP/s in f32, {};\n  {}; memory: {:.1f} GB/s read, {:.1f} copied\n",
      count(machine.threads, "thread"), machine.fma_f32 * kGiga, bf16, gemm, machine.read * kGiga,
      machine.copy * kGiga);
}

nlohmann::ordered_json cost_json(const Row& row) {
  return {{"calls", static_cast<double>(row.cost.calls) / row.steps()},
          {"seconds", row.cost.seconds / row.steps()},
          {"share", row.share()},
          {"flops", row.cost.flops / row.steps()},
          {"bytes", row.cost.bytes / row.steps()},
          {"of_peak", row.of_peak()},
          {"of_memory", row.of_memory()}};
}

}  // namespace

std::string profile_text(const Profile& profile) {
  const auto steps = static_cast<double>(profile.steps);
  std::string text = fmt::format("profile of {} after the first: {:.1f} ms a step\n{}\n", count(profile.steps, "step"),
                                 profile.seconds / steps * 1e3, machine_text(profile.machine));
  text += fmt::format("{:<46}{:>8}{:>10}{:>9}{:>10}{:>9}{:>8}{:>9}{:>12}\n", "op, and its products (m x n x k)",
                      "calls", "ms", "of step", "GFLOP/s", "of peak", "GB/s", "of copy", "saves MiB");
  for (const ProfileOp& op : profile.ops) {
    text += line(fmt::format("{} {}", op.name, name_of(op.phase)), {profile, op.cost, op.dtype}, op.saved_bytes);
    for (const ProfileProduct& product : op.products)
      text += line(product_name(product), {profile, product.cost, product.dtype}, 0);
    if (!op.products.empty())
      text += line("  beside them", {profile, {op.cost.calls, op.own_seconds, 0, 0}, op.dtype}, 0);
  }
  text += fmt::format("\n{:<46}{:>18}{:>9}{:>10}\n", "where a step goes", "ms", "of step", "GFLOP/s");
  const auto part_line = [&](const std::string& name, double seconds, double flops) {
    text +=
        fmt::format("{:<46}{:>18.3f}{:>8.1f}%{:>10}\n", name, seconds / steps * 1e3,
                    100 * Row::ratio(seconds, profile.seconds), number_or_dash(Row::ratio(flops, seconds) * kGiga, 1));
  };
  double recomputed = 0;
  for (const ProfilePart& part : profile.parts)
    part_line(part.name, part.seconds, part.flops);
  for (const ProfileOp& op : profile.ops)
    recomputed += op.phase == Phase::recomputed ? op.cost.seconds : 0;
  if (recomputed > 0)
    part_line("of all this, computed again in the backward", recomputed, 0);
  return text;
}

nlohmann::ordered_json to_json(const Profile& profile) {
  const auto steps = static_cast<double>(profile.steps);
  const MachinePeaks& machine = profile.machine;
  nlohmann::ordered_json ops = nlohmann::ordered_json::array(), parts;
  for (const ProfileOp& op : profile.ops) {
    nlohmann::ordered_json products = nlohmann::ordered_json::array();
    for (const ProfileProduct& product : op.products) {
      const auto [m, n, k] = product.shape;
      nlohmann::ordered_json entry = {
          {"kernel", product.kernel},       {"work", name_of(product.work)}, {"m", m}, {"n", n}, {"k", k},
          {"dtype", name_of(product.dtype)}};
      entry.update(cost_json({profile, product.cost, product.dtype}));
      products.push_back(std::move(entry));
    }
    nlohmann::ordered_json entry = {{"op", op.name}, {"phase", name_of(op.phase)}, {"dtype", name_of(op.dtype)}};
    entry.update(cost_json({profile, op.cost, op.dtype}));
    entry["own_seconds"] = op.own_seconds / steps;
    entry["saved_bytes"] = op.saved_bytes;
    entry["products"] = std::move(products);
    ops.push_back(std::move(entry));
  }
  for (const ProfilePart& part : profile.parts)
    parts[part.name] = {{"seconds", part.seconds / steps}, {"flops", part.flops / steps}};
  return {{"steps", profile.steps},
          {"step_seconds", profile.seconds / steps},
          {"machine",
           {{"gpu", machine.gpu},
            {"threads", machine.threads},
            {"fma_f32_flops", machine.fma_f32},
            {"fma_bf16_flops", machine.fma_bf16},
            {"gemm_size", machine.gemm_size},
            {"gemm_f32_flops", machine.gemm_f32},
            {"gemm_bf16_flops", machine.gemm_bf16},
            {"read_bytes", machine.read},
            {"copy_bytes", machine.copy}}},
          {"parts", std::move(parts)},
          {"ops", std::move(ops)}};
}

void write_profile(const std::filesystem::path& folder, const Profile& profile) {
  io::write_file_atomically(folder / "profile.json", to_json(profile).dump(1) + "\n");
}

std::vector<ProfilePart> read_profile_parts(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "profile.json";
  try {
    const auto json = nlohmann::ordered_json::parse(io::read_file(path));
    std::vector<ProfilePart> parts;
    for (const auto& [name, part] : json.at("parts").items())
      parts.push_back({name, part.at("seconds").get<double>(), part.at("flops").get<double>()});
    return parts;
  } catch (const nlohmann::json::exception& error) {
    fail<FileError>(path.string(), ": expected the parts of a step with seconds and flops, got ", error.what());
  }
}

}  // namespace osteon::experiments
