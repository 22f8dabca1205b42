#include "experiments/data/stream_decoder.hpp"

#include "experiments/data/unicode.hpp"

namespace osteon::experiments {

namespace {

constexpr std::size_t kWindow = 64;  // decoding it again for every token has to stay cheap
constexpr std::size_t kContext = 8;  // ids kept when the window is full: more than any decoder looks back

}  // namespace

std::string StreamDecoder::push(std::int32_t id) {
  window_.push_back(id);
  std::string text;
  try {
    text = tokenizer_.decode(window_);
  } catch (...) {
    window_.pop_back();
    throw;
  }
  if (text.size() > decoded_bytes_) {
    pending_.append(text, decoded_bytes_);
    decoded_bytes_ = text.size();
  }
  if (window_.size() >= kWindow) {
    const std::vector<std::int32_t> tail(window_.end() - kContext, window_.end());
    const std::size_t tail_bytes = tokenizer_.decode(tail).size();
    // The first piece of a text may lose its space, so the new window has to begin with text that is already out.
    if (tail_bytes > 0) {
      window_ = tail;
      decoded_bytes_ = tail_bytes;
    }
  }
  const std::size_t complete = complete_utf8_prefix(pending_);
  std::string out = to_valid_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = to_valid_utf8(pending_);
  window_.clear();
  pending_.clear();
  decoded_bytes_ = 0;
  return out;
}

}  // namespace osteon::experiments
