#!/usr/bin/env bash
# stage-report.sh: prints minutes per stage of STAGES and in all; exit code 1 when a stage failed or the total is over STAGES_LIMIT.
set -euo pipefail
total=$(($(date +%s) - STAGES_BEGAN))
awk -v total="$total" -v limit="$STAGES_LIMIT" '
  { printf "  %-20s %6.1f min  %s\n", $1, $2 / 60, $3 == 0 ? "ok" : $3 == 124 ? "out of time" : "failed (exit " $3 ")"; if ($3 != 0) bad = 1 }
  END {
    over = total > limit
    printf "  %-20s %6.1f min  %s\n", "in all", total / 60, over ? sprintf("over the limit of %d min", limit / 60) : sprintf("limit %d min", limit / 60)
    exit bad || over
  }' "$STAGES"
