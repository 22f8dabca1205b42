#!/usr/bin/env bash
# clang-tidy over the product code, from the compile commands of a build folder.   tidy.sh BUILD [--limit SECONDS] [FILE...]
# The compiler's own warnings are g++'s business (-Werror there); clang's are not asked for.
# A file that passed is not looked at again until it, a header of the tree or .clang-tidy changes. With --limit no file is
# begun after that many seconds, and how many were left out is said: the last changed come first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${1:?usage: tidy.sh BUILD [--limit SECONDS] [FILE...]}
shift
limit=
if [ "${1:-}" = --limit ]; then
  limit=${2:?usage: tidy.sh BUILD [--limit SECONDS] [FILE...]}
  shift 2
fi
tool=$(command -v clang-tidy-14 || command -v clang-tidy) || { echo "tidy.sh: left out, no clang-tidy" >&2; exit 0; }
if [ $# -gt 0 ]; then
  files=("$@")
else
  sources=('backends/*.cpp' 'autograd/*.cpp' 'nn/*.cpp' 'peft/*.cpp' 'experiments/*.cpp')
  # Those with changes, then by their last commit; what is gone since drops out.
  mapfile -t files < <({ git ls-files -mo --exclude-standard "${sources[@]}"
                         git log --format= --name-only -- "${sources[@]}"
                         git ls-files "${sources[@]}"; } | awk '!seen[$0]++' | while read -r file; do
                         [ ! -f "$file" ] || echo "$file"; done)
fi

# What a verdict depends on besides the file itself.
common=$( (git ls-files -co --exclude-standard '*.hpp' | sort | xargs -r cat; cat .clang-tidy; "$tool" --version) | sha256sum)
mkdir -p "$build/tidy"
left_out=$(mktemp)
trap 'rm -f "$left_out"' EXIT
export tool build common left_out
[ -z "$limit" ] || export deadline=$(($(date +%s) + limit))
check() {
  local stamp="$build/tidy/${1//\//_}" key log
  if [ -n "${deadline:-}" ] && [ "$(date +%s)" -ge "$deadline" ]; then
    echo "$1" >> "$left_out"
    return 0
  fi
  key=$( (echo "$common"; cat "$1") | sha256sum)
  [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && return 0
  if log=$("$tool" -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-error "$1" 2>&1); then
    echo "$key" > "$stamp"
  else
    printf '%s\n' "$log" | grep -v 'warnings generated\|Suppressed .* warnings\|Use -header-filter'
    return 1
  fi
}
export -f check
# shellcheck disable=SC2016
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c 'check "$1"' check || failed=1
[ ! -s "$left_out" ] || echo "tidy.sh: $(wc -l < "$left_out") of ${#files[@]} files not looked at within $limit s"
exit ${failed:-0}
