#!/usr/bin/env bash
# Builds the tests and benchmarks for this machine's GPU and runs them on it: kernels, ops and adapters with a training
# run beside the CPU's values, benchmarks, the comparison with PyTorch + peft, and the kernels under compute-sanitizer.
#
#   run_on_gpu.sh [--output DIR] [--limit SECONDS] [--python PROGRAM] [--shapes LIST] [--skip LIST]
#   run_on_gpu.sh --collect-headers
#
#   --output DIR       where the results go (default: runs/gpu-DATE-TIME)
#   --limit SECONDS    the most that each program may take (default: 1800)
#   --python PROGRAM   one that has torch, transformers and peft (default: python3)
#   --shapes LIST      of the comparison (default: tiny1b,l7b)
#   --skip LIST        of benchmarks,comparison,memcheck,racecheck,initcheck,synccheck
#   --collect-headers  copies doctest, Eigen, nlohmann_json, Google Benchmark and the commit's name to build-gpu, for a
#                      GPU machine that lacks them: carry the tree there with that folder
#
# Needs g++, make, python3, nvcc (or $NVCC), cuBLAS, the headers of Eigen, doctest and nlohmann_json, and a GPU with its
# driver; for the benchmarks Google Benchmark. DIR gets environment.txt, build.txt, a text for each test and sanitizer, a
# JSON file for each benchmark, comparison.txt, and summary.txt: a row for the table of docs/results/gpu.md.
# Exit status: 0 all good, 1 a test, benchmark or sanitizer failed, 2 wrong usage, 3 something to build with is missing,
# 77 there is no GPU or driver.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

readonly build=build-gpu checks="memcheck racecheck initcheck synccheck"
output=runs/gpu-$(date +%Y%m%d-%H%M%S) limit=1800 python=python3 shapes=tiny1b,l7b skipped=

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
readonly folders="$build/include /usr/include /usr/local/include"
find_doctest() { find_header doctest/doctest.h $folders; }
find_json() { find_header nlohmann/json.hpp $folders; }
find_eigen() { find_header Eigen/Core "$build/include" /usr/include/eigen3 /usr/local/include/eigen3; }
find_benchmark() { find_header benchmark/benchmark.h $folders; }
find_benchmark_library() {
  local file
  for file in "$build"/lib/libbenchmark.so* /usr/local/lib/libbenchmark.so* /usr/lib/*/libbenchmark.so*; do
    [ -f "$file" ] && echo "$file" && return
  done
  return 1
}

commit_name() {
  local name
  if name=$(git rev-parse --short HEAD 2>/dev/null); then
    [ -z "$(git status --porcelain 2>/dev/null)" ] || name+=" and changes"
    echo "$name"
  else
    cat "$build/commit" 2>/dev/null || echo unknown
  fi
}

carry() {   # FROM TO, unless an earlier call has done it
  [ "$1" -ef "$2" ] || cp -LrT --update "$1" "$2"
}

collect_headers() {
  local doctest eigen json benchmark library name
  doctest=$(find_doctest) || fail 3 "doctest/doctest.h: not found (Debian: doctest-dev)"
  eigen=$(find_eigen) || fail 3 "Eigen/Core: not found (Debian: libeigen3-dev)"
  json=$(find_json) || fail 3 "nlohmann/json.hpp: not found (Debian: nlohmann-json3-dev)"
  benchmark=$(find_benchmark) && library=$(find_benchmark_library) ||
    fail 3 "benchmark/benchmark.h and its library: not found (Debian: libbenchmark-dev)"
  mkdir -p "$build/include" "$build/lib"
  carry "$doctest/doctest" "$build/include/doctest"
  carry "$eigen/Eigen" "$build/include/Eigen"
  carry "$json/nlohmann" "$build/include/nlohmann"
  carry "$benchmark/benchmark" "$build/include/benchmark"
  name=$(objdump -p "$library" | sed -n 's/^ *SONAME *//p')   # the one that programs ask for
  carry "$library" "$build/lib/${name:-libbenchmark.so.1}"
  commit_name > "$build/commit"
  say "headers, Google Benchmark and the commit's name are in $build"
}

while [ $# -gt 0 ]; do
  [[ $# -ge 2 || ! $1 =~ ^--(output|limit|python|shapes|skip)$ ]] || fail 2 "$1: expected a value behind it"
  case $1 in
    --output) output=$2; shift 2 ;;
    --limit)  limit=$2; shift 2 ;;
    --python) python=$2; shift 2 ;;
    --shapes) shapes=$2; shift 2 ;;
    --skip)   skipped=$2; shift 2 ;;
    --collect-headers) collect_headers; exit ;;
    --help|-h) usage; exit ;;
    *)        say "unknown option $1"; usage >&2; exit 2 ;;
  esac
done
[[ $limit =~ ^[1-9][0-9]*$ ]] || fail 2 "--limit: expected seconds, got $limit"
for part in ${skipped//,/ }; do
  [[ " benchmarks comparison $checks " == *" $part "* ]] ||
    fail 2 "--skip: expected some of benchmarks, comparison, ${checks// /, }, got $part"
done
skips() { [[ ,$skipped, == *,$1,* ]]; }

nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
for tool in g++ make python3 "$nvcc"; do
  command -v "$tool" >/dev/null || fail 3 "$tool: not found"
done
includes=
# Folders of the system are left out: g++ must find those in its own order.
include() { [[ $1 =~ ^/usr/(local/)?include$ || $includes == *" $1"* ]] || includes+=" -isystem $1"; }
for header in doctest:doctest-dev json:nlohmann-json3-dev eigen:libeigen3-dev; do
  folder=$(find_${header%:*}) || fail 3 "headers of ${header%:*}: not found; --collect-headers on a machine that has them, or install ${header#*:}"
  include "$folder"
done
targets=("$build"/test_{cuda,autograd,peft})
if folder=$(find_benchmark) && library=$(find_benchmark_library); then
  include "$folder"
  targets+=("$build"/bench_{machine,ops,wkv,gemm,adapters,step})
else
  library=
  say "no benchmarks: Google Benchmark not found; --collect-headers on a machine that has it, or install libbenchmark-dev"
fi

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
     CPPFLAGS="$includes" BENCHMARK="$library" "${targets[@]}" > "$output/build.txt" 2>&1; then
  tail -n 20 "$output/build.txt" >&2
  fail 1 "the build failed"
fi

failed=0

# Runs a command to the end or the limit, what it prints to LOG and LOG.err. Sets `outcome`: good, or why not.
run() {   # LOG COMMAND...
  local log=$1 status
  shift
  say "$(basename "${log%.*}")"
  OMP_WAIT_POLICY=passive timeout "$limit" "$@" > "$log" 2> "$log.err"
  status=$?
  [ -s "$log.err" ] || rm "$log.err"
  case $status in
    0)   outcome=good ;;
    124) outcome="not done after $limit s" ;;
    *)   outcome="FAILED ($status)" ;;
  esac
  [ $status -eq 0 ] || failed=1
  return $status
}

row="| $(date -u +%Y-%m-%d) | $(commit_name) | $gpu, driver $driver, CUDA $toolkit"
for name in cuda autograd peft; do
  run "$output/test_$name.txt" "$build/test_$name"
  if [ $? -eq 77 ]; then
    cat "$output/test_$name.txt.err" >&2
    exit 77
  fi
  row+=" | $outcome: $(sed -n 's/^\[doctest\] test cases: *//p' "$output/test_$name.txt" | sed 's/ *| */, /g')"
done

if [ -n "$library" ] && ! skips benchmarks; then
  for name in machine ops wkv gemm adapters step; do
    # The program's own filter where there is one: the shapes of step are those of docs/results/gpu.md.
    filter=()
    [ $name != step ] || filter=(--batches=4x1024 "--benchmark_filter=^step/(tiny1b|l7b)/(lora|bone|bat)/bf16/")
    run "$output/bench_$name.json" "$build/bench_$name" --device=cuda --benchmark_format=json "${filter[@]}"
    say "bench_$name: $outcome"
  done
fi

if [ -n "$library" ] && ! skips comparison; then
  if "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
    run "$output/comparison.txt" "$python" tools/compare_torch_gpu.py --bench "$build" --python "$python" \
        --shapes "$shapes" --modes eager,compile --out "$output/comparison"
    say "comparison: $outcome"
  else
    say "no comparison: $python has no torch, transformers and peft"
  fi
fi

# A sanitizer's own faults and those of the tests under it are told apart by the exit status. The products that measure
# a GPU's peaks take minutes under one.
checker=$(command -v compute-sanitizer || command -v "$(dirname "$nvcc")/compute-sanitizer")
for kind in $checks; do
  if skips "$kind"; then
    outcome="left out"
  elif [ -z "$checker" ]; then
    outcome="not installed"
  else
    run "$output/$kind.txt" "$checker" --tool "$kind" --error-exitcode 9 "$build/test_cuda" "--test-case-exclude=a GPU's peaks*"
  fi
  row+=" | $outcome"
done

echo "$row |" | tee "$output/summary.txt"
say "results are in $output"
exit $failed
