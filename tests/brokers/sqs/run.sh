#!/usr/bin/env bash
# run.sh elasticmq|moto DIR [PORT]: an SQS endpoint in the foreground on http://127.0.0.1:PORT (29324), any region and keys; all in memory.
# moto with TLS: give PKI_DIR as the 4th argument.
# Env: TOOLS (folder of the jars and the Python environment, filled if absent; default: in the cache), HEAP (128m), END_ON_STDIN_CLOSE=1 (ends when standard input ends).
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
here=$(dirname "$(realpath "$0")") dir=$(realpath -m "$2") port=${3:-29324}
. "$here/../lib.sh"
tools=${TOOLS:-$(tools_dir sqs "$here/pom.xml" "$here/requirements.txt")}
pki=${4:+$(realpath "$4")}
mkdir -p "$dir" "$tools"
cd "$dir"
case $1 in
elasticmq)
  need java 'a JDK, 17 or newer'
  fetch_jars "$here/pom.xml" "$tools/libs"
  guard_stdin
  # the JVM expands the star
  exec java "-Xmx${HEAP:-128m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dconfig.file="$here/sqs.conf" -Drest-sqs.bind-port="$port" -Dnode-address.port="$port" \
    -cp "$tools/libs/*" org.elasticmq.server.Main ;;
moto)
  # One caller at a time fills it, and what was left half done is done anew.
  exec 9>"$tools/lock"
  need flock util-linux
  flock 9
  if [ ! -e "$tools/venv/complete" ]; then
    need python3 'python3 and python3-venv'
    say "installing moto into $tools/venv"
    python3 -m venv --clear "$tools/venv" >&2
    "$tools/venv/bin/pip" -q --disable-pip-version-check install -r "$here/requirements.txt" >&2
    touch "$tools/venv/complete"
  fi
  exec 9>&-
  guard_stdin
  exec "$tools/venv/bin/moto_server" -H 127.0.0.1 -p "$port" ${pki:+-c "$pki/adapter.crt" -k "$pki/adapter.key"} ;;
*)
  say "no such server '$1': give elasticmq or moto"
  exit 2 ;;
esac
