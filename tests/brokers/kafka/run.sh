#!/usr/bin/env bash
# run.sh DIR PKI_DIR [PORT_BASE]: a Kafka broker in the foreground (kill its pid to stop it), formatted at its first start.
# Ports on 127.0.0.1, PORT_BASE (29090) + 2 PLAINTEXT, 3 controller, 4 SSL, 5 SASL_PLAINTEXT, 6 SASL_SSL (SCRAM-SHA-512: rig / rig-secret, viewer / viewer-secret).
# Env: HEAP (256m), LIBS (folder of the jars, filled if absent; default: in the cache), NODES=3 NODE=1..3 (one broker of a cluster: its own DIR;
#      ports + 10 a node), PROXY (a port before one more plain listener at + 7, which the cluster names instead of its own), END_ON_STDIN_CLOSE=1 (ends when standard input ends),
#      JWKS (a file of keys: port + 5 takes tokens too that they sign, OAUTHBEARER), IAM=ID:SECRET (port + 6 takes tokens too that this AWS key signs, as MSK does),
#      KERBEROS (the DIR of kerberos/run.sh: port + 8 takes its tickets for kafka/localhost, GSSAPI without TLS; reader and short may do all).
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,7s/^# //p' "$0" >&2; exit 2; fi
here=$(dirname "$(realpath "$0")") dir=$(realpath -m "$1") pki=$(realpath "$2") base=${3:-29090} nodes=${NODES:-1} node=${NODE:-1}
. "$here/../lib.sh"
need java 'a JDK, 17 or newer'
libs=${LIBS:-$(tools_dir kafka "$here/pom.xml")/libs}
fetch_jars "$here/pom.xml" "$libs"
mkdir -p "$dir/tls"
(umask 077; cat "$pki/adapter.key" "$pki/adapter.crt" >"$dir/tls/kafka.pem"; cp "$pki/ca.crt" "$dir/tls/ca.crt")
voters=; for i in $(seq "$nodes"); do voters+=${voters:+,}$i@127.0.0.1:$((base + 10 * i - 7)); done
b=$((base + 10 * node - 10)) fill="s#@DIR@#$dir#; s#@NODE@#$node#; s#@NODES@#$nodes#; s#@VOTERS@#$voters#"
for p in 2 3 4 5 6; do fill+="; s#@$p@#$((b + p))#g"; done
sed "$fill" "$here/server.properties" >"$dir/server.properties"
if [ -n "${PROXY:-}" ]; then
  sed -i "s#^listeners=.*#&,PROXIED://127.0.0.1:$((b + 7))#; s#^advertised.listeners=.*#&,PROXIED://127.0.0.1:$PROXY#
    s#^listener.security.protocol.map=.*#&,PROXIED:PLAINTEXT#" "$dir/server.properties"
fi
tokens() { # tokens LISTENER HANDLER OPTIONS: has a listener take tokens that the handler judges
  sed -i '/^listener\.name\.'"$1"'\.sasl\.enabled/d' "$dir/server.properties"
  cat >>"$dir/server.properties" <<EOF
listener.name.$1.sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER
listener.name.$1.oauthbearer.sasl.server.callback.handler.class=$2
listener.name.$1.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required $3;
EOF
}
classes=$libs/* options=()
if [ -n "${JWKS:-}" ]; then
  tokens sasl_plaintext org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler ''
  echo "listener.name.sasl_plaintext.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=file://$(realpath "$JWKS")
listener.name.sasl_plaintext.oauthbearer.sasl.oauthbearer.clock.skew.seconds=2" >>"$dir/server.properties"
  options+=("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://$(realpath "$JWKS")")
fi
if [ -n "${IAM:-}" ]; then
  need javac 'a JDK, 17 or newer'
  [ -d "$dir/classes" ] || javac -cp "$libs/*" -d "$dir/classes" "$here/IamTokens.java"
  classes+=":$dir/classes"
  # The first option is the broker's own login, which is used for nothing and asked for where there are others.
  tokens sasl_ssl IamTokens "unsecuredLoginStringClaim_sub=\"broker\" id=\"${IAM%%:*}\" secret=\"${IAM#*:}\""
fi
if [ -n "${KERBEROS:-}" ]; then
  kdc=$(realpath "$KERBEROS")
  sed -i "s#^listeners=.*#&,KERBEROS://127.0.0.1:$((b + 8))#; s#^advertised.listeners=.*#&,KERBEROS://localhost:$((b + 8))#
    s#^listener.security.protocol.map=.*#&,KERBEROS:SASL_PLAINTEXT#; s#^super.users=.*#&;User:reader;User:short#" "$dir/server.properties"
  cat >>"$dir/server.properties" <<EOF
sasl.kerberos.service.name=kafka
listener.name.kerberos.sasl.enabled.mechanisms=GSSAPI
listener.name.kerberos.gssapi.sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true \\
  isInitiator=false keyTab="$kdc/kafka.keytab" principal="kafka/localhost@RIG";
EOF
  options+=("-Djava.security.krb5.conf=$kdc/krb5.conf" "-Djava.io.tmpdir=$dir")   # which logins were seen is noted in the latter
fi
java=(java "-Xmx${HEAP:-256m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "${options[@]}" -cp "$classes")   # the JVM expands the star
[ -e "$dir/data/meta.properties" ] || "${java[@]}" kafka.tools.StorageTool format -t rigrigrigrigrigrigrigQ -c "$dir/server.properties" \
  --add-scram 'SCRAM-SHA-512=[name=rig,password=rig-secret]' --add-scram 'SCRAM-SHA-512=[name=viewer,password=viewer-secret]' >"$dir/format.log"
guard_stdin
exec "${java[@]}" -Dlog4j2.level=INFO kafka.Kafka "$dir/server.properties"   # says "Kafka Server started" when it is ready
