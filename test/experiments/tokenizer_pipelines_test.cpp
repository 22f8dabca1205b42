#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "experiments/data/stream_decoder.hpp"
#include "experiments/data/tokenizer.hpp"
#include "experiments/data/unicode.hpp"
#include "nn/io/atomic_file.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/paths.hpp"

using namespace osteon;
using namespace osteon::experiments;

// test/golden/tokenizers/make.py: every supported normalizer, pre-tokenizer, decoder and model option, as Hugging Face
// tokenizers has it.
TEST_CASE("small pipelines give the ids and texts of the reference") {
  const auto golden = nlohmann::json::parse(io::read_file(test::golden("tokenizers/pipelines.json")));
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  REQUIRE(golden["cases"].size() >= 80);
  const test::TemporaryFolder folder;
  for (const auto& item : golden["cases"]) {
    nlohmann::json document = item["tokenizer"];
    const std::string parts = document.dump();
    CAPTURE(parts);
    CAPTURE(item["model"]);
    if (!has_normalization() && (parts.find("\"NF") != std::string::npos || parts.find("Lower") != std::string::npos))
      continue;
    document["model"] = golden["models"][item["model"].get<std::string>()];
    io::write_file_atomically(folder / "tokenizer.json", document.dump());
    const auto tokenizer = load_tokenizer(folder.path());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      CAPTURE(texts[i]);
      const std::vector<std::int32_t> ids = tokenizer->encode(texts[i]);
      CHECK(ids == item["ids"][i].get<std::vector<std::int32_t>>());
      const std::string decoded = to_valid_utf8(tokenizer->decode(ids));
      // For bytes that make no character the reference may write one U+FFFD each.
      if (const std::string expected = item["decoded"][i]; expected.find("\xEF\xBF\xBD") == std::string::npos)
        CHECK(decoded == expected);
      StreamDecoder stream(*tokenizer);
      std::string streamed;
      for (const std::int32_t id : ids)
        streamed += stream.push(id);
      CHECK(streamed + stream.finish() == decoded);
      // Of the cache's words and of new ones alike.
      CHECK(tokenizer->encode(texts[i]) == ids);
    }
  }
}
