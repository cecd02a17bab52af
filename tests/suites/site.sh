# A controller and a host on this machine, below one temporary folder, for suites of others: sourced by each of them.
# Needs built programs (LONGSHORE_BIN_DIR, or target/debug). Listens on the loopback only; ends what it started.
# shellcheck shell=bash
set -euo pipefail

bin=${LONGSHORE_BIN_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/target/debug}
site=$(mktemp -d)
# An address of this run's own, so that the usual ports are free on it.
address=127.88.$(($$ / 256 % 256)).$(($$ % 256))
main=$address:7440
enrol=$address:7443
pids=()
export LONGSHORE_CONTEXT=$site/ctl/operator HOME=$site
unset XDG_CONFIG_HOME

need() {
    for program in "$@"; do
        command -v "$program" >/dev/null || { echo "missing: $program" >&2; exit 2; }
    done
}

cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$site"
}
trap cleanup EXIT

# until_true WHAT COMMAND...: for two minutes at least.
until_true() {
    local what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || { echo "never came: $what" >&2; exit 1; }
        sleep 0.2
    done
}

raise_controller() {
    "$bin/longshore-controller" init --dir "$site/ctl" --name "$address" --listen "$main" --enrol-listen "$enrol" >/dev/null
    "$bin/longshore-controller" serve --config "$site/ctl/controller.toml" 2>"$site/controller.log" &
    controller=$!
    pids+=("$controller")
    until_true "the controller" "$bin/longshore" status
}

raise_host() {
    local token user=""
    token=$("$bin/longshore" token create --unsigned --label role=web -o json | sed -n 's/.*"token": *"\([^"]*\)".*/\1/p')
    printf '%s' "$token" | "$bin/longshore-agent" --root "$site/host" enroll --server "$enrol" --token-file - --driver process --name web-1 >/dev/null
    "$bin/longshore-agent" --root "$site/host" run 2>"$site/agent.log" &
    pids+=("$!")
    until_true "the host" sh -c "'$bin/longshore' host list | grep -q connected"
    [ "$(id -u)" != 0 ] || user='user = "root"'
    mkdir -p "$site/app/dist"
    printf '#!/bin/sh\nexec sleep 1000\n' >"$site/app/dist/run"
    chmod 755 "$site/app/dist/run"
    cat >"$site/app/longshore.toml" <<END
[app]
name = "shop"
[artifact]
path = "dist"
[service]
exec = ["./run"]
$user
[[probe]]
name = "there"
exec = ["/bin/sh", "-c", "test -e run"]
interval = "100ms"
healthy_for = "200ms"
timeout = "1m"
deadline = "5m"
END
    cat >"$site/prod.toml" <<END
[environment]
name = "prod"
selector = "role=web"
[rollout]
canary = 1
canary_bake = "100ms"
wave = 1
bake = "100ms"
END
    "$bin/longshore" env apply "$site/prod.toml" >/dev/null
}

# roll_out VERSION: its exit code is the rollout's.
roll_out() {
    printf '%s' "$1" >"$site/app/dist/version"
    "$bin/longshore" release publish "$site/app" --version "$1" >/dev/null
    "$bin/longshore" rollout start "shop@$1" --to prod --wait --timeout 10m >/dev/null
}
