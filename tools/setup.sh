#!/bin/sh
# Finds a Python that can make .venv and hands over to setup.py: `sh tools/setup.sh demo|dev`.
set -eu
cd "$(dirname "$0")/.."

for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; assert sys.version_info >= (3, 11)
import ensurepip, venv' >/dev/null 2>&1; then
        exec "$candidate" tools/setup.py "$@"
    fi
done
echo "No Python 3.11 or newer with its venv module: install one (on Debian: apt-get install" \
    "python3-venv), or name one with make PYTHON=/path/to/python3" >&2
exit 1
