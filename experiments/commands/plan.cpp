#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <iostream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "backends/open_device.hpp"
#include "experiments/commands/command.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/config/byte_size.hpp"
#include "experiments/config/options.hpp"
#include "experiments/measure/memory_limit.hpp"
#include "experiments/training/model_loading.hpp"
#include "peft/methods.hpp"
#include "peft/rank_solver.hpp"

namespace osteon::experiments {
namespace {

struct PlanArguments {
  ConfigArguments config;
  bool compare = false;
  std::int64_t budget = 0;
};

double mib(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

nlohmann::ordered_json categories(const MemoryUse& use) {
  nlohmann::ordered_json table;
  for (const Category category : kCategories)
    table[std::string(name_of(category))] = use[category];
  table["total"] = use.total();
  return table;
}

nlohmann::ordered_json flops(const FlopCount& count) {
  nlohmann::ordered_json table;
  for (const auto& [pass, name] : {std::pair(Pass::forward, "forward"), std::pair(Pass::backward, "backward")}) {
    for (const Work work : kWorks)
      table[name][std::string(name_of(work))] = count.of(pass, work);
    table[name]["total"] = count.total(pass);
  }
  return table;
}

nlohmann::ordered_json ops(const std::vector<OpCost>& costs) {
  nlohmann::ordered_json table = nlohmann::ordered_json::object();
  for (const OpCost& cost : costs)
    table[cost.op] = {{"forward", cost.forward}, {"backward", cost.backward}};
  return table;
}

std::string_view name_of(Pass pass) { return pass == Pass::forward ? "forward" : "backward"; }

/// "backward of linear in model.layers.0.mlp.down_proj"
std::string place_text(const OpPlace& place) {
  return fmt::format("{} of {}{}{}", name_of(place.pass), place.op, place.module.empty() ? "" : " in ", place.module);
}

/// What is known of a run before it runs.
struct Answer {
  RunConfig config;
  PolicyChoice choice;
  std::vector<Saving> savings;
  std::optional<StepCost> measured;
};

void print_flops(const Plan& plan) {
  fmt::print("{:<12} {:>16} {:>12}\n", "products", "forward GFLOP", "backward");
  const auto giga = [&](Pass pass, Work work) { return plan.flops.of(pass, work) * 1e-9; };
  for (const Work work : kWorks)
    fmt::print("{:<12} {:>16.4g} {:>12.4g}\n", name_of(work), giga(Pass::forward, work), giga(Pass::backward, work));
  fmt::print("{:<12} {:>16.4g} {:>12.4g}\n\n", "total", plan.flops.total(Pass::forward) * 1e-9,
             plan.flops.total(Pass::backward) * 1e-9);
  fmt::print("{:<20} {:>8} {:>12}\n", "by op", "forward", "backward");
  for (const OpCost& cost : plan.ops)
    if (cost.forward + cost.backward > 0)
      fmt::print("{:<20} {:>8.4g} {:>12.4g}\n", cost.op, cost.forward * 1e-9, cost.backward * 1e-9);
  fmt::print("\n");
}

void print_bytes(const StepCost& plan, const std::optional<StepCost>& measured) {
  fmt::print("{:<12} {:>16} {:>12}{}\n", "at the peak", "planned bytes", "MiB", measured ? "    measured bytes" : "");
  const auto line = [&](std::string_view name, std::int64_t planned, std::int64_t found) {
    fmt::print("{:<12} {:>16} {:>12.2f}{}\n", name, planned, mib(planned),
               measured ? fmt::format("  {:>16}", found) : "");
  };
  for (const Category category : kCategories)
    line(name_of(category), plan.peak[category], measured ? measured->peak[category] : 0);
  line("total", plan.peak.total(), measured ? measured->peak.total() : 0);
  line("pool beyond", plan.pool_bytes, measured ? measured->pool_bytes : 0);
  line("needed", plan.needed_bytes(), measured ? measured->needed_bytes() : 0);
  fmt::print("the peak is in the {}\n", place_text(plan.peak_place));
}

void print_answer(const Answer& answer) {
  const Plan& plan = answer.choice.plan;
  fmt::print("{} of {} parameters train; {} tokens a step; memory_policy {}; device {}\n", plan.trainable_parameters,
             plan.total_parameters, plan.tokens_per_step, answer.choice.text(), name_of(plan.device));
  print_flops(plan);
  print_bytes(plan, answer.measured);
  if (!answer.savings.empty())
    fmt::print("\n{:<36} would save\n", "one changed setting");
  for (const Saving& saving : answer.savings)
    fmt::print("{:<36} {:>10}\n", saving.setting, bytes_text(saving.bytes));
  if (answer.choice.fits && !answer.config.memory_limit.empty())
    fmt::print("\nfits {}\n", answer.config.memory_limit);
  else if (!answer.choice.fits)
    fmt::print("\ndoes not fit {}: {}\n", answer.config.memory_limit, too_much(answer.config, answer.choice));
}

nlohmann::ordered_json json_of(const StepCost& cost) {
  return {{"flops", flops(cost.flops)},
          {"ops", ops(cost.ops)},
          {"peak", categories(cost.peak)},
          {"peak_each", categories(cost.peak_each)},
          {"pool_bytes", cost.pool_bytes},
          {"needed_bytes", cost.needed_bytes()},
          {"peak_place",
           {{"pass", name_of(cost.peak_place.pass)}, {"op", cost.peak_place.op}, {"module", cost.peak_place.module}}}};
}

nlohmann::ordered_json json_of(const Answer& answer) {
  const Plan& plan = answer.choice.plan;
  nlohmann::ordered_json out = {{"trainable_parameters", plan.trainable_parameters},
                                {"total_parameters", plan.total_parameters},
                                {"tokens_per_step", plan.tokens_per_step},
                                {"memory_policy", answer.choice.policy},
                                {"checkpoint_layers", answer.choice.checkpoint_layers},
                                {"device", name_of(plan.device)}};
  out.update(json_of(static_cast<const StepCost&>(plan)));
  if (!answer.config.memory_limit.empty())
    out["fits"] = answer.choice.fits;
  out["savings"] = nlohmann::ordered_json::array();
  for (const Saving& saving : answer.savings)
    out["savings"].push_back({{"setting", saving.setting}, {"bytes", saving.bytes}});
  if (answer.measured)
    out["measured"] = json_of(*answer.measured);
  return out;
}

/// Each method's rank that comes nearest to a number of trainable parameters.
void print_ranks(const RunConfig& config, std::int64_t budget, bool json) {
  const LoadedModel loaded = load_weights(config, Weights::random, Device::meta);
  nlohmann::ordered_json all;
  for (const auto& method : peft::methods()) {
    if (!method->adapts_linears())
      continue;
    RunConfig one = config;
    one.method = method->name();
    one.init_weights = "true";
    const peft::SolvedRank solved = peft::solve_rank(*loaded.model, adapter_config(one), budget);
    all[method->name()] = {{"rank", solved.rank}, {"parameters", solved.parameters}};
    if (!json)
      fmt::print("{:<16} rank {:>5}  {:>14} parameters\n", method->name(), solved.rank, solved.parameters);
  }
  if (json)
    std::cout << all.dump() << '\n';
}

int run_plan(const PlanArguments& arguments, bool json) {
  RunConfig config = resolve_config(arguments.config);
  check<ConfigError>(!config.model.empty(), "plan: expected --model");
  if (arguments.compare)
    check_device(config.device);
  else
    device_to_plan(config.device);  // for what it throws
  if (!config.adapter.empty())
    adopt_adapter(config, arguments.config.given());
  if (arguments.budget > 0) {
    print_ranks(config, arguments.budget, json);
    return 0;
  }
  Answer answer{config, choose_policy(config), {}, {}};
  answer.choice.put_into(answer.config);
  answer.savings = savings(answer.config, answer.choice.plan);
  if (arguments.compare)
    answer.measured = measure(answer.config);
  if (json)
    std::cout << json_of(answer).dump() << '\n';
  else
    print_answer(answer);
  return 0;
}

}  // namespace

void add_plan(CLI::App& program, CommandContext& context) {
  CLI::App* command =
      new_command(program, context, "plan", "Memory and FLOPs of a run before it runs, from config.json alone",
                  "osteon plan --model path/to/llama --method bone --rank 64 --batch-size 4 --seq-len 1024");
  auto arguments = std::make_shared<PlanArguments>();
  add_config_options(*command, arguments->config);
  command->add_flag("--compare", arguments->compare, "Run the steps too and show what the allocator counted");
  command->add_option("--budget", arguments->budget, "Show each method's rank nearest to so many trainable parameters")
      ->check(CLI::Range(std::int64_t{1}, std::numeric_limits<std::int64_t>::max()));
  command->callback(
      [arguments, &context] { context.action = [arguments, &context] { return run_plan(*arguments, context.json); }; });
}

}  // namespace osteon::experiments
