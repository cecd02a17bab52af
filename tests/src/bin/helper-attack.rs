//! Somebody owns the agent: with its user and the helper's socket this program says everything that is not allowed, and
//! prints one line for each: what it was, and how it was answered. Ends with 1 when something was not refused.

use std::env;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use longshore_agent::helper::VERSION;
use serde_json::{Value, json};

/// For an answer; a refusal comes at once.
const ANSWER: Duration = Duration::from_secs(20);
const SOCKET: &str = "/run/longshore-helper.sock";

/// `helper-attack HOST GENERATION RELEASE`: the host's own id, a generation below the one that it has, and the digest
/// of a release that it may run.
fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [host, generation, release] = &args[..] else { return ExitCode::from(2) };
    let older: u64 = generation.parse().unwrap_or(0);
    let newer = older + 1_000_000;
    let unsigned = "ab".repeat(32);
    let assign = |host: &str, app: &str, version: &str, release: &str, generation: u64| {
        let assignment = json!({
            "host": host, "app": app, "env": "lab", "rollout": "00000000-0000-0000-0000-000000000009",
            "generation": generation, "version": version, "release": release, "intent": "run", "keep_slots": 2,
        });
        asked(VERSION, &json!({ "assign": { "assignment": assignment } }))
    };
    let whole = asked(VERSION, &json!({ "trust": {} }));
    let tries: Vec<(&str, Vec<u8>)> = vec![
        ("torn", whole[..whole.len() - 2].to_vec()),
        ("endless", [&b"w"[..], &u32::MAX.to_be_bytes()].concat()),
        ("of no kind", framed(b'x', b"{}")),
        ("no JSON", framed(b'w', b"\xff\x00")),
        ("another version", asked(99, &json!({ "trust": {} }))),
        ("an unknown verb", asked(VERSION, &json!({ "exec": { "run": ["/bin/sh"] } }))),
        ("an unknown field", asked(VERSION, &json!({ "trust": { "root": "x" } }))),
        ("an app of dots", assign(host, "../../etc", "1.0", release, newer)),
        ("an app in the place of the agent's own unit", assign(host, "agent", "1.0", release, newer)),
        ("an app in the place of its own unit", assign(host, "helper", "1.0", release, newer)),
        ("an app in the place of a side of another", assign(host, "shop-blue", "1.0", release, newer)),
        ("a version of a path", assign(host, "shop", "../1.0", release, newer)),
        (
            "a slot of a path",
            asked(VERSION, &json!({ "revert": { "app": "shop", "to": "../x", "by": "root" } })),
        ),
        (
            "another app's way back",
            asked(VERSION, &json!({ "revert": { "app": "other", "to": null, "by": "root" } })),
        ),
    ];
    let mut passed = 0;
    for (what, bytes) in tries {
        passed += u32::from(!refused(what, &bytes));
    }
    // Taken by word, and refused by what they are: how they ended is told by the host itself.
    for (what, bytes) in [
        ("an older generation", assign(host, "shop", "1.0", release, older)),
        ("another host", assign("00000000-0000-0000-0000-000000000001", "shop", "1.0", release, newer)),
        ("an unsigned release", assign(host, "shop", "6.6", &unsigned, newer)),
    ] {
        println!("{what}: {}", say(&bytes).unwrap_or_else(|error| error.to_string()));
    }
    ExitCode::from(u8::from(passed > 0))
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

fn asked(version: u32, ask: &Value) -> Vec<u8> {
    framed(b'w', json!({ "version": version, "ask": ask }).to_string().as_bytes())
}

fn refused(what: &str, bytes: &[u8]) -> bool {
    match say(bytes) {
        Ok(answer) => {
            println!("{what}: {answer}");
            answer.contains("\"no\"") && answer.contains("LS-")
        }
        Err(error) => {
            println!("{what}: {error}");
            false
        }
    }
}

/// Says it, and reads one answer.
fn say(bytes: &[u8]) -> io::Result<String> {
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize];
    stream.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
