#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace osteon {

/// Base of every error that a user can cause: a bad file, option, shape or value.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Shapes or dtypes that do not fit together.
class ShapeError : public Error {
  using Error::Error;
};

/// An index outside its range, such as a token id outside the vocabulary.
class IndexError : public Error {
  using Error::Error;
};

/// A file that cannot be read or written, or whose content is not what its format says.
class FileError : public Error {
  using Error::Error;
};

/// A bad option, configuration key or value.
class ConfigError : public Error {
  using Error::Error;
};

/// A loss, gradient or weight that is no longer a finite number.
class NumericError : public Error {
  using Error::Error;
};

template <class... Parts>
std::string join(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

/// Throws `Kind` with the joined parts unless `ok`; the parts are only joined on failure.
/// Messages read "operation or file: argument: expected ..., got ...".
template <class Kind = ShapeError, class... Parts>
void check(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    throw Kind(join(parts...));
}

template <class Kind = Error, class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Kind(join(parts...));
}

}  // namespace osteon
