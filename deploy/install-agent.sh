#!/bin/sh
# Installs the agent on this host, enrols it, and starts it. Run it as often as you like: what is done is left alone,
# and a newer binary or unit beside this script is taken up.
#
#   sh install-agent.sh --server HOST:PORT <token-file
#
# Expects longshore-agent and longshore-agent.service beside itself (or in systemd/ there). The token comes on
# standard input, so that it is in no process list and no shell history.
set -eu

server=
while [ $# -gt 0 ]; do
    case "$1" in
        --server) server=${2:?--server needs HOST:PORT}; shift 2 ;;
        *) echo "usage: install-agent.sh --server HOST:PORT <token-file" >&2; exit 2 ;;
    esac
done
[ "$(id -u)" = 0 ] || { echo "install-agent.sh: must be run as root" >&2; exit 4; }

here=$(cd "$(dirname "$0")" && pwd)
unit=$here/longshore-agent.service
[ -e "$unit" ] || unit=$here/systemd/longshore-agent.service

# Replaces $2 by $1 in one rename when they differ; says whether it did.
put() {
    if cmp -s "$1" "$2"; then return 1; fi
    install -m "$3" "$1" "$2.new"
    mv "$2.new" "$2"
}

changed=
if put "$here/longshore-agent" /usr/bin/longshore-agent 0755; then changed=yes; fi
if put "$unit" /etc/systemd/system/longshore-agent.service 0644; then changed=yes; systemctl daemon-reload; fi

if [ ! -e /var/lib/longshore/identity/cert.pem ]; then
    [ -n "$server" ] || { echo "install-agent.sh: this host is not enrolled; say --server HOST:PORT" >&2; exit 2; }
    longshore-agent enroll --server "$server" --token-file -
fi

systemctl enable --quiet longshore-agent.service
if [ -n "$changed" ]; then systemctl restart longshore-agent.service; else systemctl start longshore-agent.service; fi
