#!/usr/bin/env bash
# Installs what is missing, builds, and runs the default ablation: full, LoRA, PiSSA, Bone and Bat side by side.
# Arguments go to `osteon ablate`: see ./run.sh --help.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/tools/setup.sh"

need build run
build "$root/build" -- experiments/osteon >&2
exec "$root/build/experiments/osteon" ablate "$@"
