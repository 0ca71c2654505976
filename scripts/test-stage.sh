#!/usr/bin/env bash
# Tests of stage.sh and stage-report.sh: times are noted, failures and the limit end a run.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failures=0
check() { # check WHAT WANTED GOT
  if [ "$2" != "$3" ]; then
    echo "test-stage: $1: got '$3', want '$2'" >&2
    failures=$((failures + 1))
  fi
}
code() { local s=0; "$@" >"$tmp/out" 2>&1 || s=$?; echo "$s"; }
begin() { # begin LIMIT [SECONDS_AGO]: a new run
  : >"$tmp/stages"
  export STAGES=$tmp/stages STAGES_LIMIT=$1 STAGES_BEGAN=$(($(date +%s) - ${2:-0}))
}

unset STAGES STAGES_LIMIT STAGES_BEGAN
check "no run: the plain command's exit code" 3 "$(code ./stage.sh x bash -c 'exit 3')"

begin 4200
check "a good stage" 0 "$(code ./stage.sh good true)"
check "is noted as good" "good 0" "$(awk '{print $1, $3}' "$STAGES")"
check "the report of a good run" 0 "$(code ./stage-report.sh)"
check "names the stage" 1 "$(grep -c '^  good .* ok$' "$tmp/out")"
check "and the total" 1 "$(grep -c '^  in all .* limit 70 min$' "$tmp/out")"
check "a bad stage" 7 "$(code ./stage.sh bad bash -c 'exit 7')"
check "the report of a bad run" 1 "$(code ./stage-report.sh)"
check "says so" 1 "$(grep -c '^  bad .* failed (exit 7)$' "$tmp/out")"

begin 1
check "a stage over the limit is ended" 124 "$(code ./stage.sh slow sleep 30)"
check "and noted" "slow 124" "$(awk '{print $1, $3}' "$STAGES")"

begin 60 61
check "no stage starts after the limit" 124 "$(code ./stage.sh late touch "$tmp/late")"
check "it did not run" no "$([ -e "$tmp/late" ] && echo yes || echo no)"
check "the report fails" 1 "$(code ./stage-report.sh)"
check "and says why" 1 "$(grep -c 'over the limit of 1 min' "$tmp/out")"

begin 60 61
check "all stages good, yet too slow: the report fails" 1 "$(code ./stage-report.sh)"

[ "$failures" = 0 ] && echo "test-stage: ok"
exit "$((failures > 0))"
