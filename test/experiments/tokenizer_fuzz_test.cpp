#include <doctest/doctest.h>
#include <fstream>
#include <random>

#include "backends/error.hpp"
#include "experiments/data/tokenizer.hpp"
#include "test/experiments/tiny_tokenizers.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using namespace osteon::experiments;
using nlohmann::json;

namespace {

/// With a vocabulary cut to what the merges need, so that most mutations meet something else.
std::string small_file(json document) {
  json vocab = json::object();
  for (const auto& [token, id] : document["model"]["vocab"].items())
    if (!token.starts_with("<0x") && (token.size() != 2 || id.get<int>() >= 256 || token == "\u0120"))
      vocab[token] = id;
  document["model"]["vocab"] = vocab;
  if (document["pre_tokenizer"].is_object()) {
    const json split = json::parse(
        R"x({"type":"Split","pattern":{"Regex":"(?i:'s)|[^\\r\\n\\p{L}]?\\p{L}{1,3}+|\\s+(?!\\S)"},"behavior":"Isolated"})x");
    document["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, document["pre_tokenizer"]}}};
  }
  return document.dump();
}

void mutate(std::string& text, std::mt19937& random) {
  const std::size_t at = random() % text.size();
  switch (random() % 9) {
    case 0:
      text[at] = static_cast<char>(random() & 0xFF);
      break;
    case 1:
    case 2:
      text.erase(at, 1 + random() % 8);
      break;
    case 3:
    case 4:
      text.insert(at, text.substr(random() % text.size(), random() % 12));
      break;
    case 5:
      text.resize(at + 1);
      break;
    default:
      text[at] = "0123456789{}[]\",:\\-ntu"[random() % 22];
  }
}

}  // namespace

// The sanitizer build runs it, too.
TEST_CASE("a tokenizer.json of any content is loaded or refused with an Error") {
  const test::TemporaryFolder folder;
  std::mt19937 random(20);
  int loaded = 0, refused = 0;
  for (const json& document : {test::tiny_byte_level(), test::tiny_llama()}) {
    const std::string original = small_file(document);
    for (int round = 0; round < 2500; ++round) {
      std::string text = original;
      for (std::size_t edit = 0, edits = 1 + random() % 3; edit < edits; ++edit)
        mutate(text, random);
      std::filesystem::remove(folder / "t.json");  // some file systems flush what is written over
      std::ofstream(folder / "t.json", std::ios::binary) << text;
      try {
        const auto tokenizer = load_tokenizer(folder / "t.json");
        const auto ids = tokenizer->encode("hello <s> \xC3\xA9 it's 123\xFF");
        tokenizer->decode(ids);
        ++loaded;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  CHECK(loaded > 100);
  CHECK(refused > 2000);
}
