#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/report/runs.hpp"

/// `osteon reproduce`: a table that a paper printed, beside runs of our own. Tables are data:
/// experiments/tables/*.toml.
namespace osteon::report {

struct PublishedRow {
  std::string label, method;
  std::string rank, init, model;    ///< empty: any rank and initialisation; the table's model
  std::vector<std::string> values;  ///< as printed, "-" where nothing was
};

struct PublishedTable {
  std::string name, title, source, note;
  std::vector<std::string> columns;
  std::vector<std::pair<std::string, std::string>> setting;  ///< run keys, as published: {"steps", "6171"}
  std::vector<PublishedRow> rows;
};

/// ConfigError that suggests the nearest name.
PublishedTable published_table(std::string_view name);
std::vector<std::string> published_names();
/// ConfigError with file and line for what is no such table.
PublishedTable parse_published(std::string_view text, std::string_view name);

/// What runs of one kind (task, model, method, rank, initialisation) came to: means over their seeds.
struct OurRow {
  std::string label;
  std::string text;                      ///< accuracy, losses, gradient norm, seconds, bytes: what was measured
  std::vector<std::string> differences;  ///< "model: Llama-2-7B there, synthetic:tiny here"
  std::size_t seeds = 0;
};

struct Reproduction {
  struct Pair {
    PublishedRow published;
    std::vector<OurRow> ours;  ///< empty: not run
  };
  std::vector<Pair> rows;
  std::vector<OurRow> others;  ///< runs of the table's methods that no row has, such as other ranks
};

/// Matches completed final runs with rows by method (miss is bone), and by rank and initialisation where a row has one.
/// Nothing else is asked of a run; what differs from the published setting is listed with it.
Reproduction reproduce(const PublishedTable& table, const RunCollection& runs);

std::string reproduction_text(const PublishedTable& table, const Reproduction& found);
nlohmann::ordered_json reproduction_json(const PublishedTable& table, const Reproduction& found);

}  // namespace osteon::report
