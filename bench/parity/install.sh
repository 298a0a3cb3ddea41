#!/usr/bin/env bash
# Installs the pinned GuideLLM into a virtual environment of its own and prints the folder of its programs. It takes some
# minutes and 6 GB, once. Python 3.10 to 3.13 must be there.
#   GUIDELLM_VENV   the environment, made if it does not exist (default: ~/.cache/guidellm-0.5.0)
set -euo pipefail
venv=${GUIDELLM_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/guidellm-0.5.0}
if [ ! -x "$venv/bin/guidellm" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --requirement "$(dirname "$0")/requirements.txt" >&2
fi
version=$("$venv/bin/python" -c 'import importlib.metadata as m; print(m.version("guidellm"))')
if [ "$version" != 0.5.0 ]; then
  echo "$venv holds GuideLLM $version, and 0.5.0 is needed: remove it, or name another folder in GUIDELLM_VENV" >&2
  exit 1
fi
echo "$venv/bin"
