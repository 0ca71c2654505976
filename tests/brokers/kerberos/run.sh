#!/usr/bin/env bash
# run.sh DIR [PORT]: a KDC of MIT's (realm RIG) in the foreground (kill its pid to stop it); its database is made at the first start.
# Port on 127.0.0.1, TCP and UDP: PORT (29388). Ready when it listens. DIR has then krb5.conf, kdc.log, kafka.keytab (kafka/localhost, a broker's),
# reader.keytab and short.keytab. Principals: reader (password reader-secret, the same keys), short (tickets of 5 minutes), weak (has an RC4 key only),
# locked and expired (password reader-secret); kafka/localhost.
# Env: END_ON_STDIN_CLOSE=1 (ends when standard input ends).
set -euo pipefail
if [ $# -lt 1 ]; then sed -n '2,6s/^# //p' "$0" >&2; exit 2; fi
here=$(dirname "$(realpath "$0")") dir=$(realpath -m "$1") port=${2:-29388}
. "$here/../lib.sh"
need krb5kdc krb5-kdc; need kadmin.local krb5-admin-server; need setpriv util-linux
umask 077
mkdir -p "$dir"
# Clients and brokers read the one, the KDC both.
cat >"$dir/krb5.conf" <<EOF
[libdefaults]
  default_realm = RIG
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
[realms]
  RIG = {
    kdc = 127.0.0.1:$port
  }
[dbmodules]
  RIG = {
    db_library = db2
    disable_last_success = true
  }
EOF
cat >"$dir/kdc.conf" <<EOF
[kdcdefaults]
  kdc_listen = 127.0.0.1:$port
  kdc_tcp_listen = 127.0.0.1:$port
[realms]
  RIG = {
    database_name = $dir/principal
    key_stash_file = $dir/stash
    acl_file = $dir/acl
    max_life = 10h
    master_key_type = aes256-cts
    supported_enctypes = aes256-cts:normal aes128-cts:normal aes256-sha2:normal aes128-sha2:normal
    default_principal_flags = +preauth
  }
[logging]
  kdc = FILE:$dir/kdc.log
EOF
export HOME=$dir KRB5_CONFIG=$dir/krb5.conf KRB5_KDC_PROFILE=$dir/kdc.conf KRB5CCNAME=MEMORY:
admin() { PATH=$PATH:/usr/sbin:/sbin kadmin.local -r RIG "$@" >>"$dir/admin.log"; }
if [ ! -e "$dir/made" ]; then
  rm -f "$dir"/principal* "$dir"/*.keytab
  PATH=$PATH:/usr/sbin:/sbin kdb5_util -r RIG create -s -P master >"$dir/admin.log"
  for one in reader locked expired; do admin addprinc -pw reader-secret "$one"; done
  admin modprinc -allow_tix locked
  admin modprinc -expire '2001-01-01 00:00 UTC' expired
  admin addprinc -pw reader-secret -e arcfour-hmac:normal weak
  admin addprinc -randkey kafka/localhost
  admin addprinc -randkey -maxlife '5 minutes' short
  admin ktadd -norandkey -k "$dir/reader.keytab" reader
  admin ktadd -norandkey -k "$dir/short.keytab" short
  admin ktadd -norandkey -k "$dir/kafka.keytab" kafka/localhost
  touch "$dir/made"
fi
export PATH=$PATH:/usr/sbin:/sbin
guard_stdin
exec krb5kdc -n -r RIG -P "$dir/pid"
