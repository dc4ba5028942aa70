#!/bin/sh
# Draws the boards from a live demo into docs/pictures: `sh tools/pictures/draw.sh`.
#
# Grafana's own components, from npm, in Chromium; 430 MB that stay in .venv/pictures.
set -eu
cd "$(dirname "$0")/../.."
work=.venv/pictures
for program in node npm prometheus; do
    command -v "$program" >/dev/null || { echo "No $program on PATH; the pictures need it" >&2; exit 1; }
done

mkdir -p "$work/public/boards"
cp tools/pictures/*.js tools/pictures/*.jsx tools/pictures/*.mjs tools/pictures/*.json \
    tools/pictures/index.html "$work"
cp dashboards/*.json "$work/public/boards"
# The packages ask for versions of React's router that exclude each other; --force takes ours.
[ -d "$work/node_modules/vite" ] || (cd "$work" && npm install --ignore-scripts --force --no-audit)
(cd "$work" && npx vite build --logLevel warn)

place=$(mktemp -d)
began=$(date +%s)
.venv/bin/baton demo --workers 5 --tasks 40 --out "$place/demo" >"$place/log" 2>&1 &
demo=$!
trap 'kill "$demo" 2>/dev/null || true; wait "$demo" || true; rm -rf "$place"' EXIT
until grep -q 'The fleet stays up' "$place/log"; do
    kill -0 "$demo" 2>/dev/null || { cat "$place/log" >&2; exit 1; }
    sleep 1
done
grep -q 'PASS: ' "$place/log" || { cat "$place/log" >&2; exit 1; }
prometheus=$(sed -n 's/.*Prometheus on \(http[^ ]*\).*/\1/p' "$place/log")
now=$(date +%s)
(cd "$work" && node shoot.mjs "$prometheus" "$now" $((now - began)) w-1 ../../docs/pictures \
    fleet takeovers worker runs continuity exporter)
