#!/usr/bin/env bash
# setup.sh: what building and testing need from the system. Debian packages are installed when root calls and they are
# missing; Rust, Go and a JDK are only looked for, since people manage those themselves.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.."
say() { echo "setup: $*" >&2; }
packages=(build-essential pkg-config libssl-dev perl rabbitmq-server prometheus util-linux openssl curl maven python3-venv
  krb5-kdc krb5-admin-server)

missing=()
for package in "${packages[@]}"; do
  if command -v dpkg-query >/dev/null; then
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  fi
done
if ! command -v dpkg-query >/dev/null; then
  say "not a Debian system: these packages, or what they are called here, are needed: ${packages[*]}"
elif [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    say "packages are missing: run as root: apt-get install --no-install-recommends ${missing[*]}"
    exit 1
  fi
  say "installing ${missing[*]}"
  # Tests start RabbitMQ themselves: the packaged service must not start beside them and take memory and ports.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update >&2
  apt-get -q install -y --no-install-recommends "${missing[@]}" >&2
fi

# at_least HAVE WANTED
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; }
bad=0
need() { # need PROGRAM VERSION_FOUND VERSION_WANTED HOW
  if [ -z "$2" ]; then
    say "$1 is missing: $3 or newer is needed ($4)"
    bad=1
  elif ! at_least "$2" "$3"; then
    say "$1 $2 is too old: $3 or newer is needed ($4)"
    bad=1
  fi
}
rust=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
go=$(sed -n 's/^go //p' tests/cluster/tools/go.mod)
go_found=$(go env GOVERSION 2>/dev/null | sed 's/^go//' || true)
# Go 1.21 and later fetch the toolchain that go.mod asks for.
if [ -n "$go_found" ] && at_least "$go_found" 1.21 && [ "$(go env GOTOOLCHAIN 2>/dev/null)" != local ]; then go_wanted=1.21; else go_wanted=$go; fi
need cargo "$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)" "$rust" "https://rustup.rs; rustup takes the version from rust-toolchain.toml"
need go "$go_found" "$go_wanted" "https://go.dev/dl"
need java "$(java -version 2>&1 | sed -n 's/.*version "\([^"]*\)".*/\1/p' || true)" 17 "apt-get install openjdk-17-jdk-headless"
need javac "$(javac -version 2>&1 | sed -n 's/^javac //p' || true)" 17 "apt-get install openjdk-17-jdk-headless"
exit "$bad"
