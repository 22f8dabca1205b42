#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "backends/error.hpp"
#include "experiments/commands/command.hpp"
#include "experiments/data/tokenizer.hpp"

namespace osteon::experiments {
namespace {

struct TokenizeArguments {
  std::string tokenizer, input;
  bool decode = false;
};

using nlohmann::json;

/// Ids as they stand in the line: a number that is no id must not become one.
std::vector<std::int32_t> ids_of(const json& list, std::int64_t vocab_size, const std::string& place) {
  check<FileError>(list.is_array(), place, "expected a list of ids, got ", list.dump());
  std::vector<std::int32_t> ids;
  for (const json& id : list) {
    const bool known =
        id.is_number_integer() && id.get<double>() >= 0 && id.get<double>() < static_cast<double>(vocab_size);
    check<FileError>(known, place, "expected ids in [0, ", vocab_size, "), got ", id.dump());
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

/// One line's answer.
json converted_line(const json& record, const Tokenizer& tokenizer, bool decode, const std::string& place) {
  if (decode)
    return {{"text", tokenizer.decode(ids_of(record["ids"], tokenizer.vocab_size(), place))}};
  check<FileError>(record["text"].is_string(), place, "expected a string, got ", record["text"].dump());
  return {{"ids", tokenizer.encode(record["text"].get<std::string>())}};
}

int run_tokenize(const TokenizeArguments& arguments, bool as_one_object) {
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(arguments.tokenizer);
  check<FileError>(!std::filesystem::is_directory(arguments.input), arguments.input, ": expected a file, got a folder");
  std::ifstream file(arguments.input);
  check<FileError>(file.good(), arguments.input, ": expected a file that can be read");
  const char* const key = arguments.decode ? "ids" : "text";
  json lines = json::array();
  std::string line;
  for (std::int64_t number = 1; std::getline(file, line); ++number) {
    if (line.empty())
      continue;
    json record;
    try {
      record = json::parse(line);
    } catch (const json::exception& error) {
      fail<FileError>(arguments.input, ":", number, ": expected a JSON object (", error.what(), ")");
    }
    const std::string place = join(arguments.input, ":", number, ": \"", key, "\": ");
    check<FileError>(record.is_object() && record.contains(key), place, "missing");
    json out = converted_line(record, *tokenizer, arguments.decode, place);
    if (as_one_object)
      lines.push_back(std::move(out));
    else
      std::cout << out.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
  }
  if (as_one_object)
    std::cout << json{{"lines", lines}}.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& program, CommandContext& context) {
  CLI::App* command = new_command(program, context, "tokenize", "Ids of texts, or texts of ids, a JSON line each",
                                  "osteon tokenize --tokenizer path/to/llama --input texts.jsonl");
  auto arguments = std::make_shared<TokenizeArguments>();
  command->add_option("--tokenizer", arguments->tokenizer, "Folder, tokenizer.json, .model, RWKV's vocabulary, or byte")
      ->required();
  command->add_option("--input", arguments->input, "Lines of {\"text\": ...}, or {\"ids\": [...]} with --decode")
      ->required();
  command->add_flag("--decode", arguments->decode, "From ids to texts");
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_tokenize(*arguments, context.json); };
  });
}

}  // namespace osteon::experiments
