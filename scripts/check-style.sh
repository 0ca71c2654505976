#!/usr/bin/env bash
# check-style.sh: log and error texts without a full stop, shell scripts that parse. The other rules of the repository that
# no compiler knows are tests (tests/it/files.rs).
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.."
bad=0
complain() { # complain RULE HITS
  if [ -n "$2" ]; then
    printf 'check-style: %s:\n%s\n' "$1" "$2" >&2
    bad=1
  fi
}
sources() { find . \( -name target -o -name .git -o -name node_modules \) -prune -o -type f "$@"; }

log_call='\b(trace|debug|info|warn|error)!\('
rust() { sources -name '*.rs' -print0 | xargs -0 -r grep -HnP "$1" || true; }
complain "an error text has no full stop" "$(rust "#\\[error\\(\"[^\"]*[^.]\\.\"")"
complain "a log text has no full stop" "$(rust "$log_call.*[^.]\\.\"\\)")"

while read -r script; do
  bash -n "$script" || bad=1
done < <(sources -name '*.sh' -print; echo .ci/run)
if command -v shellcheck >/dev/null; then
  sources -name '*.sh' -print0 | xargs -0 shellcheck -S warning -x .ci/run || bad=1
fi
exit "$bad"
