#!/usr/bin/env bash
# Installs AIPerf into a virtual environment of its own and prints the folder of its programs. It takes a minute and 1 GB,
# once. Python 3.10 to 3.13 must be there.
#   PEERS_CACHE   where the virtual environments of bench/peers are (default: ~/.cache/openloop-peers)
set -euo pipefail
version=0.13.0
venv=${PEERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/openloop-peers}/aiperf-$version
if [ ! -e "$venv/ready" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet "aiperf==$version" >&2
  touch "$venv/ready"
fi
echo "$venv/bin"
