#!/bin/sh
# Installs the agent and its helper on this host, enrols it, and starts both. Run it as often as you like: what is done is
# left alone, newer binaries and units beside this script are taken up, and a host that has the agent as one process gets
# two.
#
#   sh install-agent.sh --server HOST:PORT <token-file
#   sh install-agent.sh --single --server HOST:PORT <token-file      # one process with all privileges
#
# Expects longshore-agent and the units beside itself (or in systemd/ there); the helper is the same program by another
# name. The token comes on standard input, so that it is in no process list and no shell history.
set -eu

server=
processes=two
while [ $# -gt 0 ]; do
    case "$1" in
        --server) server=${2:?--server needs HOST:PORT}; shift 2 ;;
        --single) processes=one; shift ;;
        *) echo "usage: install-agent.sh [--single] --server HOST:PORT <token-file" >&2; exit 2 ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
program=$here/longshore-agent
units=$here
[ -e "$units/longshore-agent.service" ] || units=$here/systemd
installed=/etc/systemd/system

# Asked before anything is changed: what would be missing halfway is missing now.
refuse() {
    echo "install-agent.sh: $1. Nothing was changed" >&2
    exit 4
}
[ "$(id -u)" = 0 ] || refuse 'must be run as root'
[ -f "$program" ] || refuse "there is no program $program: copy the one that was built to there"
case $processes in
    two) needed='longshore-agent.service longshore-helper.service longshore-helper.socket' ;;
    *) needed=longshore-agent-single.service ;;
esac
for unit in $needed; do
    [ -f "$units/$unit" ] || refuse "there is no unit $units/$unit: copy it from deploy/systemd to there"
done
[ -d /run/systemd/system ] || refuse 'this machine does not run systemd; without it: longshore-agent enroll, then run'
if [ ! -e /var/lib/longshore/identity/cert.pem ] && [ -z "$server" ]; then
    echo 'install-agent.sh: this host is not enrolled; say --server HOST:PORT' >&2
    exit 2
fi

# Replaces $2 by $1 in one rename.
put() {
    install -m "$3" "$1" "$2.new"
    mv "$2.new" "$2"
}

# What fails in a condition does not end the script: nothing is done there but to compare.
changed=
if ! cmp -s "$program" /usr/bin/longshore-agent; then
    put "$program" /usr/bin/longshore-agent 0755
    changed=yes
fi
if [ $processes = two ]; then
    if [ "$(readlink /usr/bin/longshore-helper)" != longshore-agent ]; then
        ln -sf longshore-agent /usr/bin/longshore-helper.new
        mv -T /usr/bin/longshore-helper.new /usr/bin/longshore-helper
        changed=yes
    fi
    if ! getent passwd longshore-agent >/dev/null; then
        useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin longshore-agent
    fi
fi

if [ ! -e /var/lib/longshore/identity/cert.pem ]; then
    # What it would have people do next is done below.
    said=$(longshore-agent enroll --server "$server" --token-file -)
    printf '%s\n' "$said" | sed '/^next: /d'
fi

# Who owns what is settled while nothing runs that could be in its way, and before a unit could start that expects it.
owner=$(stat -c %U /var/lib/longshore/identity)
if longshore-agent processes | grep -qx "processes: $processes"; then
    # Agent and controller once shared a user, who could then read what both have.
    if [ $processes = two ] && [ "$owner" != longshore-agent ]; then
        systemctl stop longshore-agent.service longshore-helper.socket longshore-helper.service 2>/dev/null || true
        longshore-agent processes two >/dev/null || [ $? = 6 ]
        changed=yes
    fi
else
    systemctl stop longshore-agent.service longshore-helper.socket longshore-helper.service 2>/dev/null || true
    longshore-agent processes $processes >/dev/null
    changed=yes
fi

reload=
if [ $processes = two ]; then
    for unit in longshore-agent.service longshore-helper.service longshore-helper.socket; do
        if ! cmp -s "$units/$unit" $installed/$unit; then
            put "$units/$unit" $installed/$unit 0644
            reload=yes
        fi
    done
else
    if ! cmp -s "$units/longshore-agent-single.service" $installed/longshore-agent.service; then
        put "$units/longshore-agent-single.service" $installed/longshore-agent.service 0644
        reload=yes
    fi
    for unit in longshore-helper.socket longshore-helper.service; do
        [ ! -e $installed/$unit ] || { systemctl disable --quiet --now $unit; rm $installed/$unit; reload=yes; }
    done
fi
if [ -n "$reload" ]; then changed=yes; systemctl daemon-reload; fi

systemctl enable --quiet longshore-agent.service
if [ $processes = two ]; then
    systemctl enable --quiet longshore-helper.socket
    # One that runs the version before goes; the agent's next word starts it again.
    if [ -n "$changed" ]; then systemctl stop longshore-helper.service; fi
    systemctl start longshore-helper.socket
fi
if [ -n "$changed" ]; then systemctl restart longshore-agent.service; else systemctl start longshore-agent.service; fi

case $processes in
    two) what='longshore-agent.service runs, its helper starts when it is asked (longshore-helper.socket)' ;;
    *) what='longshore-agent.service runs, as one process' ;;
esac
[ -n "$changed" ] || what="nothing was to be done: $what"
echo "$what; it starts with this host. Look: longshore-agent status"
