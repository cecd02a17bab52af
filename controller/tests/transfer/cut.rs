//! A transfer that is cut at any byte goes on, and never makes a slot by half.

use longshore_agent::host::{Sink, fetch::fetch, stage::seal};

use longshore_common::bundle::limits;

use super::dock::{Cutter, Dock, Way, app, assert_same, channel, content};

/// Places at which the transfer is cut.
const CUTS: u64 = 64;

/// Scenarios 57, 71 and 74: wherever it is cut, what came counts, what is missing is fetched, and no half tree is sealed.
#[tokio::test]
async fn a_transfer_cut_at_every_64th_goes_on_where_it_was() {
    let dock = Dock::open().await;
    let files: Vec<(String, Vec<u8>)> =
        (0..60).map(|n| (format!("d{}/f{n}", n % 7), content(n, 30_000 + n as usize * 977))).collect();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    let source = dock.source("1.0", &files);
    let release = dock.publish(&source).await.unwrap();
    let wanted = dock.assign(&release).await;
    let cutter = Cutter::before(dock.host_address(), Way::ToClient).await;
    let disk = dock.disk("whole");
    dock.fetch_over(channel(cutter.address), &disk, &wanted).await.unwrap();
    let whole = cutter.cut_after(0);
    let mut sent_twice = 0;
    for cut in 0..CUTS {
        let disk = dock.disk(&format!("cut-{cut}"));
        let at = (whole * cut / CUTS).max(1);
        cutter.cut_after(at);
        let error = dock.fetch_over(channel(cutter.address), &disk, &wanted).await.unwrap_err();
        assert!(error.is_retryable(), "cut at {at} of {whole}: {error}");
        assert!(seal(&disk, &app(), &wanted).is_err(), "half a tree is never sealed");
        assert!(disk.sealed(&app()).unwrap().is_empty());
        let before = cutter.cut_after(0);
        fetch(channel(cutter.address), &disk, &app(), &wanted, &Sink::nowhere()).await.unwrap();
        sent_twice += (before + cutter.cut_after(0)).saturating_sub(whole);
        seal(&disk, &app(), &wanted).unwrap();
        assert_same(&disk, &wanted, &source);
    }
    // What a cut costs: the piece and the file it fell into, the decoder's last words, manifest and index at most.
    let lost = sent_twice / CUTS;
    assert!(lost < limits::PIECE_BYTES as u64 * 3 / 2, "{lost} of {whole} bytes came twice on average");
}

#[tokio::test]
async fn a_fetch_that_is_given_up_leaves_the_tree_to_the_next() {
    let dock = Dock::open().await;
    let files: Vec<(String, Vec<u8>)> = (0..200).map(|n| (format!("f{n}"), content(n, 60_000))).collect();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    let source = dock.source("1.0", &files);
    let release = dock.publish(&source).await.unwrap();
    let wanted = dock.assign(&release).await;
    for pause in [1, 5, 20, 40] {
        let disk = dock.disk(&format!("after-{pause}"));
        let given_up = tokio::time::timeout(
            std::time::Duration::from_millis(pause),
            dock.fetch_over(dock.host_channel(), &disk, &wanted),
        );
        // Whether it was done by then does not matter.
        drop(given_up.await);
        dock.deploy(&disk, &wanted).await.unwrap();
        assert_same(&disk, &wanted, &source);
    }
}
