#include "experiments/data/tokenizers/regex.hpp"

#include "backends/error.hpp"

#ifdef OSTEON_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

namespace osteon::experiments::tokenizers {

std::size_t Regex::next_character(std::string_view text, std::size_t at) {
  ++at;
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80)
    ++at;
  return at;
}

#ifdef OSTEON_PCRE2

namespace {

struct Compiled {
  pcre2_code* code = nullptr;
  int error = 0;
  std::size_t offset = 0;
};

Compiled compile(std::string_view pattern) {
  struct Context {
    pcre2_compile_context* value = pcre2_compile_context_create(nullptr);
    Context() { pcre2_set_newline(value, PCRE2_NEWLINE_LF); }
    ~Context() { pcre2_compile_context_free(value); }
  };
  const Context context;
  Compiled out;
  // Lines: ^ and $ match at every one, as in Oniguruma's Ruby syntax.
  out.code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                           PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &out.error, &out.offset,
                           context.value);
  return out;
}

std::string message_of(int error) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

/// What matching writes to: one per thread, so that a Regex is shared freely.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, 64 << 20, nullptr);  // long runs of spaces backtrack deeply
  Scratch() { pcre2_jit_stack_assign(context, nullptr, stack); }
  ~Scratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

}  // namespace

Regex::Regex(std::string_view pattern, const std::string& where) : pattern_(pattern) {
  const std::string translated = translate_oniguruma(pattern, where);
  const Compiled compiled = compile(translated);
  check<FileError>(compiled.code != nullptr, where, ": \"", pattern,
                   "\" is not a pattern that PCRE2 accepts: ", compiled.code ? "" : message_of(compiled.error));
  code_ = std::shared_ptr<const void>(
      compiled.code, [](const void* code) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(code))); });
  pcre2_jit_compile(compiled.code, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
}

std::optional<Regex::Match> Regex::find(std::string_view text, std::size_t start) const {
  thread_local const Scratch scratch;
  // An empty string_view may be null, which PCRE2 would refuse.
  const char* data = text.data() ? text.data() : "";
  const int rc = pcre2_match(static_cast<const pcre2_code*>(code_.get()), reinterpret_cast<PCRE2_SPTR>(data),
                             text.size(), start, PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
  if (rc == PCRE2_ERROR_NOMATCH)
    return std::nullopt;
  check<Error>(rc >= 0, "pattern \"", pattern_, "\": at byte ", start, " of a text of ", text.size(),
               " bytes: ", rc < 0 ? message_of(rc) : "");
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(scratch.data);
  return Match{offsets[0], offsets[1]};
}

bool Regex::accepts(std::string_view pcre2_pattern) {
  const Compiled compiled = compile(pcre2_pattern);
  pcre2_code_free(compiled.code);
  return compiled.code != nullptr;
}

#else

Regex::Regex(std::string_view, const std::string& where) {
  fail<ConfigError>(where, ": needs PCRE2, which this build does not have (Debian: libpcre2-dev)");
}

std::optional<Regex::Match> Regex::find(std::string_view, std::size_t) const { return std::nullopt; }

bool Regex::accepts(std::string_view) { return false; }

#endif

}  // namespace osteon::experiments::tokenizers
