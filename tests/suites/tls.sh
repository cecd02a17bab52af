#!/usr/bin/env bash
# testssl.sh and sslyze (Mozilla's modern profile) against both ports of a controller that runs.
#
#   apt-get install testssl.sh; pip install sslyze
#   cargo build --workspace && tests/suites/tls.sh
#
# Fails on anything that testssl.sh rates LOW or worse, apart from what comes of a CA of one's own (public trust, lists of
# revoked certificates, DNS records) and of certificates that renew themselves every month, and on anything that the modern
# profile does not allow.
#
# site.sh says where everything is.
# shellcheck disable=SC1091,SC2154

. "$(dirname "$0")/site.sh"
need testssl sslyze
raise_controller

# look PORT: what both say of it.
look() {
    local port=$1 failed=0 of=$site/${1##*:}
    echo "== testssl $port"
    testssl --quiet --warnings off --color 0 --nodns none --protocols --server-defaults --fs --vulnerable --server-preference \
        --jsonfile-pretty "$of.json" "$port" >"$of-testssl.txt" 2>&1 || true
    [ -s "$of.json" ] || { cat "$of-testssl.txt"; return 1; }
    python3 - "$of.json" <<'END' || failed=1
import json, sys
own_ca = {"cert_chain_of_trust", "cert_revocation", "cert_crlDistributionPoints", "cert_ocspURL", "OCSP_stapling",
          "cert_caIssuers", "DNS_CAArecord", "certificate_transparency", "scanTime", "engine_problem", "cert_trust",
          "cert_expirationStatus", "cert_notAfter"}
bad = {"LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL"}
seen, found = 0, []
def walk(node):
    global seen
    if isinstance(node, dict):
        if "id" in node and "severity" in node:
            seen += 1
            if node["severity"] in bad and not any(node["id"].startswith(known) for known in own_ca):
                found.append(f'{node["severity"]:8} {node["id"]}: {node["finding"]}')
        for value in node.values():
            walk(value)
    elif isinstance(node, list):
        for value in node:
            walk(value)
walk(json.load(open(sys.argv[1])))
print(f"{seen} findings looked at, {len(found)} bad")
print("\n".join(found))
sys.exit(bool(found) or seen < 40)
END
    echo "== sslyze $port"
    # Without a certificate of a client also on the main port: TLS 1.3 asks for it after all that is looked at here.
    sslyze --mozilla_config=modern --certinfo_ca_file="$site/ctl/operator/ca.pem" "$port" >"$of-sslyze.txt" 2>&1 || true
    if grep -q "OK - Compliant" "$of-sslyze.txt"; then
        grep "Compliant" "$of-sslyze.txt"
    else
        sed -n '/COMPLIANCE/,$p' "$of-sslyze.txt"
        failed=1
    fi
    return $failed
}

# Both at once, since most of it is waiting; what is said of them comes one after the other.
look "$main" >"$site/main.txt" 2>&1 &
of_main=$!
failed=0
look "$enrol" >"$site/enrol.txt" 2>&1 || failed=1
wait "$of_main" || failed=1
cat "$site/main.txt" "$site/enrol.txt"
exit $failed
