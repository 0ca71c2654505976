# To be sourced, at the root of the clone. Points CARGO_TARGET_DIR at a folder outside the clone, keyed by what the
# compiled dependencies depend on: the compiler and Cargo.lock. Cargo reuses crates from registries there whatever the
# clone's path; the workspace's own crates are keyed by their path and built anew.

# Two runs at a time must not share a folder, since each puts its own binary at debug/windlass: the first free slot is
# taken and held by a lock until this process ends.
ci_target() {
  local root key slot
  command -v cargo >/dev/null || return 0 # make setup says what is missing
  root=${WINDLASS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/windlass}/cargo
  key=$({ rustc --version --verbose; cat Cargo.lock; } | sha256sum | cut -c1-16)
  mkdir -p "$root"
  for slot in 1 2 3 4 5 6 7 8; do
    exec {CI_TARGET_LOCK}>"$root/$key-$slot.lock"
    flock -n "$CI_TARGET_LOCK" && break
    exec {CI_TARGET_LOCK}>&-
    slot=
  done
  [ -n "$slot" ] || { echo "ci-target: eight runs hold all folders of $root" >&2; return 1; }
  CARGO_TARGET_DIR=$root/$key-$slot
  export CARGO_TARGET_DIR
  mkdir -p "$CARGO_TARGET_DIR"
  touch "$CARGO_TARGET_DIR"
  echo "=== cargo's target folder: $CARGO_TARGET_DIR" >&2
  # What earlier clones left of the workspace's own crates would pile up; so would folders of old lock files.
  cargo clean --locked --quiet $(cargo metadata --locked --no-deps --format-version 1 | grep -o '"name":"windlass[a-z-]*","version"' | cut -d'"' -f4 | sed 's/^/-p /') || true
  find "$root" -mindepth 1 -maxdepth 1 -type d -mtime +14 -exec rm -rf {} +
}
ci_target
