#!/usr/bin/env bash
# Installs GuideLLM 0.5.0, as bench/parity pins it, and prints the folder of its programs. It is not installed twice.
set -euo pipefail
exec "$(dirname "$0")/../parity/install.sh"
