#include "experiments/report/page_audit.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <vector>

#include "experiments/report/format.hpp"
#include "experiments/report/html.hpp"

namespace osteon::report {

namespace {

constexpr int kAuditDecimals = 2;

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

std::string audit_table(const Comparison& comparison, const Task& task) {
  std::vector<std::pair<std::string, std::string>> rows;  // (op, name), in the order they were saved
  std::map<std::pair<std::string, std::string>, std::vector<std::int64_t>> bytes;
  std::vector<std::int64_t> totals(task.entries.size(), 0);
  for (std::size_t i = 0; i < task.entries.size(); ++i)
    for (const experiments::SavedTensor& saved : task.entries[i].runs.front()->summary.saved_tensors) {
      const std::pair key(saved.op, saved.name);
      if (!bytes.contains(key))
        rows.push_back(key);
      std::vector<std::int64_t>& row = bytes.try_emplace(key, task.entries.size(), 0).first->second;
      row[i] += saved.bytes * saved.count;
      totals[i] += saved.bytes * saved.count;
    }
  if (rows.empty())
    return "";
  std::stable_sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) {
    return *std::max_element(bytes[a].begin(), bytes[a].end()) > *std::max_element(bytes[b].begin(), bytes[b].end());
  });
  std::string html =
      "<div class=\"scroll\"><table class=\"sortable narrow\"><thead><tr><th scope=\"col\">Op</th><th scope=\"col\" "
      "class=\"text\">Tensor</th>";
  for (const Entry& entry : task.entries)
    html += "<th scope=\"col\">" + escaped(comparison.contestants[entry.contestant].label) + " MiB</th>";
  html += "</tr></thead><tbody>";
  for (const auto& key : rows) {
    html += "<tr><td><code>" + escaped(key.first) + "</code></td><td class=\"text\"><code>" + escaped(key.second) +
            "</code></td>";
    for (const std::int64_t count : bytes[key])
      html += bytes_cell(count > 0 ? std::optional(count) : std::nullopt, kAuditDecimals);
    html += "</tr>";
  }
  html += "</tbody><tfoot><tr><th scope=\"row\">all</th><td></td>";
  for (const std::int64_t total : totals)
    html += fmt::format("<td class=\"strong\" title=\"{} bytes\">{}</td>", grouped(total),
                        total > 0 ? mebibytes(total, kAuditDecimals) : "\u2013");
  return html + "</tr></tfoot></table></div>";
}

std::string audit_details(const Comparison& comparison, const Task& task) {
  std::string html;
  for (const Entry& entry : task.entries) {
    const auto& saved = entry.runs.front()->summary.saved_tensors;
    if (saved.empty())
      continue;
    html += "<details><summary>" + escaped(comparison.contestants[entry.contestant].label) +
            ": every saved tensor with its shape</summary><div class=\"scroll\"><table class=\"sortable "
            "narrow\"><thead><tr>"
            "<th scope=\"col\">Op</th><th scope=\"col\" class=\"text\">Tensor</th><th scope=\"col\" "
            "class=\"text\">Shape</th>"
            "<th scope=\"col\" class=\"text\">Type</th><th scope=\"col\">Count</th><th scope=\"col\">Bytes each</th>"
            "<th scope=\"col\">MiB in all</th></tr></thead><tbody>";
    for (const experiments::SavedTensor& tensor : saved)
      html += fmt::format(
          "<tr><td><code>{}</code></td><td class=\"text\"><code>{}</code></td><td class=\"text\">{}</td>"
          "<td class=\"text\">{}</td><td data-v=\"{}\">{}</td><td data-v=\"{}\">{}</td>{}</tr>",
          escaped(tensor.op), escaped(tensor.name), shape_text(tensor.shape), escaped(tensor.dtype), tensor.count,
          grouped(tensor.count), tensor.bytes, grouped(tensor.bytes),
          bytes_cell(tensor.bytes * tensor.count, kAuditDecimals));
    html += "</tbody></table></div></details>";
  }
  return html;
}

}  // namespace osteon::report
