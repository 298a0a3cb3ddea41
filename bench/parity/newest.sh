#!/usr/bin/env bash
# Runs the newest GuideLLM that was tried (bench/peers/install.sh guidellm) and openloop by the same command lines,
# "guidellm run", against the simulated engine in a process of its own, and compares their reports of schema 2: fields,
# metrics made once more by the code of the other, and figures.
#   bench/parity/newest.sh [--write]   --write puts the tables into bench/results/parity-newest.md
#   OPENLOOP        an openloop that is built already
#   RESULTS         folder for reports and tables (default: parity-newest-results)
#   SECONDS_A_STAGE   default 10
# It exits 0 if all fields and recomputed metrics agree and the figures are within tolerance, 3 if a figure is not, 1
# otherwise.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
results=${RESULTS:-parity-newest-results}
seconds=${SECONDS_A_STAGE:-10}
rm -rf "$results"
mkdir -p "$results"
results=$(cd "$results" && pwd)
if [ -z "${OPENLOOP:-}" ]; then
  OPENLOOP=$results/openloop
  go build -o "$OPENLOOP" ./cmd/openloop
fi
programs=$(bench/peers/install.sh guidellm)
"$programs/python" bench/parity/tokenizer.py tokens/tokenizer/words.txt "$results/tokenizer"

# Its TTFT is so long because GuideLLM's own part of it, some ms, would be outside the tolerance of a shorter one.
"$OPENLOOP" simulate --engine 'fixed?ttft=120ms&itl=8ms' --addr 127.0.0.1:0 \
  --tokenizer "$results/tokenizer/tokenizer.json" >"$results/engine.log" 2>&1 &
engine=$!
trap 'kill "$engine" 2>/dev/null || true' EXIT
for _ in $(seq 100); do
  url=$(grep -o 'http://[0-9.:]*' "$results/engine.log" | head -1 || true)
  [ -n "$url" ] && break
  sleep 0.1
done
[ -n "$url" ] || { echo "the engine did not start: $(cat "$results/engine.log")" >&2; exit 1; }

failed=0 verdict=0
# compare NAME DATA ARGS…: a case by both, with the same arguments.
compare() {
  local name=$1 data=$2 code=0
  shift 2
  local args=(run --backend "kind=openai_http,target=$url" --data "$data" --disable-progress "$@"
    --tokenizer "kind=huggingface_auto,model=$results/tokenizer" --output)
  echo "== $name: ${args[*]:1}" >&2
  HF_HUB_OFFLINE=1 NO_COLOR=1 "$programs/guidellm" "${args[@]}" "kind=json,path=$results/$name-guidellm.json" \
    >"$results/$name-guidellm.txt" 2>&1 || { tail -20 "$results/$name-guidellm.txt" >&2; exit 1; }
  "$OPENLOOP" "${args[@]}" "kind=json,path=$results/$name.json" --allow-invalid \
    >"$results/$name.txt" 2>&1 || { tail -20 "$results/$name.txt" >&2; exit 1; }
  {
    printf '### %s\n\n' "$name"
    echo "GuideLLM's code on openloop's report: $("$programs/python" bench/parity/schema2.py "$results/$name.json")." |
      tr '\n' ' ' && echo
  } >>"$results/tables.md" || failed=1
  "$OPENLOOP" report "$results/$name-guidellm.json" --recompute >"$results/$name-recomputed.txt" 2>/dev/null || failed=1
  {
    echo "openloop's on GuideLLM's: $(sed -n '1s/^[^:]*: //p' "$results/$name-recomputed.txt")."
    echo
    "$programs/python" bench/parity/fields2.py "$results/$name-guidellm.json" "$results/$name.json"
    echo
  } >>"$results/tables.md"
  "$OPENLOOP" parity "$results/$name-guidellm.json" "$results/$name.json" --markdown "$results/$name.md" \
    >"$results/$name-figures.txt" 2>/dev/null || code=$?
  [ "$code" -le 3 ] || exit 1
  [ "$code" -eq 0 ] || { verdict=3; cat "$results/$name-figures.txt" >&2; }
  { cat "$results/$name.md"; echo; } >>"$results/tables.md"
}

fixed=kind=synthetic_text,prompt_tokens=64,output_tokens=64
limit=(--constraint "kind=max_duration,seconds=$seconds")
compare synchronous "$fixed" --profile kind=synchronous "${limit[@]}"
compare constant "$fixed" --profile kind=constant --override profile.rate 5,10 "${limit[@]}"
# Each of its worker processes draws the same gaps: one makes a Poisson process.
GUIDELLM__MAX_WORKER_PROCESSES=1 compare poisson "$fixed" --profile kind=poisson,rate=10 "${limit[@]}"
compare concurrent "$fixed" --profile kind=concurrent --override profile.streams 2,4 \
  --override 'constraints[0].count' 20,40 --constraint kind=max_requests
compare turns "$fixed,turns=3" --profile kind=concurrent,streams=4 --constraint kind=max_requests,count=24

if [ "${1:-}" = --write ]; then
  {
    printf '# Beside GuideLLM 0.8.1\n\nCommit %s, %s: `SECONDS_A_STAGE=%s bench/parity/newest.sh --write`\n\n' \
      "$(git describe --always --dirty)" "$(date '+%-d %B %Y')" "$seconds"
    cat "$results/tables.md"
  } >bench/results/parity-newest.md
fi
[ "$failed" -eq 0 ] || { echo "recomputed metrics differ: see $results" >&2; exit 1; }
if [ "$verdict" -ne 0 ]; then
  echo "outside tolerance" >&2
  exit "$verdict"
fi
echo "everything holds" >&2
