#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.hpp"
#include "experiments/report/published.hpp"

namespace osteon::experiments {
namespace {

struct ReproduceArguments {
  std::string table;
  std::vector<std::filesystem::path> runs;
};

int list_tables(bool json) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const std::string& name : report::published_names()) {
    const report::PublishedTable table = report::published_table(name);
    all.push_back({{"table", name}, {"title", table.title}, {"source", table.source}});
    if (!json)
      fmt::print("{:<14} {} ({})\n", name, table.title, table.source);
  }
  if (json)
    std::cout << nlohmann::ordered_json{{"tables", all}}.dump() << '\n';
  return 0;
}

int run_reproduce(const ReproduceArguments& arguments, bool json) {
  if (arguments.table.empty())
    return list_tables(json);
  const report::PublishedTable table = report::published_table(arguments.table);
  const report::RunCollection runs =
      arguments.runs.empty() ? report::RunCollection{} : report::collect_runs(arguments.runs);
  const report::Reproduction found = report::reproduce(table, runs);
  if (json)
    std::cout << reproduction_json(table, found).dump() << '\n';
  else
    fmt::print("{}", reproduction_text(table, found));
  return 0;
}

}  // namespace

void add_reproduce(CLI::App& program, CommandContext& context) {
  CLI::App* command = new_command(program, context, "reproduce", "A published table beside runs of one's own",
                                  "osteon reproduce rank_sweep runs/bone");
  auto arguments = std::make_shared<ReproduceArguments>();
  command->add_option("table", arguments->table, "Name of the table; without one all are listed");
  command->add_option("runs", arguments->runs,
                      "Run folders, or folders that hold some; none: what was published alone");
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_reproduce(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
