#!/usr/bin/env bash
# Builds the kernel tests for this machine's GPU, runs them on it, then under compute-sanitizer where that is installed.
#
#   run_on_gpu.sh [--output DIR] [--limit SECONDS] [--sanitizers LIST]
#   run_on_gpu.sh --collect-headers
#
#   --output DIR       where the results go (default: runs/gpu-DATE-TIME)
#   --limit SECONDS    the most that the tests, and each sanitizer, may take (default: 1800)
#   --sanitizers LIST  of memcheck,racecheck,initcheck,synccheck (default: all), or none
#   --collect-headers  copies doctest, Eigen and the commit's name to build-gpu, for a GPU machine that lacks them: carry
#                      the tree there with that folder
#
# Needs g++, make, nvcc (or $NVCC), the headers of Eigen and doctest, and a GPU with its driver. DIR gets environment.txt,
# build.txt, tests.txt, SANITIZER.txt, and summary.txt: a row for the table of docs/results/gpu.md.
# Exit status: 0 all good, 1 a test or sanitizer failed, 2 wrong usage, 3 something to build with is missing,
# 77 there is no GPU or driver.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

readonly build=build-gpu kinds=memcheck,racecheck,initcheck,synccheck
output=runs/gpu-$(date +%Y%m%d-%H%M%S) limit=1800 sanitizers=$kinds

say() { printf '%s\n' "run_on_gpu.sh: $*" >&2; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' tools/run_on_gpu.sh; }
fail() { say "$2"; exit "$1"; }

# The folder that holds HEADER, for a compiler that does not find it by itself.
find_header() {   # HEADER FOLDER...
  local header=$1 folder
  shift
  for folder in "$@"; do
    [ -f "$folder/$header" ] && echo "$folder" && return
  done
  return 1
}
find_doctest() { find_header doctest/doctest.h "$build/include" /usr/include /usr/local/include; }
find_eigen() { find_header Eigen/Core "$build/include" /usr/include/eigen3 /usr/local/include/eigen3; }

commit_name() {
  local name
  if name=$(git rev-parse --short HEAD 2>/dev/null); then
    [ -z "$(git status --porcelain 2>/dev/null)" ] || name+=" and changes"
    echo "$name"
  else
    cat "$build/commit" 2>/dev/null || echo unknown
  fi
}

collect_headers() {
  local doctest eigen
  doctest=$(find_doctest) || fail 3 "doctest/doctest.h: not found (Debian: doctest-dev)"
  eigen=$(find_eigen) || fail 3 "Eigen/Core: not found (Debian: libeigen3-dev)"
  mkdir -p "$build/include"
  cp -Lr --update "$doctest/doctest" "$eigen/Eigen" "$build/include/"
  commit_name > "$build/commit"
  say "doctest, Eigen and the commit's name are in $build"
}

while [ $# -gt 0 ]; do
  [[ $# -ge 2 || ! $1 =~ ^--(output|limit|sanitizers)$ ]] || fail 2 "$1: expected a value behind it"
  case $1 in
    --output)     output=$2; shift 2 ;;
    --limit)      limit=$2; shift 2 ;;
    --sanitizers) sanitizers=$2; shift 2 ;;
    --collect-headers) collect_headers; exit ;;
    --help|-h)    usage; exit ;;
    *)            say "unknown option $1"; usage >&2; exit 2 ;;
  esac
done
[[ $limit =~ ^[1-9][0-9]*$ ]] || fail 2 "--limit: expected seconds, got $limit"
[ "$sanitizers" = none ] && sanitizers=
for kind in ${sanitizers//,/ }; do
  [[ ,$kinds, == *,$kind,* ]] || fail 2 "--sanitizers: expected some of $kinds, or none, got $kind"
done

nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
for tool in g++ make "$nvcc"; do
  command -v "$tool" >/dev/null || fail 3 "$tool: not found"
done
doctest=$(find_doctest) || fail 3 "doctest/doctest.h: not found; --collect-headers on a machine that has it, or install doctest-dev"
eigen=$(find_eigen) || fail 3 "Eigen/Core: not found; --collect-headers on a machine that has it, or install libeigen3-dev"
includes="-isystem $eigen"
[[ $doctest =~ ^/usr/(local/)?include$ ]] || includes+=" -isystem $doctest"   # those g++ must find in its own order

ask_gpu() { nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1; }
gpu=$(ask_gpu name) driver=$(ask_gpu driver_version) capability=$(ask_gpu compute_cap)
# Without a GPU there is nothing to run, but what builds for the oldest one is known to build.
arch=sm_${capability:-80}
arch=${arch//./}
toolkit=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')

mkdir -p "$output" || exit
{
  echo "date: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  echo "commit: $(commit_name)"
  echo "gpu: ${gpu:-none found by nvidia-smi}"
  echo "driver: ${driver:-none found by nvidia-smi}"
  echo "compiled for: $arch, CUDA $toolkit"
  echo "compiler: $(g++ --version | head -n 1)"
  echo "cpu: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) threads"
  echo "system: $(uname -sr)"
  nvidia-smi -q 2>/dev/null
} > "$output/environment.txt"

say "building for $arch, log in $output/build.txt"
if ! make -f tools/run_on_gpu.mk -j "$(nproc)" CXX=g++ NVCC="$nvcc" ARCH="$arch" BUILD="$build" \
     CPPFLAGS="$includes" "$build/test_cuda" > "$output/build.txt" 2>&1; then
  tail -n 20 "$output/build.txt" >&2
  fail 1 "the build failed"
fi

# Runs a command to the end or the limit, its output to LOG. Sets `outcome`: good, or why not.
run() {   # LOG COMMAND...
  local log=$1 status
  shift
  say "$(basename "$log" .txt)"
  OMP_WAIT_POLICY=passive timeout "$limit" "$@" > "$log" 2>&1
  status=$?
  case $status in
    0)   outcome=good ;;
    124) outcome="not done after $limit s" ;;
    *)   outcome="FAILED ($status)" ;;
  esac
  return $status
}

failed=0
run "$output/tests.txt" "$build/test_cuda"
status=$?
if [ $status -eq 77 ]; then
  cat "$output/tests.txt" >&2
  exit 77
fi
[ $status -eq 0 ] || failed=1
row="| $(date -u +%Y-%m-%d) | $(commit_name) | $gpu, driver $driver, CUDA $toolkit"
row+=" | $outcome: $(sed -n 's/^\[doctest\] test cases: *//p' "$output/tests.txt" | sed 's/ *| */, /g')"

# A sanitizer's own faults and those of the tests under it are told apart by the exit status.
checker=$(command -v compute-sanitizer || command -v "$(dirname "$nvcc")/compute-sanitizer")
for kind in ${kinds//,/ }; do
  if [[ ,$sanitizers, != *,$kind,* ]]; then
    outcome="left out"
  elif [ -z "$checker" ]; then
    outcome="not installed"
  else
    run "$output/$kind.txt" "$checker" --tool "$kind" --error-exitcode 9 "$build/test_cuda" || failed=1
  fi
  row+=" | $outcome"
done

echo "$row |" | tee "$output/summary.txt"
say "results are in $output"
exit $failed
