#!/bin/sh
# Runs a command every SECONDS until it fails: `sh again.sh SECONDS COMMAND [WORD…]`.
set -eu
seconds=$1
shift
while "$@"; do
    sleep "$seconds"
done
exit 1
