#include "experiments/scoring/glue_data.hpp"

#include <cmath>

#include "backends/error.hpp"
#include "experiments/data/templates.hpp"

namespace osteon::scoring {
namespace {

using experiments::DataSet;
using experiments::Example;
using experiments::Tokenizer;

Example head_example(const GlueTask& task, const GlueItem& item, const Tokenizer& tokenizer) {
  Example example = classifier_example(tokenizer, glue_text(item));
  if (task.labels.empty())
    example.row_score = item.score;
  else
    example.row_class = static_cast<std::int32_t>(item.label);
  return example;
}

Example question_example(const GlueTask& task, const GlueItem& item, const Tokenizer& tokenizer, bool whole) {
  const std::int64_t right = task.labels.empty() ? std::lround(item.score) : item.label;
  const std::string choice(task.choices[static_cast<std::size_t>(right)]);
  return experiments::encode_segments({{glue_prompt(task, item), false}, {choice, true}}, tokenizer, whole);
}

}  // namespace

Example classifier_example(const Tokenizer& tokenizer, const std::string& text) {
  Example example;
  example.ids = tokenizer.encode(text);
  const experiments::SpecialTokens& special = tokenizer.special();
  if (special.add_bos && special.bos && (example.ids.empty() || example.ids.front() != *special.bos))
    example.ids.insert(example.ids.begin(), *special.bos);
  example.labels.assign(example.ids.size(), experiments::kIgnored);
  return example;
}

DataSet load_glue(const GlueTask& task, const std::filesystem::path& file, const Tokenizer& tokenizer,
                  const experiments::DataOptions& options, bool head) {
  DataSet data;
  data.source = file.string();
  const experiments::RowLimit limit(options);
  const std::int64_t vocab_size = options.vocab_size ? options.vocab_size : tokenizer.vocab_size();
  for (const GlueItem& item : read_glue(task, file)) {
    if (options.max_examples > 0 && static_cast<std::int64_t>(data.examples.size()) >= options.max_examples)
      break;
    const std::string origin = join(data.source, ':', item.id.substr(item.id.rfind(':') + 1));
    Example example =
        head ? head_example(task, item, tokenizer) : question_example(task, item, tokenizer, options.train_on_prompt);
    check_vocabulary(example, vocab_size, origin);
    data.truncated += limit.cut(example, options.truncate, origin) ? 1 : 0;
    if (experiments::loss_tokens(example) == 0)
      ++data.dropped;
    else
      data.examples.push_back(std::move(example));
  }
  check<FileError>(!data.examples.empty(), data.source,
                   ": expected at least one example with a token to be learned, got ", data.dropped, " without");
  return data;
}

}  // namespace osteon::scoring
