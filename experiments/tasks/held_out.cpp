#include "experiments/tasks/held_out.hpp"

#include "backends/error.hpp"

namespace osteon::experiments {

namespace {

constexpr int kMostRepeats = 10000;  // draws in a row without a new prompt: there is hardly one left

void check_variety(const Task& task, int repeats, const char* of_what) {
  check<ConfigError>(repeats < kMostRepeats, "task ", task.name(), ": expected many more than ",
                     kValidationItems + kTestItems, " ", of_what, ", found none in ", kMostRepeats, " draws");
}

}  // namespace

HeldOut held_out(const Task& task) {
  HeldOut held;
  Draw draw({fnv1a(task.name()), static_cast<std::uint64_t>(Purpose::held_out)});
  const auto fill = [&](std::vector<Item>& items, std::int64_t count) {
    for (int repeats = 0; static_cast<std::int64_t>(items.size()) < count;) {
      Item item = task.sample(draw);
      const bool fresh = held.prompts.insert(item.prompt).second;
      if (fresh)
        items.push_back(std::move(item));
      repeats = fresh ? 0 : repeats + 1;
      check_variety(task, repeats, "distinct prompts");
    }
  };
  fill(held.validation, kValidationItems);
  fill(held.test, kTestItems);
  return held;
}

Item training_item(const Task& task, const HeldOut& held, Draw& draw) {
  Item item = task.sample(draw);
  for (int repeats = 0; held.holds(item); item = task.sample(draw))
    check_variety(task, ++repeats, "prompts that are not held out");
  return item;
}

Example encode_item(const Item& item, const Tokenizer& tokenizer) {
  Example example;
  example.ids = tokenizer.encode("\n" + item.prompt);
  example.labels.assign(example.ids.size(), kIgnored);
  for (const std::int32_t id : tokenizer.encode(item.answer + "\n")) {
    example.ids.push_back(id);
    example.labels.push_back(id);
  }
  return example;
}

std::vector<TokenBatch> item_batches(std::span<const Item> items, const Tokenizer& tokenizer, std::int64_t batch_size,
                                     std::int64_t seq_len) {
  std::vector<Example> examples;
  std::int64_t longest = seq_len;
  for (const Item& item : items) {
    examples.push_back(encode_item(item, tokenizer));
    longest = std::max(longest, static_cast<std::int64_t>(examples.back().ids.size()));
  }
  std::vector<TokenBatch> batches;
  const auto rows = static_cast<std::size_t>(batch_size);
  for (std::size_t first = 0; first < examples.size(); first += rows)
    batches.push_back(
        pad_batch(std::span<const Example>(examples).subspan(first, std::min(rows, examples.size() - first)),
                  tokenizer.pad().value_or(0), longest));
  return batches;
}

std::vector<bool> exact_match(const TokenBatch& batch, std::span<const std::int32_t> predicted) {
  check(static_cast<std::int64_t>(predicted.size()) == batch.batch_size * batch.seq_len, "exact_match: expected ",
        batch.batch_size * batch.seq_len, " predictions, got ", predicted.size());
  std::vector<bool> right;
  for (std::int64_t row = 0; row < batch.batch_size; ++row) {
    bool all = true, any = false;
    for (std::int64_t t = 1; t < batch.seq_len; ++t) {
      const auto at = static_cast<std::size_t>(row * batch.seq_len + t);
      if (batch.labels[at] == kIgnored)
        continue;
      any = true;
      all = all && predicted[at - 1] == batch.labels[at];
    }
    right.push_back(any && all);
  }
  return right;
}

}  // namespace osteon::experiments
