#include "experiments/scoring/predictions.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

#include "experiments/config/json_fields.hpp"
#include "experiments/data/example.hpp"
#include "experiments/scoring/json_lines.hpp"

namespace osteon::scoring {

// Found by JsonWriter and JsonReader through the record's namespace.
template <class Fields>
void describe(Fields& field, Prediction& prediction) {
  field("id", prediction.id);
  field("prompt_hash", prediction.prompt_hash);
  field("prompt", prediction.prompt);
  field("prediction", prediction.prediction);
  field("references", prediction.references);
  field("score", prediction.score);
  field("log_likelihoods", prediction.log_likelihoods);
  field("scores", prediction.scores);
}

template <class Fields>
void describe(Fields& field, Completion& completion) {
  field("task_id", completion.task_id);
  field("completion", completion.completion);
}

namespace {

/// A model's bytes need not be UTF-8: what is none is written as U+FFFD.
std::string line_of(const nlohmann::ordered_json& object) {
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

/// Fields that say nothing of an item are left out of its line.
nlohmann::ordered_json object_of(const Prediction& prediction) {
  nlohmann::ordered_json object = experiments::JsonWriter::write(prediction);
  if (prediction.prompt_hash.empty())
    object.erase("prompt_hash");
  if (prediction.log_likelihoods.empty())
    object.erase("log_likelihoods");
  if (prediction.scores.empty())
    object.erase("scores");
  return object;
}

template <class Record>
std::vector<Record> read_records(const std::filesystem::path& file, std::initializer_list<const char*> required) {
  std::vector<Record> records;
  for (const PlacedObject& line : read_json_lines(file)) {
    experiments::JsonReader reader(line.object, line.origin);
    for (const char* key : required)
      reader.require(key);
    describe(reader, records.emplace_back());
  }
  return records;
}

}  // namespace

std::string prompt_hash(std::string_view prompt) { return fmt::format("{:016x}", experiments::fnv1a(prompt)); }

void LineWriter::add(const Prediction& prediction) { file_.write(line_of(object_of(prediction))); }

void LineWriter::add(const Completion& completion) { file_.write(line_of(experiments::JsonWriter::write(completion))); }

std::vector<Prediction> read_predictions(const std::filesystem::path& file) {
  std::vector<Prediction> predictions = read_records<Prediction>(file, {"id", "prediction"});
  std::set<std::string_view> ids;
  for (const Prediction& prediction : predictions)
    check<FileError>(ids.insert(prediction.id).second, file.string(), ": expected every id once, got \"", prediction.id,
                     "\" twice");
  return predictions;
}

std::string before_stops(std::string_view text, std::span<const std::string_view> stops) {
  std::size_t end = text.size();
  for (const std::string_view stop : stops)
    end = std::min(end, text.find(stop));
  return std::string(text.substr(0, end));
}

std::vector<Completion> read_completions(const std::filesystem::path& file) {
  return read_records<Completion>(file, {"task_id", "completion"});
}

}  // namespace osteon::scoring
