#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace osteon::experiments {

/// Bytes of "16GiB", "1.5 GB", "900MiB", "4096" (KiB, MiB, GiB, TiB are powers of 1024, KB, MB, GB, TB of 1000).
/// ConfigError beginning with `origin` for anything else, and for less than one byte.
std::int64_t parse_bytes(std::string_view text, std::string_view origin);

/// "16.00 GiB", "3.21 MiB", "640 B": in the largest of these units that leaves at least 1.
std::string bytes_text(std::int64_t bytes);

}  // namespace osteon::experiments
