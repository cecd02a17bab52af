//! Gates as they are written, and what is said of mistakes in them.

use crate::config::Environment;

const HEAD: &str = "[environment]\nname = \"p\"\nselector = \"env=p\"\n";

fn problems(gates: &str) -> String {
    Environment::parse("p.toml", &format!("{HEAD}{gates}")).unwrap_err().to_string()
}

/// The examples of the docs are files that work.
#[test]
fn every_example_of_the_docs_is_sound() {
    let docs = include_str!("../../../../../docs/gates.md");
    let examples: Vec<&str> =
        docs.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let gates: Vec<&&str> = examples.iter().filter(|text| text.contains("[[gate]]")).collect();
    for kind in ["probe", "test", "metrics", "app", "approval", "webhook", "http"] {
        let word = format!("kind = \"{kind}\"");
        assert!(gates.iter().any(|text| text.contains(&word)), "no example of {kind}");
    }
    for text in gates {
        let env =
            Environment::parse("docs/gates.md", &format!("{HEAD}[roles]\nsre = [\"ann\", \"bea\"]\n{text}"));
        let env = env.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert!(!env.gates.is_empty() && env.gates.len() == env.spec.gates.len());
    }
}

#[test]
fn every_problem_of_a_gate_is_named() {
    let text = "[[gate]]\nname = \"A B\"\nkind = \"metrics\"\nafter = \"canary\"\nprometheus = \"ftp://p\"\nquery = \"up\"\nmax = 1\nwindow = \"20m\"\nsamples = 0\n\
                [[gate]]\nname = \"b\"\nkind = \"webhok\"\nafter = \"never\"\n\
                [[gate]]\nname = \"c\"\nkind = \"app\"\nafter = \"before\"\nin_watch = true\n\
                [[gate]]\nname = \"d\"\nkind = \"probe\"\nafter = \"canary\"\n[[gate.reach]]\ntcp = \"nowhere\"\nfrom = [\"web-1\"]\nexpect = \"perhaps\"\n\
                [[gate]]\nname = \"e\"\nkind = \"http\"\nafter = \"canary\"\nurl = \"http://ann:pw@x/\"\non_fail = \"explode\"\nca = \"ca.pem\"\n";
    let said = problems(text);
    for part in [
        "gate.name: \"A B\" is invalid",
        "gate.prometheus: \"ftp://p\" is no URL: it has to begin with http:// or https://",
        "gate.window: 20m does not fit into the deadline of 10m",
        "gate.samples: must be at least 1",
        "gate.kind: \"webhok\" is none of probe, test, metrics, app, approval, webhook, http",
        "gate.after: \"never\" is none of before, canary, every-wave, last-wave",
        "gate: needs one of restarts, errors_per_minute, cpu_percent, memory",
        "gate.after: a gate \"before\" has no bake or watch beside it",
        "gate.reach.tcp: \"nowhere\" is not host:port",
        "gate.reach.expect: must be \"allow\" or \"deny\"",
        "credentials do not belong into an address",
        "gate.on_fail: \"explode\" is none of continue, pause, rollback",
        "gate.ca: must be an absolute path",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
    assert!(!said.contains("pw@"), "{said}");
    let twice = "[[gate]]\nname = \"a\"\nkind = \"approval\"\nafter = \"canary\"\n".repeat(2);
    assert!(problems(&twice).contains("there are two gates \"a\""));
    let and_wrong = twice.replacen("\"approval\"", "\"aproval\"", 1);
    for part in ["gate.kind: \"aproval\" is none of", "there are two gates \"a\""] {
        assert!(problems(&and_wrong).contains(part), "{part}");
    }
    let nobody = "[[gate]]\nname = \"a\"\nkind = \"approval\"\nafter = \"canary\"\nby = []\ncount = 0\n";
    assert!(problems(nobody).contains("gate.count: must be at least 1"));
    let few = nobody.replace("[]", "[\"ann\"]");
    assert!(problems(&few).contains("gate.count: must be 1 to the 1 who may approve"));
    let none = "[rollout]\ncanary = 0\n[[gate]]\nname = \"a\"\nkind = \"approval\"\nafter = \"canary\"\n";
    assert!(problems(none).contains("there is no canary"));
}

/// What is sent is data: it is checked to the letter, and what was kept before there was any reads as it was.
#[test]
fn headers_are_read_where_the_controller_asks() {
    let http = |headers: &str| {
        format!(
            "[[gate]]\nname = \"a\"\nkind = \"http\"\nafter = \"canary\"\nurl = \"http://x/\"\nheaders = {{ {headers} }}\n"
        )
    };
    let reach = |from: &str, headers: &str| {
        format!(
            "[[gate]]\nname = \"b\"\nkind = \"probe\"\nafter = \"canary\"\n[[gate.reach]]\nhttp = \"http://x/\"\n\
             from = [\"{from}\"]\nheaders = {{ {headers} }}\n"
        )
    };
    let kept = |gates: &str| {
        let read = Environment::parse("p.toml", &format!("{HEAD}{gates}")).unwrap();
        serde_json::to_string(&read.gates).unwrap()
    };
    let host = "Host = \"shop.example\", X-Probe = 1";
    for gate in [http(host), reach("controller", host)] {
        let json = kept(&gate);
        assert!(json.contains(r#""headers":{"Host":"shop.example","X-Probe":"1"}"#), "{json}");
        let back: Vec<crate::gate::Declaration> = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
    }
    for gate in [http(""), reach("web-1", "")] {
        assert!(!kept(&gate).contains("headers"), "{gate}");
    }
    for (gate, says) in [
        (http("Host = \"x/y\""), "gate.headers: \"Host\" has to be like shop.example"),
        (http("X = \"a\\r\\nFLUSHALL\""), "gate.headers: the value of \"X\" has to be visible ASCII"),
        (http("Content-Length = 4"), "gate.headers: \"Content-Length\" is about the connection"),
        (http("Metadata-Flavor = \"Google\""), "gate.headers: \"Metadata-Flavor\" opens a cloud's metadata"),
        (http("X = \"$version\""), "gate.headers: $version is put into addresses only"),
        (reach("controller", "\"X Y\" = 1"), "gate.reach.headers: \"X Y\" is no name of a header"),
        (reach("web-1", host), "TLS, headers and bodies are the controller's"),
    ] {
        let said = problems(&gate);
        assert!(said.contains(says) && said.lines().count() == 1, "{says}: {said}");
    }
    let tcp = reach("controller", host).replace("http = \"http://x/\"", "tcp = \"x:1\"");
    assert!(problems(&tcp).contains("unknown key \"headers\" in [gate.reach]"));
}

/// What is wrong with one key says nothing against the others.
#[test]
fn no_key_is_unknown_because_another_is_wrong() {
    for gate in [
        "kind = \"test\"\non = \"web-1\"\n",
        "kind = \"tset\"\nafter = \"canary\"\ntest = \"smoke\"\non = \"web-1\"\n",
        "kind = \"probe\"\nafter = \"canary\"\nevery = \"1s\"\nca = \"/ca.pem\"\n[[gate.reach]]\nstatus = 200\n",
        "kind = \"probe\"\nafter = \"canary\"\n[[gate.reach]]\nhttp = \"ftp://x\"\nstatus = 200\nbody = \"ok\"\n",
        "kind = \"probe\"\nafter = \"canary\"\n[[gate.reach]]\ndns = 7\naddress = \"10.0.0.1\"\n",
    ] {
        let said = problems(&format!("[[gate]]\nname = \"a\"\n{gate}"));
        assert!(!said.contains("unknown key"), "{said}");
    }
    for section in [
        "[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nsteps = [\"some\"]\nbalancers = \"role=lb\"\nport = 80\n",
        "[traffic]\ndriver = \"nginx\"\nbackend = \"shop\"\nbalancers = \"role=lb\"\n[traffic.groups]\ngreen = \"a=b\"\nwarm = \"5m\"\n",
        "[[stakeholders.tell]]\nname = \"a\"\nsecret = \"b\"\n",
        "[[stakeholders.tell]]\nname = \"a\"\nwebhook = 7\nsecret = \"b\"\n",
    ] {
        let said = problems(section);
        assert!(!said.contains("unknown key"), "{said}");
    }
    let said = problems("[[promotion.after]]\nenv = \"A B\"\nlived = \"1h\"\ngates = [\"smoke\"]\n");
    assert!(said.contains("environment name \"A B\" is invalid") && !said.contains("unknown key"), "{said}");
}

/// Where the selector says so without labels; else a plan does.
#[test]
fn a_test_on_a_host_that_balances_the_environment_is_refused() {
    let file = |hosts: &str| {
        format!(
            "{HEAD}[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nbalancers = \"{hosts}\"\n\
             [[gate]]\nname = \"smoke\"\nkind = \"test\"\nafter = \"canary\"\ntest = \"smoke\"\non = \"te-lb\"\n"
        )
    };
    let said = Environment::parse("p.toml", &file("name=te-lb")).unwrap_err().to_string();
    assert!(
        said.contains(
            "gate.on: te-lb balances the environment's hosts (traffic.balancers) and cannot run its tests"
        ),
        "{said}"
    );
    assert!(Environment::parse("p.toml", &file("role=lb")).is_ok());
    assert!(Environment::parse_kept("p.toml", &file("name=te-lb")).is_ok(), "it was applied before");
}
