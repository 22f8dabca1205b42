#include "experiments/data/data_hash.hpp"

#include <fmt/format.h>
#include <fstream>
#include <vector>

#include "backends/error.hpp"
#include "experiments/data/example.hpp"
#include "experiments/data/open.hpp"
#include "experiments/tasks/held_out.hpp"
#include "experiments/tasks/toy_sine.hpp"

namespace osteon::experiments {
namespace {

constexpr int kDrawnItems = 64;

std::uint64_t hash_of(const Item& item, std::uint64_t state) {
  return fnv1a("\n" + item.prompt + '\0' + item.answer, state);
}

std::uint64_t hash_of(const Task& task, std::uint64_t state) {
  const HeldOut held = held_out(task);
  for (const auto* items : {&held.validation, &held.test})
    for (const Item& item : *items)
      state = hash_of(item, state);
  Draw draw(key_for(0, Purpose::task_items));
  for (int i = 0; i < kDrawnItems; ++i)
    state = hash_of(training_item(task, held, draw), state);
  return state;
}

std::uint64_t hash_of_file(const std::string& path, std::uint64_t state) {
  std::ifstream file(path, std::ios::binary);
  check_data_file(path);
  check<FileError>(file.is_open(), path, ": expected a file that can be read");
  std::vector<char> block(std::size_t{1} << 20);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())) || file.gcount() > 0)
    state = fnv1a({block.data(), static_cast<std::size_t>(file.gcount())}, state);
  check<FileError>(!file.bad(), path, ": could not be read to its end");
  return state;
}

}  // namespace

std::string data_hash(const RunConfig& config) {
  std::uint64_t state = fnv1a("");
  std::vector<std::string> names = {config.data, config.eval_data};
  if (!config.retain_data.empty())  // runs from before there was such a key keep their hash
    names.push_back(config.retain_data);
  if (!config.task_data.empty())
    names.push_back(config.task_data);
  for (const std::string& name : names) {
    state = fnv1a({"\0", 1}, state);  // "ab" and "" are not "a" and "b"
    if (name.empty())
      continue;
    if (name == kSine)
      state = fnv1a(kSine, state);
    else if (!is_task(name))
      state = hash_of_file(name, state);
    else if (name.ends_with(kMixture))
      for (const WeightedTask& skill : mixture_skills())
        state = hash_of(*skill.task, fnv1a(std::to_string(skill.weight), state));
    else
      state = hash_of(*make_task(name), state);
  }
  return fmt::format("{:016x}", state);
}

}  // namespace osteon::experiments
