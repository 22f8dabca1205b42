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

int run_tokenize(const TokenizeArguments& arguments) {
  using nlohmann::json;
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(arguments.tokenizer);
  std::ifstream file(arguments.input);
  check<FileError>(file.good(), arguments.input, ": expected a file that can be read");
  const char* const key = arguments.decode ? "ids" : "text";
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
    const auto place = [&] { return join(arguments.input, ":", number, ": \"", key, "\": "); };
    check<FileError>(record.is_object() && record.contains(key), place(), "missing");
    try {
      json out;
      if (arguments.decode)
        out["text"] = tokenizer->decode(record[key].get<std::vector<std::int32_t>>());
      else
        out["ids"] = tokenizer->encode(record[key].get<std::string>());
      std::cout << out.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
    } catch (const json::exception&) {
      fail<FileError>(place(), "expected ", arguments.decode ? "a list of ids" : "a string", ", got ",
                      record[key].dump());
    }
  }
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& program, CommandContext& context) {
  CLI::App* command = new_command(program, context, "tokenize", "Ids of texts, or texts of ids, a JSON line each",
                                  "osteon tokenize --tokenizer path/to/llama --input texts.jsonl");
  auto arguments = std::make_shared<TokenizeArguments>();
  command->add_option("--tokenizer", arguments->tokenizer, "Folder, tokenizer.json, .model, or byte")->required();
  command->add_option("--input", arguments->input, "Lines of {\"text\": ...}, or {\"ids\": [...]} with --decode")
      ->required();
  command->add_flag("--decode", arguments->decode, "From ids to texts");
  command->callback([arguments, &context] { context.action = [arguments] { return run_tokenize(*arguments); }; });
}

}  // namespace osteon::experiments
