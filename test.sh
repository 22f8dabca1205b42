#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests. The last line is "N passed, N failed"; the exit status is 0 only
# if all passed. Arguments go to tools/run_tests.py, such as --suite doctest or --jobs 1.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/tools/setup.sh"

closed=no
trap '[ $closed = yes ] || echo "0 passed, 1 failed"' EXIT   # also where the build fails

need build test
build "$root/build"
closed=yes
# Two programs at a time: most of their time goes by on one processor (the emulated GPU, Python, mpirun's start).
exec "$root/tools/run_tests.py" --require doctest --jobs $(($(nproc) > 1 ? 2 : 1)) "$@" "$root/build"
