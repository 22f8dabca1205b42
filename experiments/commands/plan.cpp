#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <iostream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/adapter_options.hpp"
#include "experiments/commands/command.hpp"
#include "experiments/config_options.hpp"
#include "experiments/model_loading.hpp"
#include "experiments/planner.hpp"
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

void print_plan(const Plan& plan, const std::optional<StepCost>& measured) {
  fmt::print("{} of {} parameters train; {} tokens a step\n", plan.trainable_parameters, plan.total_parameters,
             plan.tokens_per_step);
  fmt::print("{:<12} {:>16} {:>12}\n", "products", "forward GFLOP", "backward");
  const auto giga = [&](Pass pass, Work work) { return plan.flops.of(pass, work) * 1e-9; };
  for (const Work work : kWorks)
    fmt::print("{:<12} {:>16.4g} {:>12.4g}\n", name_of(work), giga(Pass::forward, work), giga(Pass::backward, work));
  fmt::print("{:<12} {:>16.4g} {:>12.4g}\n\n", "total", plan.flops.total(Pass::forward) * 1e-9,
             plan.flops.total(Pass::backward) * 1e-9);
  fmt::print("{:<12} {:>16} {:>12}{}\n", "at the peak", "planned bytes", "MiB", measured ? "    measured bytes" : "");
  const auto line = [&](std::string_view name, std::int64_t planned, std::int64_t found) {
    fmt::print("{:<12} {:>16} {:>12.2f}{}\n", name, planned, mib(planned),
               measured ? fmt::format("  {:>16}", found) : "");
  };
  for (const Category category : kCategories)
    line(name_of(category), plan.peak[category], measured ? measured->peak[category] : 0);
  line("total", plan.peak.total(), measured ? measured->peak.total() : 0);
  line("pool beyond", plan.pool_bytes, measured ? measured->pool_bytes : 0);
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
    const peft::SolvedRank solved = peft::solve_rank(loaded.model->config(), adapter_config(one), budget);
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
  check_device(config);
  if (!config.adapter.empty())
    adopt_adapter(config, arguments.config.given());
  if (arguments.budget > 0) {
    print_ranks(config, arguments.budget, json);
    return 0;
  }
  const Plan planned = plan(config);
  std::optional<StepCost> measured;
  if (arguments.compare)
    measured = measure(config);
  if (!json) {
    print_plan(planned, measured);
    return 0;
  }
  nlohmann::ordered_json out = {{"trainable_parameters", planned.trainable_parameters},
                                {"total_parameters", planned.total_parameters},
                                {"tokens_per_step", planned.tokens_per_step},
                                {"flops", flops(planned.flops)},
                                {"peak", categories(planned.peak)},
                                {"peak_each", categories(planned.peak_each)},
                                {"pool_bytes", planned.pool_bytes}};
  if (measured)
    out["measured"] = {{"flops", flops(measured->flops)},
                       {"peak", categories(measured->peak)},
                       {"peak_each", categories(measured->peak_each)},
                       {"pool_bytes", measured->pool_bytes}};
  std::cout << out.dump() << '\n';
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
