#!/usr/bin/env bash
# clang-tidy over the product code, from the compile commands of a build folder.      tidy.sh BUILD [FILE...]
# The compiler's own warnings are g++'s business (-Werror there); clang's are not asked for.
# A file that passed is not looked at again until it, a header of the tree or .clang-tidy changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${1:?usage: tidy.sh BUILD [FILE...]}
shift
tool=$(command -v clang-tidy-14 || command -v clang-tidy) || { echo "tidy.sh: left out, no clang-tidy" >&2; exit 0; }
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files -co --exclude-standard 'backends/*.cpp' 'autograd/*.cpp' 'nn/*.cpp' 'peft/*.cpp' \
                                                           'experiments/*.cpp')
fi

# What a verdict depends on besides the file itself.
common=$( (git ls-files -co --exclude-standard '*.hpp' | sort | xargs -r cat; cat .clang-tidy; "$tool" --version) | sha256sum)
mkdir -p "$build/tidy"
export tool build common
check() {
  local stamp="$build/tidy/${1//\//_}" key log
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
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c 'check "$1"' check
