//! Somebody between a host and its controller: an impostor at its address, with all of our programs and a CA of its own;
//! and a relay that changes what it passes on.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use longshore_tests::{Process, run};

use crate::signed::Signed;
use crate::site::{ASK, program_called};

/// LS-E04: neither a host, nor one that would enrol, nor an operator says a word to it.
#[test]
fn an_impostor_at_the_controllers_address_hears_nothing() {
    let mut site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    let token = site.ops(["token", "create", "-o", "json"]).success().unwrap();
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let token = token["token"].as_str().unwrap().to_owned();
    site.bring_up_to_date();
    let before = site.snapshot();
    site.0.controller.take();

    let (main, enrol) = (format!("{}:7440", site.0.address), format!("{}:7443", site.0.address));
    let dir = site.0.text("evil");
    let init =
        ["init", "--dir", &dir, "--name", &site.0.address, "--listen", &main, "--enrol-listen", &enrol];
    run(program_called("longshore-controller").args(init), ASK).unwrap().success().unwrap();
    let mut serve = program_called("longshore-controller");
    serve.args(["serve", "--config", &site.0.text("evil/controller.toml")]);
    let mut evil = Process::start(&mut serve).unwrap();
    evil.until_it_says("serving", ASK).unwrap();

    let agent = site.0.agent.as_mut().unwrap();
    agent.until_it_says("LS-E04", ASK).unwrap();
    agent.until_it_says("wrong address or interception", ASK).unwrap();
    let joining = site.0.enrol("other", &token).code_is(4).unwrap();
    assert!(joining.everything().contains("LS-E04"), "{joining}");
    assert!(!site.0.path("other/var/lib/longshore/identity/cert.pem").exists());
    let operator = site.ops(["host", "list"]);
    assert!(operator.code != Some(0) && operator.everything().contains("LS-E04"), "{operator}");
    let released = site.publish("1.1");
    assert!(released.code != Some(0) && released.everything().contains("LS-E04"), "{released}");

    let as_evil = [("LONGSHORE_CONTEXT", site.0.text("evil/operator"))];
    let as_evil: Vec<(&str, &str)> = as_evil.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let hosts = site.ops_with(["host", "list", "-o", "json"], &as_evil).success().unwrap();
    assert!(hosts.contains("\"hosts\": []"), "{hosts}");
    let said = evil.so_far();
    assert!(!said.contains(token.split('.').nth(2).unwrap()), "the token reached it: {said}");
    assert_eq!(site.snapshot(), before);
    assert_eq!(site.0.runs().as_deref(), Some("1.0"));

    drop(evil);
    site.0.serve();
    site.0.until_connected();
    site.publish("1.1").success().unwrap();
    site.roll_out("1.1").code_is(0).unwrap();
}

/// A bit of every message, in either direction: no session comes about, nothing changes, and what is true comes through
/// as soon as nobody changes it.
#[test]
fn a_relay_that_changes_bits_ends_every_connection() {
    let mut site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    site.bring_up_to_date();
    let before = site.snapshot();
    site.0.controller.take();
    site.0.agent.take();
    // The relay has the address that everybody knows.
    site.0.edit("ctl/controller.toml", ":7440", ":7450");
    site.0.serve();
    let (spoils, relayed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    relay(&site.0.address, spoils.clone(), relayed.clone());

    let mut agent = program_called("longshore-agent");
    agent.args(["--root", &site.0.text("host"), "run"]);
    let agent = site.0.agent.insert(Process::start(&mut agent).unwrap());
    agent.until_it_says("LS-C01", ASK).unwrap();
    // A broken connection, one that cannot be decrypted, or the word with which one side hangs up, turned into any other.
    let operator = site.ops(["host", "list"]);
    let said = operator.everything();
    let refused = ["LS-C01", "LS-E04", "LS-C02"].iter().any(|code| said.contains(code));
    assert!(operator.code != Some(0) && refused, "{operator}");
    // A try may last until its deadlines, twenty seconds and more, with a pause of up to thirty behind it.
    longshore_tests::until(3 * ASK, "a few more tries", || {
        Ok((relayed.load(Ordering::Relaxed) >= 4).then_some(()))
    })
    .unwrap();
    let said = site.0.agent.as_ref().unwrap().so_far();
    assert!(!said.contains("connected controller") && !said.contains("panicked"), "{said}");
    assert_eq!(site.snapshot(), before);

    spoils.store(false, Ordering::Relaxed);
    site.0.until_connected();
    site.publish("1.1").success().unwrap();
    site.roll_out("1.1").code_is(0).unwrap();
}

/// From the known port to the controller's. While it spoils, the last bit of every message is another one.
fn relay(address: &str, spoils: Arc<AtomicBool>, relayed: Arc<AtomicUsize>) {
    let listener = TcpListener::bind((address, 7440)).unwrap();
    let to = format!("{address}:7450");
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let Ok(far) = TcpStream::connect(&to) else { continue };
            relayed.fetch_add(1, Ordering::Relaxed);
            for (from, into) in [(&near, &far), (&far, &near)] {
                let (from, into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                let spoils = spoils.clone();
                std::thread::spawn(move || pass_on(from, into, &spoils));
            }
        }
    });
}

fn pass_on(mut from: TcpStream, mut into: TcpStream, spoils: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if spoils.load(Ordering::Relaxed) {
            buffer[count - 1] ^= 1;
        }
        if into.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), into.shutdown(Shutdown::Both)));
}
