#!/usr/bin/env bash
# Formats all C++ files; with --check it only names those that differ, and fails. Files may be given instead of all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Versions of clang-format disagree about the same configuration, so one is fixed: Debian 12's.
for tool in clang-format-14 clang-format; do
  command -v $tool >/dev/null && $tool --version | grep -q 'version 14\.' && break
  tool=
done
if [ -z "$tool" ]; then
  echo "format.sh: needs clang-format 14 (Debian: clang-format-14)" >&2
  exit 3
fi

mode=(-i)
if [ "${1:-}" = --check ]; then
  mode=(--dry-run -Werror)
  shift
fi
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files -co --exclude-standard '*.cpp' '*.hpp' '*.cu' '*.cuh')
fi
existing=()
for file in "${files[@]}"; do [ -f "$file" ] && existing+=("$file"); done
[ ${#existing[@]} -eq 0 ] || $tool --style=file "${mode[@]}" "${existing[@]}"
