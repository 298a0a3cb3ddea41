#!/usr/bin/env bash
# Makes the pictures of the README: the live screen, the screen at the end, and the page, all of one real run against
# the simulated engine. Takes about two minutes. Needs tmux, Chromium and Go; without one of them it says so and makes
# nothing.
#
#   docs/pictures/make.sh bin/openloop
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
openloop=$(realpath "${1:?which openloop}")

# Draws a terminal's text with its colours as SVG; Chromium makes the PNG of it, with a font that has all characters.
freeze=github.com/charmbracelet/freeze@v0.2.2
# The largest picture that the repository is to carry, in bytes.
most=200000

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
for tool in tmux go; do
  command -v "$tool" >/dev/null || { echo "pictures: skipped, there is no $tool"; exit 0; }
done
[ -n "$chromium" ] || { echo "pictures: skipped, there is no Chromium"; exit 0; }

work=$(mktemp -d)
# A tmux server of its own, so that no other is touched.
tmux=(tmux -L "openloop-pictures-$$" -f /dev/null)
trap '"${tmux[@]}" kill-server 2>/dev/null || true; rm -rf "$work"' EXIT

# screenshot FILE WIDTH HEIGHT PNG SCALE…: the largest of the scales whose picture is small enough.
screenshot() {
  local bytes scale
  for scale in "${@:5}"; do
    "$chromium" --headless --no-sandbox --hide-scrollbars --force-device-scale-factor="$scale" \
      --blink-settings=preferredColorScheme=1 --virtual-time-budget=3000 \
      --window-size="$2,$3" --screenshot="$4" "file://$1" >/dev/null 2>&1
    bytes=$(wc -c <"$4")
    [ "$bytes" -gt "$most" ] || { echo "${4##*/}: $bytes bytes"; return; }
  done
  echo "pictures: $4 has $bytes bytes, more than $most"
  return 1
}

# terminal NAME: the text in $work/NAME.ansi, as NAME.png
terminal() {
  # Without the empty lines at the end of the pane. freeze does not know "default foreground" and "background".
  sed -i -e :a -e '/^[[:space:]]*$/{$d;N;ba' -e '}' "$work/$1.ansi"
  sed -i -e 's/\x1b\[39m/\x1b[0m/g' -e 's/\x1b\[49m//g' "$work/$1.ansi"
  go run "$freeze" --language ansi --font.family 'DejaVu Sans Mono' --font.size 14 --line-height 1.2 --padding 14 \
    --output "$work/$1.svg" <"$work/$1.ansi" >/dev/null
  local width height
  read -r width height < <(sed -n 's/.*<svg width="\([0-9]*\)[^"]*" height="\([0-9]*\).*/\1 \2/p' "$work/$1.svg")
  screenshot "$work/$1.svg" "$width" "$height" "$here/$1.png" 1.5 1.25 1
}

# capture NAME FLAG…: what is on the terminal, as NAME.ansi
capture() { "${tmux[@]}" capture-pane -e -p -t run "${@:2}" >"$work/$1.ansi"; }

# The run: a sweep and a search of the engine simulated in the process, on a terminal of 100 × 30.
cat >"$work/run.sh" <<RUN
cd "$work"
"$openloop" sweep sim:l4-qwen2.5-0.5b --prompt-tokens 64 --output-tokens 16 \
  --slo 'ttft:p95<100ms tpot:p95<20ms errors<1%' \
  --sweep-size 6 --max-seconds 8 --budget 60s --cost 1.10/h --allow-invalid
touch "$work/ended"
sleep 600
RUN
echo "pictures: a run of about two minutes"
"${tmux[@]}" new-session -d -s run -x 100 -y 30 "bash $work/run.sh"
for second in $(seq 300); do
  [ -e "$work/ended" ] && break
  # The last one while the search is under way is kept.
  if [ "$second" -gt 60 ] && "${tmux[@]}" capture-pane -p -t run | grep -q 'so far'; then capture live; fi
  sleep 1
done
[ -e "$work/ended" ] || { echo "pictures: the run does not end"; exit 1; }
# From the answer to what was run.
capture end -S -
sed -i -n '/max rate at SLO  /,/what was run/{/what was run/!p}' "$work/end.ansi"
"${tmux[@]}" kill-server

terminal live
terminal end
screenshot "$work/openloop-results/latest/report.html" 1200 900 "$here/page.png" 1 0.8
