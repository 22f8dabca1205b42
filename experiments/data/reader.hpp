#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/data/templates.hpp"

namespace osteon::experiments {

/// A record and where it stands.
struct PlacedRecord {
  TextRecord record;
  std::string origin;  // "data.jsonl:17", or "data.json: record 3" in a JSON list
};

/// The records of a text file:
///   .jsonl, .ndjson, or lines that begin with '{'   one JSON object a line; empty lines are skipped
///   .json                                           a list of such objects, or the same as .jsonl
///   lines with "||", unless `whole_text`            MR||reference, one pair a line (E2E, WebNLG as in microsoft/LoRA)
///   anything else                                   one record with the whole text
/// Objects hold messages, instruction/output with or without input, query/response, question/answer, prompt/completion,
/// or text; other fields are ignored. FileError with file, line and reason: cannot be read, no UTF-8, malformed JSON,
/// not an object, none of these fields, a field that is no string, a malformed message, no record at all. Empty texts
/// are data: whether anything is learned from them is for load_data to see.
std::vector<PlacedRecord> read_records(const std::filesystem::path& file, bool whole_text = false);

}  // namespace osteon::experiments
