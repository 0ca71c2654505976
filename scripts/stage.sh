#!/usr/bin/env bash
# stage.sh NAME COMMAND...: runs a stage. Where STAGES names a file (.ci/run does), its time is noted there, and it is
# ended when the whole run is over its time; else it is the plain command.
# Env: STAGES (file: "name seconds status" a line), STAGES_BEGAN and STAGES_LIMIT (seconds since the epoch, seconds).
set -euo pipefail
name=$1
shift
if [ -z "${STAGES:-}" ]; then exec "$@"; fi

now() { date +%s; }
began=$(now)
left=$((STAGES_BEGAN + STAGES_LIMIT - began))
if [ "$left" -le 0 ]; then
  echo "stage $name: not started, the limit of $((STAGES_LIMIT / 60)) min is over" >&2
  echo "$name 0 124" >>"$STAGES"
  exit 124
fi
echo "=== stage $name" >&2
status=0
# TERM first: test programs then stop the processes they started.
timeout --kill-after=30 "$left" "$@" || status=$?
echo "$name $(($(now) - began)) $status" >>"$STAGES"
if [ "$status" = 124 ]; then echo "stage $name: ended, the limit of $((STAGES_LIMIT / 60)) min is over" >&2; fi
exit "$status"
