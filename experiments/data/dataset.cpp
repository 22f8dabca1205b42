#include "experiments/data/dataset.hpp"

#include <algorithm>

#include "backends/error.hpp"
#include "experiments/data/reader.hpp"

namespace osteon::experiments {
namespace {

/// The pieces of one running text.
std::vector<Example> pieces_of(const Example& whole, bool has_bos, std::int64_t seq_len) {
  const auto length = static_cast<std::int64_t>(whole.ids.size());
  if (length <= seq_len)
    return {whole};
  std::vector<Example> pieces;
  const std::int64_t stride = seq_len - 1;
  for (std::int64_t start = 0; start + 1 < length; start += stride) {
    const auto first = whole.ids.begin() + start, last = whole.ids.begin() + std::min(start + seq_len, length);
    Example piece{{first, last}, {first, last}};
    // Both ways the piece's first token stands for what came before; only its value differs.
    if (has_bos)
      piece.ids.front() = whole.ids.front();
    piece.labels.front() = kIgnored;
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

}  // namespace

bool RowLimit::cut(Example& example, bool truncate, const std::string& origin) const {
  const auto length = static_cast<std::int64_t>(example.ids.size());
  if (length <= most_)
    return false;
  check<FileError>(truncate, origin, ": expected at most ",
                   by_model_ ? "the model's max_position_embeddings = " : "seq_len = ", most_, " tokens, got ", length,
                   by_model_ ? " (--truncate cuts them)" : " (--seq-len takes longer ones, --truncate cuts them)");
  example.ids.resize(static_cast<std::size_t>(most_));
  example.labels.resize(static_cast<std::size_t>(most_));
  return true;
}

std::int64_t DataSet::tokens() const {
  std::int64_t count = 0;
  for (const Example& example : examples)
    count += static_cast<std::int64_t>(example.ids.size());
  return count;
}

std::int64_t DataSet::loss_tokens() const {
  std::int64_t count = 0;
  for (const Example& example : examples)
    count += experiments::loss_tokens(example);
  return count;
}

DataSet load_data(const std::filesystem::path& file, const Tokenizer& tokenizer, const DataOptions& options) {
  check<ConfigError>(options.seq_len >= 2, "seq_len: expected at least 2, got ", options.seq_len);
  DataSet data;
  data.source = file.string();
  const std::int64_t vocab_size = options.vocab_size ? options.vocab_size : tokenizer.vocab_size();
  const RowLimit limit(options);
  const bool has_bos = tokenizer.bos() && tokenizer.special().add_bos;
  const auto full = [&] {
    return options.max_examples > 0 && static_cast<std::int64_t>(data.examples.size()) >= options.max_examples;
  };
  for (const auto& [record, origin] : read_records(file, options.template_name == "text")) {
    if (full())
      break;
    const std::vector<Segment> segments = render(record, options.template_name, origin);
    Example example = encode_segments(segments, tokenizer, options.train_on_prompt);
    check_vocabulary(example, vocab_size, origin);
    if (record.kind == TextRecord::Kind::text && segments.size() == 1) {
      for (Example& piece : pieces_of(example, has_bos, limit.most())) {
        if (full())
          break;
        if (loss_tokens(piece) > 0)
          data.examples.push_back(std::move(piece));
      }
      continue;
    }
    data.truncated += limit.cut(example, options.truncate, origin) ? 1 : 0;
    if (loss_tokens(example) == 0) {
      ++data.dropped;
      continue;
    }
    data.examples.push_back(std::move(example));
  }
  check<FileError>(!data.examples.empty(), data.source,
                   ": expected at least one example with a token to be learned, got ", data.dropped, " without");
  return data;
}

}  // namespace osteon::experiments
