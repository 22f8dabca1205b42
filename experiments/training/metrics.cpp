#include "experiments/training/metrics.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <string_view>

#include "experiments/config/json_fields.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {

template <class Fields>
void describe(Fields& field, StepMetrics& metrics) {
  field("step", metrics.step);
  field("loss", metrics.loss);
  field("lr", metrics.lr);
  field("grad_norm", metrics.grad_norm);
  field("tokens", metrics.tokens);
  field("step_seconds", metrics.step_seconds);
}

template <class Fields>
void describe(Fields& field, EvaluationMetrics& metrics) {
  field("step", metrics.step);
  field("eval_loss", metrics.eval_loss);
  field("eval_accuracy", metrics.eval_accuracy);
}

namespace {

/// Calls `use(line, json)` for every whole line; returns whether a torn last line was left out.
bool for_each_line(const std::filesystem::path& path,
                   const std::function<void(std::string_view, const nlohmann::json&, const std::string&)>& use) {
  const std::string text = io::read_file(path);
  std::string_view rest = text;
  for (std::int64_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    const bool whole = end != std::string_view::npos;
    const std::string_view line = rest.substr(0, end);
    rest = whole ? rest.substr(end + 1) : std::string_view{};
    const std::string source = join(path.string(), ": line ", number);
    nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded() && !whole)
      return true;
    check<FileError>(!json.is_discarded(), source, ": expected a JSON object, got \"", std::string(line.substr(0, 60)),
                     "\"");
    use(line, json, source);
  }
  return false;
}

std::int64_t step_of(const nlohmann::json& json, const std::string& source) {
  JsonReader reader(json, source);
  reader.require("step");
  std::int64_t step = 0;
  reader("step", step);
  return step;
}

}  // namespace

Metrics read_metrics(const std::filesystem::path& path) {
  Metrics metrics;
  metrics.torn = for_each_line(path, [&](std::string_view, const nlohmann::json& json, const std::string& source) {
    JsonReader reader(json, source);
    step_of(json, source);
    if (json.contains("eval_loss") || json.contains("eval_accuracy")) {
      describe(reader, metrics.evaluations.emplace_back());
      return;
    }
    check<FileError>(json.contains("loss"), source, ": loss: expected a value, got none");
    StepMetrics& step = metrics.steps.emplace_back();
    step.loss = step.grad_norm = std::numeric_limits<double>::quiet_NaN();  // what a null stands for
    describe(reader, step);
  });
  return metrics;
}

MetricsWriter::MetricsWriter(const std::filesystem::path& path) : MetricsWriter(path, std::ios::trunc) {}

MetricsWriter::MetricsWriter(const std::filesystem::path& path, std::ios::openmode mode)
    : path_(path), file_(path, std::ios::out | std::ios::binary | mode) {
  check<FileError>(file_.is_open(), path_.string(), ": expected a file that can be written, could not open it");
}

MetricsWriter MetricsWriter::resume(const std::filesystem::path& path, std::int64_t step) {
  if (std::filesystem::exists(path)) {
    std::string kept;
    for_each_line(path, [&](std::string_view line, const nlohmann::json& json, const std::string& source) {
      if (step_of(json, source) <= step)
        kept.append(line).push_back('\n');
    });
    io::write_file_atomically(path, kept);
  }
  return MetricsWriter(path, std::ios::app);
}

void MetricsWriter::write(const StepMetrics& metrics) { line(JsonWriter::write(metrics).dump()); }

void MetricsWriter::write(const EvaluationMetrics& metrics) { line(JsonWriter::write(metrics).dump()); }

void MetricsWriter::line(const std::string& text) {
  file_ << text << '\n' << std::flush;
  check<FileError>(file_.good(), path_.string(), ": could not write the next line");
}

}  // namespace osteon::experiments
