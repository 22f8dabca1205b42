# shellcheck shell=bash
# Sourced by run.sh, test.sh and .ci/run: installs what is missing and builds. Defines functions, runs nothing.
#
#   need NAME...   makes sure of these parts: build, test, run, check (see packages_of)
#   build DIR [MESON OPTION]... [-- NINJA TARGET...]
#
# Both exit on failure: 3 where packages are missing and may not be installed from here.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Checkouts at different paths share their cached objects.
export CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1

say() { printf '%s\n' "osteon: $*" >&2; }

# Debian's packages for a part. A word NAME? is wanted but not needed: a release without it is fine.
packages_of() {
  case $1 in
    build) echo g++ meson ninja-build pkg-config git python3 libeigen3-dev nlohmann-json3-dev libcli11-dev \
                libtomlplusplus-dev libfmt-dev libboost-dev libpcre2-dev libsentencepiece-dev libutf8proc-dev \
                'libdnnl-dev?' 'ccache?' 'mold?' ;;
    test)  echo doctest-dev 'libopenmpi-dev?' 'openmpi-bin?' 'iproute2?' ;;
    run)   echo 'gnuplot-nox?' ;;
    check) echo clang-format-14 clang-tidy-14 'libbenchmark-dev?' ;;
    *)     say "packages_of: unknown part $1"; exit 2 ;;
  esac
}

# A program that is there counts as installed however it came; a library is known by its package.
installed() {
  case $1 in
    g++|meson|git|python3|ccache|mold|clang-format-14|clang-tidy-14) command -v "$1" >/dev/null && return ;;
    ninja-build) command -v ninja >/dev/null && return ;;
    pkg-config)  command -v pkg-config >/dev/null && return ;;
    gnuplot-nox) command -v gnuplot >/dev/null && return ;;
  esac
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

need() {
  local part word missing=() wanted=()
  for part in "$@"; do
    for word in $(packages_of "$part"); do
      installed "${word%\?}" && continue
      case $word in *\?) wanted+=("${word%\?}") ;; *) missing+=("$word") ;; esac
    done
  done
  [ ${#missing[@]} -eq 0 ] && [ ${#wanted[@]} -eq 0 ] && return

  local sudo=()
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "this is no Debian or Ubuntu: going on with what is there (Debian's names for what is needed: ${missing[*]} ${wanted[*]})"
    return
  elif [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
      sudo=(sudo -n)
    elif [ ${#missing[@]} -eq 0 ]; then
      say "optional packages not installed: ${wanted[*]}"
      return
    else
      say "these packages are missing: ${missing[*]}"
      say "please install them: sudo apt-get install ${missing[*]} ${wanted[*]}"
      exit 3
    fi
  fi
  install "${sudo[@]}"
}

# Installs ${missing[@]} and whatever of ${wanted[@]} can be had; the arguments are the sudo command, if any.
install() {
  local name updated=no apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300)
  # The lists are fetched only if there are none, or they turn out too old below.
  if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
    update "$@"
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    if ! "$@" "${apt[@]}" install "${missing[@]}" >&2; then
      [ $updated = no ] && update "$@"
      if ! "$@" "${apt[@]}" install "${missing[@]}" >&2; then
        say "could not install: ${missing[*]}"
        exit 3
      fi
    fi
  fi
  for name in "${wanted[@]}"; do
    say "installing $name (optional)"
    "$@" "${apt[@]}" install "$name" >&2 || say "going on without $name"
  done
}

update() {
  say "fetching the package lists"
  "$@" env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2 || say "the package lists could not be fetched"
  updated=yes
}

# The installed versions of all packages named here: when they change, a build folder has to look again.
fingerprint() {
  local words part
  words=$(for part in build test run check; do packages_of $part; done)
  # shellcheck disable=SC2086
  dpkg-query -W -f='${Package} ${Version} ${db:Status-Status}\n' ${words//\?/} 2>/dev/null || true
}

build() {
  local folder=$1 options=() targets=() seen
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# -gt 0 ] && targets=("${@:2}")
  seen=$(fingerprint)
  if [ ! -f "$folder/build.ninja" ]; then
    meson setup "${options[@]}" "$folder" "$root" || exit 1
  elif [ "$seen" != "$(cat "$folder/packages.txt" 2>/dev/null)" ]; then
    # meson remembers what it did not find, too
    meson configure --clearcache "$folder" && meson setup --reconfigure "${options[@]}" "$folder" "$root" || exit 1
  fi
  printf '%s\n' "$seen" > "$folder/packages.txt"
  ninja -C "$folder" "${targets[@]}" || exit 1
}
