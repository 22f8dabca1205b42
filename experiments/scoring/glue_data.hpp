#pragma once

#include "experiments/data/dataset.hpp"
#include "experiments/scoring/glue.hpp"

/// GLUE's files as training data.
namespace osteon::scoring {

/// What a classification head reads: the text behind the tokenizer's first token, without an end token, so that the
/// last token is the text's own. Its labels are ignored; class or score are for the caller to set.
experiments::Example classifier_example(const experiments::Tokenizer& tokenizer, const std::string& text);

/// The items of a file, by `head` as classes or scores of glue_text, else as glue_prompt and the right choice behind it
/// (STS-B: the nearest). Longer ones, and the options, as in load_data; errors as there and in read_glue.
experiments::DataSet load_glue(const GlueTask& task, const std::filesystem::path& file,
                               const experiments::Tokenizer& tokenizer, const experiments::DataOptions& options,
                               bool head);

}  // namespace osteon::scoring
