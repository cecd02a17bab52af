"""What python-tuf signs verifies in ours, and what we sign verifies in python-tuf."""

import datetime
import hashlib
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from client import Refused, ask
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
NOW_MS = int(NOW.timestamp() * 1000)
LATER = NOW + datetime.timedelta(days=5)
MANIFEST = b'{"a":"manifest of python-tuf"}'


class Folder(FetcherInterface):
    """Serves a folder, and one target."""

    def __init__(self, folder: Path, target: bytes = b"") -> None:
        self.folder = folder
        self.target = target

    def _fetch(self, url: str):
        name = url.rsplit("/", 1)[1]
        if "/targets/" in url:
            yield self.target
        elif (self.folder / name).exists():
            yield (self.folder / name).read_bytes()
        else:
            raise DownloadHTTPError(name, 404)


def follow(folder: Path, target: bytes = b"") -> Updater:
    """python-tuf's client, brought up to date from a folder."""
    cache = tempfile.mkdtemp()
    client = Updater(
        cache,
        "https://example.com/metadata/",
        cache,
        "https://example.com/targets/",
        Folder(folder, target),
        bootstrap=(folder / "1.root.json").read_bytes(),
    )
    client.refresh()
    return client


def ours_in_python_tuf(work: Path) -> None:
    made = ask("make", into=str(work), now_ms=NOW_MS)
    manifest = made["manifest"].encode()
    follow(work / "fleet")
    client = follow(work / "shop", manifest)
    target = client.get_targetinfo(made["target"])
    assert target is not None, "python-tuf finds no release"
    assert target.unrecognized_fields["custom"]["longshore"] == {"seq": 1, "version": "1.0"}, target
    assert Path(client.download_target(target)).read_bytes() == manifest
    other = follow(work / "shop", b"another manifest")
    try:
        other.download_target(target)
    except RepositoryError:
        pass
    else:
        raise AssertionError("python-tuf took another manifest")
    spoil(work / "shop" / "1.targets.json")
    try:
        follow(work / "shop")
    except RepositoryError:
        return
    raise AssertionError("python-tuf took a list that was changed")


def spoil(path: Path) -> None:
    """Changes a word that is signed."""
    document = json.loads(path.read_bytes())
    document["signed"]["version"] += 1
    path.write_text(json.dumps(document, separators=(",", ":")))


class Organisation:
    """An organisation that works with python-tuf: two of three keys sign releases, and one of them is replaced."""

    def __init__(self) -> None:
        self.org, self.online = [CryptoSigner.generate_ed25519() for _ in range(2)]
        self.release = [CryptoSigner.generate_ed25519() for _ in range(4)]

    def root(self, app: str, version: int, release: list, threshold: int) -> Metadata:
        root = Root(version=version, expires=LATER, consistent_snapshot=True)
        root.unrecognized_fields["x-longshore"] = {"app": app}
        root.roles["targets"].threshold = threshold
        root.add_key(self.org.public_key, "root")
        for key in release:
            root.add_key(key.public_key, "targets")
        for role in ("snapshot", "timestamp"):
            root.add_key(self.online.public_key, role)
        return signed(root, [self.org])

    def publish(self, folder: Path, app: str, roots: list, by: list, about: dict, releases: list) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, root in enumerate(roots, 1):
            write(folder / f"{number}.root.json", root)
        targets = Targets(expires=LATER, targets={release.path: release for release in releases})
        targets.unrecognized_fields["x-longshore"] = {"app": app, **about}
        targets = signed(targets, by)
        snapshot = Snapshot(expires=LATER, meta={"targets.json": meta(targets)})
        snapshot = signed(snapshot, [self.online])
        timestamp = signed(Timestamp(expires=LATER, snapshot_meta=meta(snapshot)), [self.online])
        for name, document in (("targets", targets), ("snapshot", snapshot), ("timestamp", timestamp)):
            write(folder / f"{name}.json", document)


def signed(document, keys: list) -> Metadata:
    metadata = Metadata(document)
    for key in keys:
        metadata.sign(key, append=True)
    return metadata


def write(path: Path, document: Metadata) -> None:
    path.write_bytes(document.to_bytes(JSONSerializer()))


def meta(document: Metadata) -> MetaFile:
    raw = document.to_bytes(JSONSerializer())
    return MetaFile(document.signed.version, len(raw), {"sha256": hashlib.sha256(raw).hexdigest()})


def refused(code: str, what: str, **words: object) -> None:
    try:
        ask(what, **words)
    except Refused as verdict:
        assert verdict.code == code, verdict
    else:
        raise AssertionError(f"{what} was not refused")


def python_tufs_in_ours(work: Path) -> None:
    org, state = Organisation(), str(work / "state")
    org.publish(
        work / "fleet", "fleet", [org.root("fleet", 1, [org.org], 1)], [org.org], {"min_seq": 0, "next_seq": 1}, []
    )
    pin = hashlib.sha256((work / "fleet" / "1.root.json").read_bytes()).hexdigest()
    verify = {"state": state, "now_ms": NOW_MS}
    ask("verify", app="fleet", offer=str(work / "fleet"), pin=pin, **verify)

    release = TargetFile.from_data("shop.1.release.json", MANIFEST, ["sha256"])
    release.unrecognized_fields["custom"] = {"longshore": {"seq": 1, "version": "1.0"}}
    roots = [org.root("shop", 1, org.release[:3], 2), org.root("shop", 2, org.release[1:], 2)]
    about = {"min_seq": 1, "next_seq": 2}
    shop = {"app": "shop", "offer": str(work / "shop")}
    # One signature, two of which one is of a key that was replaced, and two.
    org.publish(work / "shop", "shop", roots, org.release[3:], about, [release])
    refused("LS-T03", "verify", **shop, **verify)
    org.publish(work / "shop", "shop", roots, [org.release[0], org.release[3]], about, [release])
    refused("LS-T03", "verify", **shop, **verify)
    org.publish(work / "shop", "shop", roots, org.release[2:], about, [release])
    answer = ask("verify", **shop, **verify)
    assert answer == {"root": 2, "floor": 1}, answer

    manifest = {"state": state, "app": "shop", "version": "1.0"}
    assert ask("admit", manifest=MANIFEST.decode(), **manifest) == {"seq": 1}
    refused("LS-T02", "admit", manifest="{}", **manifest)
    spoil(work / "shop" / "targets.json")
    refused("LS-T02", "verify", **shop, **verify)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours_in_python_tuf(Path(folder) / "ours")
        python_tufs_in_ours(Path(folder) / "theirs")
    print("what either signs verifies in the other, and what was changed in neither")


if __name__ == "__main__":
    main()
