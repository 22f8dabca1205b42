#include "experiments/tasks/task_stream.hpp"

#include <algorithm>

namespace osteon::experiments {
namespace {

/// The window of a step from a source whose example i is `example(i)`, in rows padded to `seq_len` or the batch's
/// longest.
template <class F>
StepData window(std::int64_t& position, std::int64_t batch_size, std::int64_t accumulate, std::int64_t seq_len,
                std::int32_t pad_id, F example) {
  StepData step;
  for (std::int64_t pass = 0; pass < accumulate; ++pass) {
    std::vector<Example> rows;
    std::int64_t longest = seq_len;
    for (std::int64_t i = 0; i < batch_size; ++i, ++position) {
      step.sample_ids.push_back(position);
      rows.push_back(example(position));
      longest = std::max(longest, static_cast<std::int64_t>(rows.back().ids.size()));
    }
    step.batches.push_back(pad_batch(rows, pad_id, longest));
  }
  return step;
}

}  // namespace

TaskStream::TaskStream(std::unique_ptr<Task> task, const Tokenizer& tokenizer, const Options& options)
    : task_(std::move(task)), tokenizer_(tokenizer), options_(options), held_(held_out(*task_)) {}

Item TaskStream::item(std::int64_t index) const {
  const RandomKey key = key_for(options_.seed, Purpose::task_items).split(fnv1a(task_->name()));
  Draw draw(key.split(static_cast<std::uint64_t>(index)));
  return training_item(*task_, held_, draw);
}

StepData TaskStream::produce() {
  return window(position_, options_.batch_size, options_.accumulate, task_->max_length(), tokenizer_.pad().value_or(0),
                [this](std::int64_t index) { return encode_item(item(index), tokenizer_); });
}

MixtureStream::MixtureStream(const Tokenizer& tokenizer, const Options& options)
    : tokenizer_(tokenizer), options_(options), skills_(mixture_skills()) {
  for (const WeightedTask& skill : skills_)
    held_.push_back(held_out(*skill.task));
}

std::size_t MixtureStream::draw_skill(Draw& draw) const {
  std::int64_t total = 0;
  for (const WeightedTask& skill : skills_)
    total += skill.weight;
  std::int64_t ticket = draw.below(total);
  std::size_t chosen = 0;
  while (ticket >= skills_[chosen].weight)
    ticket -= skills_[chosen++].weight;
  return chosen;
}

Example MixtureStream::row(std::int64_t index) const {
  Draw draw(key_for(options_.seed, Purpose::mixture).split(static_cast<std::uint64_t>(index)));
  const auto length = static_cast<std::size_t>(options_.seq_len);
  Example row;
  const auto append = [&](const std::string& text, bool counted) {
    for (const std::int32_t id : tokenizer_.encode(text)) {
      row.ids.push_back(id);
      row.labels.push_back(counted ? id : kIgnored);
    }
  };
  append("\n", false);
  while (row.ids.size() < length) {
    const std::size_t skill = draw_skill(draw);
    const Item item = training_item(*skills_[skill].task, held_[skill], draw);
    append(item.prompt, false);
    append(item.answer + "\n", true);
  }
  row.ids.resize(length);
  row.labels.resize(length);
  return row;
}

StepData MixtureStream::produce() {
  return window(position_, options_.batch_size, options_.accumulate, options_.seq_len, tokenizer_.pad().value_or(0),
                [this](std::int64_t index) { return row(index); });
}

}  // namespace osteon::experiments
