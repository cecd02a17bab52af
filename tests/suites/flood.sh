#!/usr/bin/env bash
# slowhttptest and h2load against both ports while rollouts go through: nobody is kept out, nothing piles up.
#
#   apt-get install slowhttptest nghttp2-client
#   cargo build --workspace && tests/suites/flood.sh
#
# Fails when a rollout fails, when half of them take more than three times as long as without the flood and five seconds,
# when the controller grows by more than 64 MiB, or when it holds more than a few connections afterwards. The slowest is
# shown and decides nothing: a machine may stand still during any one of them.
#
# site.sh says where everything is.
# shellcheck disable=SC1091,SC2154

. "$(dirname "$0")/site.sh"
need slowhttptest h2load
raise_controller
raise_host
seconds=${SECONDS_EACH:-15}

memory() { awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$controller/status"; }
# Some are closed while they are counted.
held() { { find "/proc/$controller/fd" -mindepth 1 2>/dev/null || true; } | wc -l; }
timed() { local from; from=$(date +%s%N); "$@" || return; echo $((($(date +%s%N) - from) / 1000000)); }

# middle NUMBER...: half of them are no larger.
middle() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

roll_out 1.0
calm=$(middle "$(timed roll_out 1.1)" "$(timed roll_out 1.2)" "$(timed roll_out 1.3)")
before=$(memory) open=$(held) number=3
echo "calm: a rollout takes $calm ms, the controller $before MiB, $open descriptors"

# flood NAME COMMAND...: rolls out while it runs against both ports at once; PORT in it stands for each.
flood() {
    local name=$1 worst=0 all=() took usual port attacks=()
    shift
    for port in "$main" "$enrol"; do
        "${@//PORT/$port}" >"$site/$name-${port##*:}.txt" 2>&1 &
        attacks+=("$!")
    done
    pids+=("${attacks[@]}")
    while kill -0 "${attacks[0]}" 2>/dev/null || kill -0 "${attacks[1]}" 2>/dev/null; do
        number=$((number + 1))
        took=$(timed roll_out "1.$number") || { echo "$name: rollout 1.$number failed" >&2; tail -5 "$site/controller.log" >&2; exit 1; }
        [ "$took" -le "$worst" ] || worst=$took
        all+=("$took")
    done
    wait "${attacks[@]}" || true
    for port in "$main" "$enrol"; do
        echo "$name-${port##*:}: $(sed -n 's/\x1b\[[0-9;]*m//g; /^\(closed\|connected\|error\|pending\|service available\|exit status\|requests\|status codes\):/Ip' \
            "$site/$name-${port##*:}.txt" | tail -n 5 | tr -s ' \n' ' ')"
    done
    [ "${#all[@]}" != 0 ] || { echo "$name: no rollout went through" >&2; exit 1; }
    usual=$(middle "${all[@]}")
    echo "$name: ${#all[@]} rollouts, half of them within $usual ms, the slowest $worst ms; $(memory) MiB, $(held) descriptors"
    [ "$usual" -le $((3 * calm + 5000)) ] || { echo "$name: too slow" >&2; exit 1; }
}

for attack in -H -B -X; do # headers, bodies, reads: each slowly
    flood "slowhttptest$attack" slowhttptest $attack -c 400 -r 100 -i 2 -l "$seconds" -u "https://PORT/longshore.v1.Enrolment/Enroll" -p 2
done
printf '\0\0\0\0\0' >"$site/empty.grpc"
for streams in 4 64; do # as many as a stranger may have, and more
    flood "h2load-m$streams" h2load -c 40 -m "$streams" -D "$seconds" -d "$site/empty.grpc" -H 'content-type: application/grpc' -H 'te: trailers' "https://PORT/longshore.v1.Enrolment/Enroll"
done
after=$(memory)
[ $((after - before)) -le 64 ] || { echo "the controller grew from $before to $after MiB" >&2; exit 1; }
until_true "the end of all their connections" sh -c "[ \$(find /proc/$controller/fd -mindepth 1 | wc -l) -le $((open + 8)) ]"
echo "afterwards: $after MiB, $(held) descriptors; $number rollouts went through"
