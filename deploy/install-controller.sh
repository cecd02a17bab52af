#!/bin/sh
# Installs the controller on this machine, as a user of its own, and starts it. Run it as often as you like: what is done is
# left alone, and a newer binary or unit beside this script is taken up.
#
#   sh install-controller.sh --name deploy.example --name 10.0.0.2
#
# Expects longshore-controller and its unit beside itself (or in systemd/ there). The names are those by which hosts and
# operators reach this machine; they are needed the first time only.
set -eu

usage='usage: install-controller.sh --name NAME [--name NAME...]'
names=
while [ $# -gt 0 ]; do
    case "$1" in
        --name)
            # Names are split at spaces below, and hold none.
            case "${2:?--name needs a name or an address}" in
                *[!A-Za-z0-9.:-]* | -*) echo "install-controller.sh: \"$2\" is no name and no address" >&2; exit 2 ;;
            esac
            names="$names --name $2"
            shift 2
            ;;
        *) echo "$usage" >&2; exit 2 ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
program=$here/longshore-controller
unit=$here/longshore-controller.service
[ -e "$unit" ] || unit=$here/systemd/longshore-controller.service
installed=/etc/systemd/system/longshore-controller.service
user=longshore-controller
state=/var/lib/longshore-controller

# Asked before anything is changed: what would be missing halfway is missing now.
refuse() {
    echo "install-controller.sh: $1. Nothing was changed" >&2
    exit 4
}
[ "$(id -u)" = 0 ] || refuse 'must be run as root'
# A unit in /etc would hide the package's, and every newer one.
if [ -e /usr/lib/systemd/system/longshore-controller.service ]; then
    hides=
    if [ -e $installed ]; then hides="; $installed hides the package's unit: rm it, then systemctl daemon-reload"; fi
    refuse "the package longshore-controller is installed here and has program and unit: a newer package updates them. To set \
it up: runuser -u $user -- longshore-controller init --dir $state --name NAME, then systemctl enable --now \
longshore-controller. To have this script do it: apt-get remove longshore-controller first, which leaves $state$hides"
fi
[ -f "$program" ] || refuse "there is no program $program: copy the one that was built to there"
[ -f "$unit" ] || refuse "there is no unit $unit: copy it from deploy/systemd to there"
[ -d /run/systemd/system ] || refuse 'this machine does not run systemd; without it: longshore-controller init, then serve'
for needed in cmp getent install mv runuser systemctl useradd; do
    command -v $needed >/dev/null || refuse "there is no command $needed on this machine"
done
if [ ! -e $state/controller.toml ] && [ -z "$names" ]; then
    echo "install-controller.sh: no controller is set up here yet; $usage" >&2
    exit 2
fi

# Replaces $2 by $1 in one rename.
put() {
    install -m "$3" "$1" "$2.new"
    mv "$2.new" "$2"
}

# What fails in a condition does not end the script: nothing is done there but to compare.
changed=
if ! cmp -s "$program" /usr/bin/longshore-controller; then
    put "$program" /usr/bin/longshore-controller 0755
    changed=yes
fi
if ! cmp -s "$unit" $installed; then
    put "$unit" $installed 0644
    changed=yes
    systemctl daemon-reload
fi
if ! getent passwd $user >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin $user
fi
# It owns its folder, and so nobody but it and root reads the authority's key.
install -d -m 0700 -o $user -g $user $state

if [ ! -e $state/controller.toml ]; then
    # shellcheck disable=SC2086 # each of them is two words
    said=$(runuser -u $user -- longshore-controller init --dir $state $names)
    # It is started below.
    printf '%s\n' "$said" | sed '/^Start it: /d'
fi

systemctl enable --quiet longshore-controller.service
# A restart loses nothing: it resumes from the store.
if [ -n "$changed" ]; then
    systemctl restart longshore-controller.service
else
    systemctl start longshore-controller.service
fi
echo "longshore-controller.service runs and starts with this machine; the first operator's folder is $state/operator"
