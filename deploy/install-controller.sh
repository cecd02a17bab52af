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
[ "$(id -u)" = 0 ] || { echo 'install-controller.sh: must be run as root' >&2; exit 4; }

here=$(cd "$(dirname "$0")" && pwd)
unit=$here/longshore-controller.service
[ -e "$unit" ] || unit=$here/systemd/longshore-controller.service
user=longshore-controller
state=/var/lib/longshore-controller

# Replaces $2 by $1 in one rename when they differ; says whether it did.
put() {
    if cmp -s "$1" "$2"; then return 1; fi
    install -m "$3" "$1" "$2.new"
    mv "$2.new" "$2"
}

changed=
if put "$here/longshore-controller" /usr/bin/longshore-controller 0755; then changed=yes; fi
if put "$unit" /etc/systemd/system/longshore-controller.service 0644; then
    changed=yes
    systemctl daemon-reload
fi
if ! getent passwd $user >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin $user
fi
# It owns its folder, and so nobody but it and root reads the authority's key.
install -d -m 0700 -o $user -g $user $state

if [ ! -e $state/controller.toml ]; then
    [ -n "$names" ] || { echo "install-controller.sh: no controller is set up here yet; $usage" >&2; exit 2; }
    # shellcheck disable=SC2086 # each of them is two words
    runuser -u $user -- longshore-controller init --dir $state $names
fi

systemctl enable --quiet longshore-controller.service
# A restart loses nothing: it resumes from the store.
if [ -n "$changed" ]; then
    systemctl restart longshore-controller.service
else
    systemctl start longshore-controller.service
fi
echo "longshore-controller.service runs and starts with this machine; the first operator's folder is $state/operator"
