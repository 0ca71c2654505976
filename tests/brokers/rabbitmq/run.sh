#!/usr/bin/env bash
# run.sh DIR PKI_DIR [PORT_BASE]: RabbitMQ in the foreground as the user who calls (kill its pid to stop it), guest / guest.
# Ports on 127.0.0.1, PORT_BASE (25670) + 1 AMQPS, 2 AMQP, 3 management HTTP, 4 management HTTPS, 5 Erlang, 6 epmd. Ready when /api/overview answers.
# Env: STATS (1) = after how many seconds the management counts are refreshed; 5 is the default of the product.
#      OAUTH = a public key as PEM: who shows a token that it signs, for the audience "rabbitmq", is let in too (key id "1").
#      END_ON_STDIN_CLOSE=1: ends when standard input ends.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,6s/^# //p' "$0" >&2; exit 2; fi
here=$(dirname "$(realpath "$0")") dir=$(realpath -m "$1") pki=$(realpath "$2") base=${3:-25670}
. "$here/../lib.sh"
server=/usr/lib/rabbitmq/bin/rabbitmq-server # the server itself: the one on PATH changes to another user
[ -x "$server" ] || { say "$server is missing: install rabbitmq-server (make setup)"; exit 1; }
need setpriv util-linux
mkdir -p "$dir/tls"
(umask 077; cp "$pki/ca.crt" "$pki/adapter.crt" "$pki/adapter.key" "$dir/tls/")
stats=${STATS:-1} fill="s#@DIR@#$dir#; s#@STATS@#$((stats * 1000))#; s#@SAMPLE@#$stats#"
for p in 1 2 3 4; do fill+="; s#@$p@#$((base + p))#"; done
sed "$fill" "$here/rabbitmq.conf" >"$dir/rabbitmq.conf"
cp "$here/plugins" "$dir/plugins"
if [ -n "${OAUTH:-}" ]; then
  echo '[rabbitmq_management,rabbitmq_auth_backend_oauth2].' >"$dir/plugins"
  cat >>"$dir/rabbitmq.conf" <<EOF
auth_backends.1 = internal
auth_backends.2 = rabbit_auth_backend_oauth2
auth_oauth2.resource_server_id = rabbitmq
auth_oauth2.signing_keys.1 = $(realpath "$OAUTH")
auth_oauth2.default_key = 1
management.enable_uaa = true
management.uaa_client_id = windlass
management.uaa_location = http://127.0.0.1
EOF
fi
export HOME=$dir RABBITMQ_NODENAME=rig$base@localhost RABBITMQ_MNESIA_BASE=$dir/data RABBITMQ_LOG_BASE=$dir/log RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$dir/plugins RABBITMQ_DIST_PORT=$((base + 5))
export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((base + 6)) RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
setpriv --pdeathsig TERM epmd &   # dies with the broker, even when that is killed with -9
export RUNNING_UNDER_SYSTEMD=true # the broker takes this pid instead of running below a shell
guard_stdin
exec "$server"
