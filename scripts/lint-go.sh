#!/usr/bin/env bash
# lint-go.sh: gofmt and go vet of the test control plane.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../tests/cluster"
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
  echo "lint-go: gofmt these: $unformatted" >&2
  exit 1
fi
export GOFLAGS="-mod=readonly -trimpath"
go vet -tags smoke ./...
