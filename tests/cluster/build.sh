#!/usr/bin/env bash
# build.sh: builds rig, kwok and metrics-server once per state of their inputs, into a cache outside the tree.
# The last line on stdout is the folder of the three programs; progress goes to stderr.
# Env: WINDLASS_CACHE (default: $XDG_CACHE_HOME/windlass or ~/.cache/windlass).
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
say() { echo "build.sh: $*" >&2; }

command -v go >/dev/null || { say "go is missing: install Go $(sed -n 's/^go //p' tools/go.mod) or newer (https://go.dev/dl)"; exit 1; }
cache=${WINDLASS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/windlass}/cluster

# Everything the programs are made from: sources without their tests, embedded files, modules, this script, the toolchain.
inputs() {
  go version
  { find . -name '*.go' ! -name '*_test.go'; printf '%s\n' ./internal/rig/*.yaml ./go.mod ./go.sum ./tools/go.mod ./tools/go.sum ./build.sh; } |
    LC_ALL=C sort | xargs sha256sum
}
hash=$(inputs | sha256sum | cut -c1-16)
bin=$cache/$hash
mkdir -p "$cache"

# One build at a time; who waited finds it done.
exec 9>"$cache/.lock"
flock -n 9 || { say "another build is running, waiting for it"; flock 9; }
if [ -x "$bin/rig" ] && [ -x "$bin/kwok" ] && [ -x "$bin/metrics-server" ]; then
  touch "$bin"
  say "cached: $bin"
else
  tmp=$(mktemp -d "$cache/.build.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  # -trimpath belongs to Go's cache keys: vet and tests use the same flags (Makefile), or all of Kubernetes is compiled twice.
  export GOFLAGS="-mod=readonly -trimpath"
  kubernetes=$(sed -n 's/^\tk8s.io\/kubernetes v//p' go.mod)
  IFS=. read -r major minor _ <<<"$kubernetes"
  version=k8s.io/component-base/version # without these /version says v0.0.0-master+$Format:%H$, which clients fail to parse
  began=$SECONDS
  say "building rig, Kubernetes $kubernetes (minutes when nothing is cached)"
  go build -ldflags="-s -w -X $version.gitVersion=v$kubernetes -X $version.gitMajor=$major -X $version.gitMinor=$minor -X $version.gitTreeState=clean" -o "$tmp/rig" . >&2
  say "building kwok and metrics-server ($((SECONDS - began)) s so far)"
  (cd tools && go build -ldflags='-s -w' -o "$tmp/" tool >&2)
  rm -rf "$bin"
  mv -T "$tmp" "$bin"
  trap - EXIT
  say "built in $((SECONDS - began)) s: $bin"
  # Builds nobody used for two weeks go; each is 280 MB.
  find "$cache" -mindepth 1 -maxdepth 1 -type d -name '[0-9a-f]*' -mtime +14 -exec rm -rf {} +
fi
echo "$bin"
