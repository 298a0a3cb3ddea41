#!/usr/bin/env bash
# Installs the newest GuideLLM that was tried into a virtual environment of its own and prints the folder of its programs.
# It takes some minutes and 6 GB, once. Python 3.10 to 3.13 must be there.
#   PEERS_CACHE   where the virtual environments of bench/peers are (default: ~/.cache/openloop-peers)
set -euo pipefail
version=0.8.1
venv=${PEERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/openloop-peers}/guidellm-$version
if [ ! -e "$venv/ready" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet "guidellm==$version" >&2
  touch "$venv/ready"
fi
echo "$venv/bin"
