#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/config.hpp"

namespace osteon::experiments {

/// One row of a suite's table: a point of the axes, or a case, before seeds and sweep.
struct Cell {
  std::string id;  // "down-bone": names folders and picks
  std::vector<std::pair<std::string, std::string>>
      labels;  // what distinguishes it: {"data", "down"}, {"method", "bone"}
  RunConfig config;
};

/// The search for one key's value, cell by cell, on validation data and with a seed that no reported run uses.
struct Sweep {
  std::string key;
  std::vector<std::string> values;
  std::int64_t seed = 0;
  std::vector<std::string> by;  // "accuracy" and "loss", the first decides, the next breaks ties
  std::string eval_data;        // what it is chosen on; tasks have validation items of their own
};

/// What the cells must have in common for the comparison to be fair. The runner checks it before anything is trained.
struct Fairness {
  bool equal_parameters = false;
  double tolerance = 0;             // largest |parameters / mean - 1|
  std::vector<std::string> except;  // methods outside the rule, such as full
};

/// A question as data: experiments/suites/*.toml. Sections of a file:
///   question, seeds              what is asked; the seeds that are reported
///   [base]                       run keys shared by all
///   [axes]                       run keys with lists of values: every combination is a cell, the first axis slowest
///   [[cases]]                    run keys of one cell each, with an optional `name`; combined with the axes
///   [for.KEY.VALUE]              run keys of the cells whose KEY is VALUE; a case's own keys go before them
///   [sweep]                      one run key with its values; seed; by; eval_data
///   [fairness]                   see the struct
///   [report]                     title, and tasks: the order of its parts
///   [quick]                      the same sections again: what they name replaces the value above
struct Suite {
  std::string name;  // the file's, without folder and ending
  std::string question;
  std::string text;  // the file itself, for the result
  bool quick = false;
  std::vector<std::int64_t> seeds;
  std::vector<Cell> cells;
  std::optional<Sweep> sweep;
  Fairness fairness;
  std::string title;  ///< of the report; the name where the file has none
  std::vector<std::string>
      tasks;  ///< the report's order of tasks (`data` without folder and ending); the cells' by default
};

/// One run of a suite.
struct SuiteRun {
  std::string id;        // "down-bone-seed1", "down-bone-lr0.003-seed100"; unique in the suite
  std::size_t cell = 0;  // index in Suite::cells
  RunConfig config;
};

/// Reads a suite. FileError if it cannot be opened; ConfigError with file and line for bad TOML, an unknown section or
/// key (the nearest is suggested), a value that does not fit its key, an empty axis, two cells with one name, [for]
/// that no cell matches or that sets an axis, and a sweep whose seed is reported too.
Suite load_suite(const std::filesystem::path& file, bool quick = false);
Suite parse_suite(std::string_view text, std::string_view name, bool quick = false);

/// A suite of the program's own by name ("quickstart"), or ConfigError that suggests the nearest one.
Suite embedded_suite(std::string_view name, bool quick = false);
std::vector<std::string> embedded_suite_names();

/// Keys of a run that are none of a suite's, since `osteon ablate` sets them: out, threads, resume.
bool set_by_ablate(std::string_view key);

/// `key=value` of `--set` for every cell; `seeds=1,2` replaces the seeds. ConfigError for a key that is an axis,
/// swept, or not a suite's.
void set_in_suite(Suite& suite, std::string_view argument);

/// Cells x sweep values, with the sweep's seed; nothing without a sweep. ConfigError where a cell would be chosen on
/// the file that its reported runs are scored on.
std::vector<SuiteRun> sweep_runs(const Suite& suite);

/// Cells x seeds, cells slowest. `chosen` maps a cell's id to the text of its swept key's value; a cell that is missing
/// there although the suite has a sweep is a ConfigError.
std::vector<SuiteRun> final_runs(const Suite& suite, const std::map<std::string, std::string>& chosen);

}  // namespace osteon::experiments
