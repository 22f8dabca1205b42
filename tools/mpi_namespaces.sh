#!/usr/bin/env bash
# Runs a command as one rank of mpirun in each of N network namespaces, as on N machines: each has a network of its own, and
# reaches the others only by TCP through its cable to one bridge. In the end it says how many bytes went through each cable.
#
#   tools/mpi_namespaces.sh [--rate 1gbit] [--delay 1ms] N COMMAND...
#
# --rate and --delay (as tc writes them) hold for what each rank sends. Files, processors and memory are this machine's. All
# that it makes is in namespaces of its own, that of processes included, so nothing is left however it ends. Ends with mpirun's
# status, or with 77 and what is missing where it cannot work: OpenMPI 4, ip and tc (iproute2), root or namespaces for all.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin  # where ip and tc are, which users may not have in their path

lack() { printf 'mpi_namespaces: skipped: %s\n' "$*" >&2; exit 77; }
wrong() { printf 'mpi_namespaces: %s\nusage: mpi_namespaces.sh [--rate 1gbit] [--delay 1ms] N COMMAND...\n' "$*" >&2; exit 2; }

address() { echo "10.77.0.$(($1 + 1))"; }

# Outside: looks for what is needed, then starts itself again inside.
enter() {
  { command -v ip && command -v tc; } >/dev/null || lack "no ip or tc: expected Debian's package iproute2"
  command -v mpirun >/dev/null || lack "no mpirun: expected Debian's package openmpi-bin"
  [[ $(mpirun --version) == *"Open MPI"*" 4."* ]] || lack "mpirun: expected OpenMPI 4, got $(mpirun --version | head -1)"
  local isolated=(unshare --mount --net --uts --pid --fork --kill-child --mount-proc) refused
  [ "$(id -u)" -eq 0 ] || isolated+=(--map-root-user)
  refused=$("${isolated[@]}" mount -t tmpfs tmpfs /run 2>&1) || lack "namespaces are not allowed here: $refused"
  # However this ends, all inside does: unshare alone would not heed a SIGTERM.
  setpriv --pdeathsig KILL "${isolated[@]}" "$0" --inside "$@" &
  trap 'kill -KILL $!; exit 143' INT TERM
  wait $!
}

# A namespace for each rank, with a cable (veth) from its eth0 to the bridge.
lay_cables() {
  local rank at shape=()
  if [ -n "$delay" ]; then
    shape=(netem delay "$delay" ${rate:+rate "$rate"})
  elif [ -n "$rate" ]; then
    shape=(tbf rate "$rate" burst 128kb latency 500ms)
  fi
  ip link add bridge type bridge || lack "this kernel has no bridges"
  ip link set bridge up
  for ((rank = 0; rank < ranks; ++rank)); do
    at=rank$rank
    ip netns add "$at"
    ip link add "$at" type veth peer name eth0 netns "$at" || lack "this kernel has no pairs of interfaces (veth)"
    ip link set "$at" master bridge up
    ip -n "$at" address add "$(address "$rank")/24" dev eth0
    ip -n "$at" link set lo up
    ip -n "$at" link set eth0 up
    [ ${#shape[@]} -eq 0 ] || tc -n "$at" qdisc add dev eth0 root "${shape[@]}" || lack "tc refuses this here: qdisc ${shape[*]}"
  done
}

# Stands for ssh: mpirun calls it with a host's address and a line for its shell.
write_agent() {
  cat > /run/agent <<'AGENT'
#!/bin/sh
rank=$((${1##*.} - 1))
shift
exec nsenter --net="/run/netns/rank$rank" unshare --uts sh -c "hostname rank$rank; $*"
AGENT
  chmod +x /run/agent
}

inside() {
  local hosts="" rank status=0
  mount -t tmpfs tmpfs /run  # what ip and mpirun keep there is this script's alone
  lay_cables
  write_agent
  for ((rank = 0; rank < ranks; ++rank)); do
    hosts+=${hosts:+,}$(address "$rank"):1
  done
  # As root, which OpenMPI wants confirmed; over TCP, with no way past it.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export OMPI_MCA_plm_rsh_agent=/run/agent OMPI_MCA_orte_tmpdir_base=/run OMPI_MCA_pml=ob1 OMPI_MCA_btl=tcp,self
  nsenter --net=/run/netns/rank0 unshare --uts sh -c 'hostname rank0; exec "$@"' sh \
    mpirun --host "$hosts" --bind-to none "$@" || status=$?
  # What came to the bridge's end of a cable is what its rank sent.
  awk '$1 ~ /^rank/ { sub(":", " "); printf "mpi_namespaces: %s sent %s bytes\n", $1, $2 }' /proc/net/dev | sort -V >&2
  exit "$status"
}

start=enter rate="" delay=""
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --inside) start=inside ;;
    --rate)   rate=${2:?--rate: expected a value such as 100mbit}; shift ;;
    --delay)  delay=${2:?--delay: expected a value such as 1ms}; shift ;;
    *)        break ;;
  esac
  shift
done
[[ ${1-} =~ ^[1-9][0-9]?$ ]] || wrong "expected a number of ranks from 1 to 99, got '${1-}'"
[ $# -ge 2 ] || wrong "expected a command"
ranks=$1
shift
if [ $start = enter ]; then
  enter "${arguments[@]}"
else
  inside "$@"
fi
