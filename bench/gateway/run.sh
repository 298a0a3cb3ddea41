#!/usr/bin/env bash
# Puts a LiteLLM proxy before an engine, and shows by openloop what it adds to TTFT, how the rate limit of a virtual key
# is counted, and what --retry makes of it. Not part of CI: it installs LiteLLM, and its times are of this machine.
#   bench/gateway/run.sh
#   ENGINE         URL of the engine (default: a simulated one, started here)
#   LITELLM_VENV   where LiteLLM is installed, or is to be
#   OPENLOOP       an openloop that is built already
#   RESULTS        folder for reports (default: gateway-results)
#   RATE, LENGTH   of the comparison: requests a second over both ways (8), seconds (60)
# It exits 0 if everything holds, 1 otherwise.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
results=${RESULTS:-gateway-results}
rm -rf "$results"
mkdir -p "$results"
results=$(cd "$results" && pwd)
if [ -z "${OPENLOOP:-}" ]; then
  OPENLOOP=$results/openloop
  go build -o "$OPENLOOP" ./cmd/openloop
fi
venv=${LITELLM_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/openloop-litellm}
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt" >&2
  cp "$here/requirements.txt" "$venv/installed.txt"
fi

started=()
finish() { for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done; }
trap finish EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
await() { # URL
  for _ in $(seq 120); do
    curl -sf -m 2 -o /dev/null "$1" && return
    sleep 0.5
  done
  echo "$1 does not answer" >&2
  exit 1
}

engine=${ENGINE:-}
if [ -z "$engine" ]; then
  engine=http://127.0.0.1:$(port)
  "$OPENLOOP" simulate --engine 'fixed?ttft=20ms&itl=5ms' --addr "${engine#http://}" >"$results/engine.log" 2>&1 &
  started+=($!)
fi
await "$engine/v1/models"
model=$(curl -sf "$engine/v1/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')

gateway=http://127.0.0.1:$(port)
cp "$here/keys.py" "$results/keys.py"
cat >"$results/litellm.yaml" <<Y
model_list:
  - model_name: $model
    litellm_params: {model: hosted_vllm/$model, api_base: $engine/v1, api_key: none}
general_settings: {custom_auth: keys.user_api_key_auth}
litellm_settings: {num_retries: 0, telemetry: false}
Y
(
  cd "$results"
  # Keys are known by keys.py alone. The master key, which LiteLLM does not start without, is nobody's.
  export LITELLM_MASTER_KEY LITELLM_LOCAL_MODEL_COST_MAP=True
  LITELLM_MASTER_KEY=sk-$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
  exec "$venv/bin/litellm" --config litellm.yaml --host 127.0.0.1 --port "${gateway##*:}" --num_workers 1
) >"$results/litellm.log" 2>&1 &
started+=($!)
await "$gateway/health/liveliness"

verdict=0
check() { # TEXT, PYTHON over the rows of NAME/requests.jsonl
  if python3 - "$results/$name/requests.jsonl" "$2" <<'P'
import collections, json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
sys.exit(not eval("(" + sys.argv[2] + ")"))
P
  then echo "✔ $name: $1"; else echo "✘ $name: $1"; verdict=1; fi
}
load() { # NAME ARGS…
  name=$1
  shift
  echo "== $name: openloop run $*"
  "$OPENLOOP" run "$@" --model "$model" --prompt-tokens 64 --output-tokens 8 --seed 1 --output-dir "$results/$name" \
    --records requests.jsonl --allow-invalid --quiet | sed '/what was run/,$d'
}

load adds --target "direct=$engine" --target "litellm=$gateway" --api-key sk-open --rate "${RATE:-8}" \
  --max-seconds "${LENGTH:-60}"
check "every request was answered" 'rows and all(r["status"] != "errored" for r in rows)'
check "the gateway names each of its requests, once" \
  'len({r["request_id"] for r in rows if r["target"] == "litellm" and r["status"] == "completed"} - {None}) ==
   sum(r["target"] == "litellm" and r["status"] == "completed" for r in rows) > 0'

load limited --target "$gateway" --api-key sk-limited --rate 4 --max-seconds 25
check "refusals are HTTP 429 and nothing else failed" \
  'any(r["http_status"] == 429 for r in rows) and
   all(r["http_status"] == 429 for r in rows if r["status"] == "errored")'
check "no more than 60 came through, and the trial" '0 < sum(r["status"] == "completed" for r in rows) <= 60'
check "the refused have an id, too" 'all(r["request_id"] for r in rows if r["http_status"] == 429)'

load retried --target "$gateway" --api-key sk-patient --rate 4 --max-seconds 25 --grace 200s --retry 3
check "nothing failed" 'all(r["status"] == "completed" for r in rows)'
check "some were sent again, and their latency has the wait" \
  'any(r["tries"] > 1 for r in rows) and all(r["latency_s"] > 1 for r in rows if r["tries"] > 1)'
check "no arrival was held up" 'all(r["send_delay_s"] < 1 for r in rows)'
exit $verdict
