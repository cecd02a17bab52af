//! A repository made by another implementation (python-tuf 7) verifies here.

use super::setup::{NOW, manifest};
use crate::{
    digest::sha256,
    trust::{Anchor, FLEET, Offer, update},
};

macro_rules! made_by_python {
    ($app:literal) => {{
        let root = include_bytes!(concat!("python_tuf/", $app, "/1.root.json")).to_vec();
        Offer {
            roots: vec![root],
            timestamp: include_bytes!(concat!("python_tuf/", $app, "/timestamp.json")).to_vec(),
            snapshot: include_bytes!(concat!("python_tuf/", $app, "/snapshot.json")).to_vec(),
            targets: include_bytes!(concat!("python_tuf/", $app, "/targets.json")).to_vec(),
        }
    }};
}

#[test]
fn what_python_tuf_signs_verifies_here() {
    let dir = tempfile::tempdir().unwrap();
    let offer = made_by_python!("fleet");
    let pin = Anchor::Pin(sha256(&offer.roots[0]));
    let fleet = update(FLEET, &pin, None, &offer, NOW, dir.path()).unwrap();
    let anchor = Anchor::of_fleet(&fleet).unwrap();
    let shop = update("shop", &anchor, None, &made_by_python!("shop"), NOW, dir.path()).unwrap();
    let catalog = shop.catalog("shop").unwrap();
    catalog.admit(&"1.0".parse().unwrap(), &manifest("1.0"), shop.floor).unwrap();
}
