#!/usr/bin/env bash
# check-style.sh: rules of the repository that no compiler knows. Lowercase log and error texts without a full stop,
# files under 500 lines, shell scripts that parse.
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

# Kubernetes kinds and proper names keep their capital.
names='Deployment|StatefulSet|ReplicaSet|ScaledObject|ScaledJob|TriggerAuthentication|ClusterTriggerAuthentication|Secret|ConfigMap|Lease|Job|Pod|Node|Service|ServiceAccount|Kubernetes|Windlass|RabbitMQ|Kafka|EndpointSlice|APIService|ClusterRole|HorizontalPodAutoscaler|CustomResourceDefinition|Scale|Go|Rust|Java|Debian'
capital="[A-Z][a-z]"
log_call='\b(trace|debug|info|warn|error)!\('
rust() { sources -name '*.rs' -print0 | xargs -0 -r grep -HnP "$1" || true; }
complain "an error text starts with a lowercase letter" "$(rust "#\\[error\\(\"(?!($names)\\b)$capital")"
complain "a log text is lowercase, its fields come before it" "$(rust "$log_call([^\"]*, )?\"(?!($names)\\b)$capital")"
complain "an error text has no full stop" "$(rust "#\\[error\\(\"[^\"]*[^.]\\.\"")"
complain "a log text has no full stop" "$(rust "$log_call.*[^.]\\.\"\\)")"
complain "files have at most 500 lines" "$(sources \( -name '*.rs' -o -name '*.go' -o -name '*.sh' \) -print0 | xargs -0 -r wc -l | awk '$2 != "total" && $1 > 500')"

while read -r script; do
  bash -n "$script" || bad=1
done < <(sources -name '*.sh' -print; echo .ci/run)
if command -v shellcheck >/dev/null; then
  sources -name '*.sh' -print0 | xargs -0 shellcheck -S warning -x .ci/run || bad=1
fi
exit "$bad"
