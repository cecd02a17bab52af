"""What `tuf-conformance` tries and no other test of ours does, in our own words; docs/testing.md has the whole table.

Documents are python-tuf's, the verdict is our verifier's. A case has the name of the test of the suite that it stands
for.
"""

import datetime
import hashlib
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from both_ways import LATER, NOW_MS, signed
from client import Refused, ask
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

APP = "shop"
DAY_MS = 86_400_000
CONTENT = b'{"a":"manifest"}'


class Repository:
    """One app's repository, its host's state beside it. A case changes what is signed, what is served, or both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        roles = ("root", "targets", "snapshot", "timestamp")
        self.signers = {role: [CryptoSigner.generate_ed25519()] for role in roles}
        self.root = Root(expires=LATER, consistent_snapshot=True)
        self.root.unrecognized_fields["x-longshore"] = {"app": APP}
        for role, signers in self.signers.items():
            self.root.add_key(signers[0].public_key, role)
        self.targets = Targets(expires=LATER)
        self.targets.unrecognized_fields["x-longshore"] = {"app": APP, "min_seq": 0, "next_seq": 1}
        self.snapshot = Snapshot(expires=LATER)
        self.timestamp = Timestamp(expires=LATER)
        self.roots: list[bytes] = []
        self.served: dict[str, bytes] = {}
        self.publish(*roles, first=True)

    def publish(self, *roles: str, first: bool = False) -> None:
        """Counts these up, signs and serves them; each names the one below as it is served."""
        for role in roles:
            document = getattr(self, role)
            document.version += not first
            if role == "snapshot":
                document.meta["targets.json"] = self.meta("targets")
            if role == "timestamp":
                document.snapshot_meta = self.meta("snapshot")
            raw = signed(document, self.signers[role]).to_bytes()
            if role == "root":
                self.roots.append(raw)
            self.served[role] = raw

    def meta(self, role: str) -> MetaFile:
        raw = self.served[role]
        return MetaFile(getattr(self, role).version, len(raw), {"sha256": digest(raw)})

    def edit(self, role: str, change) -> None:
        """Serves a document with something changed that python-tuf would not write."""
        whole = json.loads(self.served[role])
        change(whole)
        self.served[role] = json.dumps(whole).encode()
        if role == "root":
            self.roots[-1] = self.served[role]

    def add_key(self, role: str, signer: CryptoSigner) -> None:
        self.root.add_key(signer.public_key, role)
        self.signers[role].append(signer)

    def refresh(self, later_ms: int = 0) -> str:
        """What our verifier says: `ok`, or the code of its refusal."""
        with tempfile.TemporaryDirectory() as folder:
            offer = Path(folder)
            for number, root in enumerate(self.roots, 1):
                (offer / f"{number}.root.json").write_bytes(root)
            for role in ("timestamp", "snapshot", "targets"):
                if role in self.served:
                    (offer / f"{role}.json").write_bytes(self.served[role])
            try:
                ask(
                    "verify",
                    state=str(self.folder / "state"),
                    app=APP,
                    offer=folder,
                    now_ms=NOW_MS + later_ms,
                    pin=digest(self.roots[0]),
                    held=str(self.folder),
                )
            except Refused as refused:
                return refused.code
        return "ok"

    def held(self) -> dict[str, int]:
        """The versions that are held."""
        return {path.stem: Metadata.from_file(str(path)).signed.version for path in self.folder.glob("*.json")}

    def looks(self, verdict: str, later_ms: int = 0, **versions: int) -> None:
        """Asserts the verdict, and what is held after it."""
        said = self.refresh(later_ms)
        assert said == verdict, f"{said} where {verdict} was expected"
        held = self.held()
        assert held == versions, f"{held} is held where {versions} was expected"


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


ONE = {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


def metadata_bytes_match(repo: Repository) -> None:
    repo.served["timestamp"] += b" "
    repo.looks("ok", **ONE)
    assert (repo.folder / "timestamp.json").read_bytes() == repo.served["timestamp"], "other bytes are held"


def missing(role: str):
    def case(repo: Repository) -> None:
        repo.looks("ok", **ONE)
        repo.publish("targets", "snapshot", "timestamp")
        served = repo.served.pop(role)
        repo.looks("LS-T02", **ONE)
        repo.served[role] = served
        repo.looks("ok", root=1, timestamp=2, snapshot=2, targets=2)

    return case


def incorrect_metadata_type(repo: Repository) -> None:
    """A snapshot that would be a timestamp in all but its type, signed by the timestamp's key."""
    repo.looks("ok", **ONE)
    repo.add_key("snapshot", repo.signers["timestamp"][0])
    repo.publish("root")
    fake = Snapshot(version=2, expires=LATER, meta={"snapshot.json": repo.meta("snapshot")})
    repo.served["timestamp"] = signed(fake, repo.signers["timestamp"]).to_bytes()
    repo.looks("LS-T02", **ONE)
    repo.publish("timestamp")
    repo.looks("ok", root=2, timestamp=2, snapshot=1, targets=1)


def keytype(kind: str, verdict: str):
    def case(repo: Repository) -> None:
        repo.looks("ok", **ONE)
        repo.add_key("root", getattr(CryptoSigner, f"generate_{kind}")())
        repo.root.roles["root"].threshold = 2
        repo.publish("root")
        if verdict != "ok":
            repo.looks(verdict, **ONE)
            return
        repo.looks("ok", **{**ONE, "root": 2})
        repo.publish("root")
        repo.edit("root", lambda whole: whole["signatures"][1].update(sig="5a" * 64))
        repo.looks("LS-T03", **{**ONE, "root": 2})

    return case


def duplicate_sig_keyids(repo: Repository) -> None:
    """Twice the same signature, where one is enough."""
    repo.edit("timestamp", lambda whole: whole["signatures"].append(whole["signatures"][0]))
    repo.looks("LS-T02")


def invalid_sig_in_valid_metadata(repo: Repository) -> None:
    """One of two keys is enough: what the other one is said to have signed does not matter."""
    repo.looks("ok", **ONE)
    repo.add_key("timestamp", CryptoSigner.generate_ed25519())
    repo.publish("root", "timestamp")
    repo.edit("timestamp", lambda whole: whole["signatures"][0].update(sig="5a" * 64))
    repo.looks("ok", root=2, timestamp=2, snapshot=1, targets=1)
    repo.publish("timestamp")
    repo.edit("timestamp", lambda whole: whole["signatures"][0].update(sig=""))
    repo.looks("ok", root=2, timestamp=3, snapshot=1, targets=1)


def more_in_a_key(name: str, value: object):
    """Beside a key there is something unknown, and its id is the hash of all of it."""

    def case(repo: Repository) -> None:
        repo.looks("ok", **ONE)
        private = Ed25519PrivateKey.generate()
        words = {**CryptoSigner(private).public_key.to_dict(), name: value}
        canonical = json.dumps(words, sort_keys=True, separators=(",", ":")).encode()
        signer = CryptoSigner(private, Key.from_dict(digest(canonical), words))
        repo.root.revoke_key(repo.signers["snapshot"].pop().public_key.keyid, "snapshot")
        repo.add_key("snapshot", signer)
        repo.publish("root", "snapshot", "timestamp")
        repo.looks("ok", root=2, timestamp=2, snapshot=2, targets=1)

    return case


def expired_local_root(repo: Repository) -> None:
    """The root that is held has run out, and the next one has not. On the way: `test_faketime`."""
    soon, late = LATER - datetime.timedelta(days=4), LATER + datetime.timedelta(days=20)
    repo.root.expires = soon
    for document in (repo.targets, repo.snapshot, repo.timestamp):
        document.expires = late
    repo.publish("root", "targets", "snapshot", "timestamp")
    now = {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 2}
    repo.looks("ok", **now)
    repo.looks("LS-T04", later_ms=18 * DAY_MS, **now)
    repo.root.expires = late
    repo.publish("root")
    repo.looks("ok", later_ms=18 * DAY_MS, **{**now, "root": 3})


def hashes(names: list[str], verdict: str):
    """A release that is named by these hashes; without sha256 there is nothing to know it by."""

    def case(repo: Repository) -> None:
        target = TargetFile.from_data("shop.1.release.json", CONTENT, ["sha256", "sha512"])
        target.hashes["unknown-hash"] = target.hashes["sha512"]
        target.hashes = {name: target.hashes[name] for name in names}
        target.unrecognized_fields["custom"] = {"longshore": {"seq": 1, "version": "1.0"}}
        repo.targets.targets = {target.path: target}
        repo.targets.unrecognized_fields["x-longshore"] = {"app": APP, "min_seq": 1, "next_seq": 2}
        repo.publish("targets", "snapshot", "timestamp")
        if verdict == "ok":
            repo.looks("ok", root=1, timestamp=2, snapshot=2, targets=2)
            about = {"state": str(repo.folder / "state"), "app": APP, "version": "1.0"}
            assert ask("admit", manifest=CONTENT.decode(), **about) == {"seq": 1}
        else:
            repo.looks(verdict)

    return case


CASES = {
    "test_metadata_bytes_match": metadata_bytes_match,
    "test_snapshot_404": missing("snapshot"),
    "test_targets_404": missing("targets"),
    "test_timestamp_404": missing("timestamp"),
    "test_incorrect_metadata_type": incorrect_metadata_type,
    "test_keytype_and_scheme[ed25519]": keytype("ed25519", "ok"),
    "test_keytype_and_scheme[ecdsa]": keytype("ecdsa", "LS-T02"),
    "test_keytype_and_scheme[rsa]": keytype("rsa", "LS-T02"),
    "test_duplicate_sig_keyids": duplicate_sig_keyids,
    "test_invalid_sig_in_valid_metadata": invalid_sig_in_valid_metadata,
    "test_custom_fields": more_in_a_key("extra-field", {"a": 1, "b": 2}),
    "test_deprecated_keyid_hash_algorithms": more_in_a_key("keyid_hash_algorithms", ["md5"]),
    "test_expired_local_root": expired_local_root,
    "test_download_with_hash_algorithms[sha256]": hashes(["sha256"], "ok"),
    "test_download_with_hash_algorithms[sha256, sha512]": hashes(["sha256", "sha512"], "ok"),
    "test_download_with_hash_algorithms[sha512]": hashes(["sha512"], "LS-T02"),
    "test_download_with_unknown_hash_algorithm": hashes(["unknown-hash"], "LS-T02"),
}


def main() -> int:
    wrong = []
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                case(Repository(Path(folder)))
            except Exception as error:  # what else a case runs into is a failure of it as well
                wrong.append(f"FAILED  {name}\n        {error!r}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(f"what tuf-conformance tries besides: {len(CASES) - len(wrong)} as expected, {len(wrong)} not")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
