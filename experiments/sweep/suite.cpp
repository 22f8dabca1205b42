#include "experiments/sweep/suite.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/config/adapter_options.hpp"
#include "experiments/config/keys.hpp"
#include "experiments/embedded.hpp"
#include "experiments/tasks/task.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {
namespace {

constexpr std::string_view kSuiteFolder = "suites/", kEnding = ".toml";

std::vector<SuiteRun> runs_of(const Suite& suite, const Cell& cell, const std::string& swept,
                              const std::vector<std::int64_t>& seeds) {
  std::vector<SuiteRun> runs;
  for (const std::int64_t seed : seeds) {
    SuiteRun run{cell.id, static_cast<std::size_t>(&cell - suite.cells.data()), cell.config};
    if (suite.sweep && !swept.empty())
      set_key(run.config, suite.sweep->key, swept, "sweep of " + cell.id);
    run.config.seed = seed;
    fill_adapter_defaults(run.config);
    run.id += "-seed" + std::to_string(seed);
    runs.push_back(std::move(run));
  }
  return runs;
}

/// "1,2,3" or "[1, 2, 3]".
std::vector<std::int64_t> seeds_in(std::string_view text, const std::string& origin) {
  std::vector<std::int64_t> seeds;
  std::string numbers(text);
  std::erase_if(numbers, [](char c) { return c == '[' || c == ']' || c == ' '; });
  std::stringstream parts(numbers);
  for (std::string part; std::getline(parts, part, ',');) {
    std::int64_t seed = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), seed);
    check<ConfigError>(error == std::errc{} && end == part.data() + part.size() && seed >= 0, origin,
                       ": expected whole numbers of at least 0, such as seeds=1,2,3, got \"", part, '"');
    check<ConfigError>(std::count(seeds.begin(), seeds.end(), seed) == 0, origin, ": ", seed, " comes twice");
    seeds.push_back(seed);
  }
  check<ConfigError>(!seeds.empty(), origin, ": expected at least one seed, such as seeds=1,2,3, got none");
  return seeds;
}

}  // namespace

std::string Cell::place_of(const std::string& key) const {
  const auto found = places.find(key);
  return found == places.end() ? key : found->second + ": " + key;
}

std::string Cell::case_name() const {
  const auto found =
      std::find_if(labels.begin(), labels.end(), [](const auto& label) { return label.first == "case"; });
  return found == labels.end() ? std::string() : found->second;
}

bool set_by_ablate(std::string_view key) { return key == "out" || key == "threads" || key == "resume"; }

Suite embedded_suite(std::string_view name, bool quick, const std::vector<std::string>& replaced) {
  for (const EmbeddedFile& file : embedded_files())
    if (file.name == join(kSuiteFolder, name, kEnding))
      return parse_suite(file.text, file.name, quick, replaced);
  fail<ConfigError>("unknown suite '", name, "'", suggestion(name, embedded_suite_names()));
}

std::vector<std::string> embedded_suite_names() {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : embedded_files())
    if (file.name.starts_with(kSuiteFolder))
      names.emplace_back(
          file.name.substr(kSuiteFolder.size(), file.name.size() - kSuiteFolder.size() - kEnding.size()));
  return names;
}

Suite load_suite(const std::filesystem::path& file, bool quick, const std::vector<std::string>& replaced) {
  return parse_suite(io::read_file(file), file.string(), quick, replaced);
}

void set_in_suite(Suite& suite, std::string_view argument) {
  const std::size_t equals = argument.find('=');
  const std::string origin = join("--set ", argument);
  check<ConfigError>(equals != std::string_view::npos && equals > 0, "--set: expected key=value, got \"", argument,
                     '"');
  const std::string_view name = argument.substr(0, equals), value = argument.substr(equals + 1);
  if (name == "seeds") {
    const std::vector<std::int64_t> seeds = seeds_in(value, origin);
    check<ConfigError>(!suite.sweep || std::count(seeds.begin(), seeds.end(), suite.sweep->seed) == 0, origin,
                       ": expected seeds other than the sweep's, ", suite.sweep ? suite.sweep->seed : 0);
    suite.seeds = seeds;
    return;
  }
  const Key& key = find_key(name, origin);
  check<ConfigError>(key.name != "seed", origin, ": expected seeds=..., since a suite sets the seed of each run");
  check<ConfigError>(!set_by_ablate(key.name), origin, ": `osteon ablate` sets ", key.name, " for each run");
  if (suite.sweep && suite.sweep->key == key.name)
    suite.sweep.reset();
  for (Cell& cell : suite.cells) {
    for (const auto& [label, text] : cell.labels)
      check<ConfigError>(label != key.name, origin, ": ", key.name, " is an axis of the suite");
    set_key(cell.config, key.name, value, origin);
    cell.places[std::string(key.name)] = origin;
  }
}

void keep_cells(Suite& suite, const std::vector<std::string>& ids) {
  std::vector<std::string> known;
  for (const Cell& cell : suite.cells)
    known.push_back(cell.id);
  for (const std::string& id : ids)
    check<ConfigError>(std::count(known.begin(), known.end(), id) > 0, "--only: ", suite.name, " has no cell '", id,
                       "'", suggestion(id, known));
  std::erase_if(suite.cells, [&](const Cell& cell) { return std::count(ids.begin(), ids.end(), cell.id) == 0; });
}

std::vector<SuiteRun> sweep_runs(const Suite& suite) {
  std::vector<SuiteRun> runs;
  if (!suite.sweep)
    return runs;
  for (const Cell& cell : suite.cells)
    for (const std::string& value : suite.sweep->values)
      for (SuiteRun& run : runs_of(suite, cell, value, {suite.sweep->seed})) {
        run.id = join(cell.id, '-', suite.sweep->key, value, "-seed", suite.sweep->seed);
        std::string& chosen_on = run.config.eval_data;
        const std::string reported = chosen_on;
        if (!run.config.task.empty() && run.config.task_data.empty())
          run.config.task_data = reported;  // eval_data is another's now; what a sweep runs is not asked anyway
        if (!suite.sweep->eval_data.empty())
          chosen_on = suite.sweep->eval_data;
        check<ConfigError>(chosen_on.empty() || is_task(chosen_on) || chosen_on != reported, suite.name,
                           ": sweep.eval_data: expected other data than ", reported,
                           ", which the reported runs are scored on, got ",
                           suite.sweep->eval_data.empty() ? "nothing" : "the same");
        runs.push_back(std::move(run));
      }
  return runs;
}

std::vector<SuiteRun> final_runs(const Suite& suite, const std::map<std::string, std::string>& chosen) {
  std::vector<SuiteRun> runs;
  for (const Cell& cell : suite.cells) {
    const auto pick = chosen.find(cell.id);
    check<ConfigError>(!suite.sweep || pick != chosen.end(), suite.name, ": cell ", cell.id, ": expected a chosen ",
                       suite.sweep ? suite.sweep->key : "", ", got none");
    for (SuiteRun& run : runs_of(suite, cell, suite.sweep ? pick->second : "", suite.seeds))
      runs.push_back(std::move(run));
  }
  return runs;
}

}  // namespace osteon::experiments
