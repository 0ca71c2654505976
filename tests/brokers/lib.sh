# Shared by the brokers' run.sh; to be sourced. Sets nothing but functions.

# say TEXT: progress, on stderr.
say() { echo "run.sh: $*" >&2; }

# need PROGRAM PACKAGE: ends with a clear message where a program is missing.
need() {
  [ -n "$(PATH=$PATH:/usr/sbin:/sbin type -P "$1")" ] && return
  say "$1 is missing: install $2"
  exit 1
}

# tools_dir BROKER FILE...: the folder of what a broker needs besides Debian's packages, outside the tree and keyed by
# the files that list it. Env: WINDLASS_CACHE (default: $XDG_CACHE_HOME/windlass or ~/.cache/windlass).
tools_dir() {
  local broker=$1 hash
  shift
  hash=$(cat "$@" | sha256sum | cut -c1-16)
  echo "${WINDLASS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/windlass}/brokers/$broker/$hash"
}

# fetch_jars POM DIR: the jars that a POM lists, once; two calls at a time do no harm.
fetch_jars() {
  [ -d "$2" ] && return
  need mvn maven
  say "fetching the jars of $1 into $2"
  mkdir -p "$(dirname "$2")"
  mvn -q -B -f "$1" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$2.$$" >&2
  mv -T "$2.$$" "$2" 2>/dev/null || rm -rf "$2.$$" # the other call was first
}

# guard_stdin: with END_ON_STDIN_CLOSE=1, ends this process (after exec: the broker) when standard input ends, so that no
# broker outlives a harness that was killed. The guard itself goes with the broker.
guard_stdin() {
  [ "${END_ON_STDIN_CLOSE:-}" = 1 ] || return 0
  local broker=$$
  exec 3<&0
  setpriv --pdeathsig KILL bash -c "cat <&3 >/dev/null; kill -CONT $broker; kill -TERM $broker" >/dev/null 2>&1 &
  exec 3<&- </dev/null
}
