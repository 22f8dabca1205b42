#include "experiments/report/report.hpp"

#include <fmt/format.h>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.hpp"

namespace osteon::experiments {
namespace {

struct ReportArguments {
  std::vector<std::filesystem::path> runs;
  std::string out, title, question;
};

int run_report(const ReportArguments& arguments, bool json) {
  const std::filesystem::path out =
      arguments.out.empty() ? arguments.runs[0] / "report" : std::filesystem::path(arguments.out);
  report::ReportOptions options;
  options.title = arguments.title;
  options.question = arguments.question;
  const report::WrittenReport written = report::write_report(arguments.runs, out, options);
  if (json)
    std::cout << nlohmann::ordered_json{{"html", written.html.string()},
                                        {"markdown", written.markdown.string()},
                                        {"latex", written.latex.string()},
                                        {"csv", written.csv.string()},
                                        {"headline", written.headline}}
                     .dump()
              << '\n';
  else
    fmt::print("{}\n{}\n", written.terminal, written.html.string());
  for (const std::string& error : written.errors)
    print_error(error);
  if (!written.missing_figures.empty())
    fmt::print(stderr, "warning: {}\n", written.missing_figures);
  return written.errors.empty() ? 0 : 1;
}

}  // namespace

void add_report(CLI::App& program, CommandContext& context) {
  CLI::App* command = new_command(program, context, "report", "Compare finished runs: one page, tables, figures",
                                  "osteon report runs/bone runs/lora --out comparison");
  auto arguments = std::make_shared<ReportArguments>();
  command->add_option("runs", arguments->runs, "Run folders, or folders that hold some")->required();
  command->add_option("--out", arguments->out, "Folder to write; report/ in the first run folder by default");
  command->add_option("--title", arguments->title, "Heading");
  command->add_option("--question", arguments->question, "What the runs were made to answer");
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_report(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
