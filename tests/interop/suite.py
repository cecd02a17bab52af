"""python-tuf's own tests of its client, run against our verifier.

They are in python-tuf's source package, and nobody of us wrote one. Their `Updater` is replaced by one that fetches
as they do and asks `trust-client` for the verdict; their repository says in its documents whose it is, as ours do.
A test that fails must be listed in expected.toml with its reason, and one that is listed must fail.

    suite.py <folder of python-tuf's source>
"""

import datetime
import hashlib
import json
import os
import sys
import tempfile
import tomllib
import unittest
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, sys.argv[1])
sys.path.insert(1, str(Path(__file__).parent))

import tuf.ngclient
from client import Refused, ask
from tests import repository_simulator
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    UnsignedMetadataError,
)
from tuf.ngclient.config import UpdaterConfig

MODULES = ["top_level_update", "key_rotations", "consistent_snapshot", "fetch_target", "delegation_graphs"]
APP = "shop"
MOST = 10_000_000


class Unfit(UnsignedMetadataError, BadVersionNumberError, LengthOrHashMismatchError):
    """LS-T02, which does not say which of these it was."""


VERDICTS = {
    "LS-T02": Unfit,
    "LS-T03": UnsignedMetadataError,
    "LS-T04": ExpiredMetadataError,
    "LS-T05": BadVersionNumberError,
}


class OurSimulator(repository_simulator.RepositorySimulator):
    """Says in its documents which app they are of."""

    def publish_root(self) -> None:
        self.root.unrecognized_fields["x-longshore"] = {"app": APP}
        about = {"app": APP, "min_seq": 0, "next_seq": 1}
        self.targets.unrecognized_fields["x-longshore"] = about
        super().publish_root()


class OurUpdater:
    """Fetches the four documents; what they are worth is said by our verifier."""

    def __init__(self, metadata_dir, metadata_base_url, *args, bootstrap, **words):
        if bootstrap is None:
            raise NotImplementedError("without a pin there is nothing to verify by")
        self.config = UpdaterConfig()
        self.dir = Path(metadata_dir)
        self.url = metadata_base_url
        self.fetcher = words.get("fetcher") or next(arg for arg in args if hasattr(arg, "fetch"))
        self.bootstrap = bootstrap
        self.dir.mkdir(parents=True, exist_ok=True)
        if not self.root.exists():
            self.root.write_bytes(bootstrap)

    @property
    def root(self) -> Path:
        return self.dir / "root.json"

    def fetch(self, name: str) -> bytes | None:
        try:
            return self.fetcher.download_bytes(f"{self.url}{name}", MOST)
        except DownloadHTTPError:
            return None

    def refresh(self) -> None:
        pin = hashlib.sha256(self.bootstrap).hexdigest()
        # Beside the folder, in which the tests know every file; of the fleet that it is pinned to.
        state = self.dir.with_name(f"{self.dir.name}-{pin[:16]}")
        with tempfile.TemporaryDirectory() as folder:
            offer = Path(folder)
            self.fetch_into(offer, with_bootstrap=not state.exists())
            now = datetime.datetime.now(datetime.timezone.utc)
            try:
                ask(
                    "verify",
                    state=str(state),
                    app=APP,
                    offer=folder,
                    now_ms=int(now.timestamp() * 1000),
                    pin=pin,
                    held=str(self.dir),
                )
            except Refused as refused:
                raise VERDICTS[refused.code](str(refused)) from refused

    def fetch_into(self, offer: Path, *, with_bootstrap: bool) -> None:
        version = version_of(self.root.read_bytes())
        if with_bootstrap:
            (offer / f"{version}.root.json").write_bytes(self.bootstrap)
        while (root := self.fetch(f"{version + 1}.root.json")) is not None:
            version += 1
            (offer / f"{version}.root.json").write_bytes(root)
        # Each names the next one; what is not served is not offered.
        name = "timestamp.json"
        for role, following in (("timestamp", "snapshot"), ("snapshot", "targets"), ("targets", None)):
            document = self.fetch(name)
            if document is None:
                return
            (offer / f"{role}.json").write_bytes(document)
            if following:
                named = json.loads(document)["signed"]["meta"][f"{following}.json"]["version"]
                name = f"{named}.{following}.json"

    def get_targetinfo(self, path: str):
        raise NotImplementedError("releases are admitted by digest, not looked up by path")


def version_of(document: bytes) -> int:
    return json.loads(document)["signed"]["version"]


class Outcomes(unittest.TestResult):
    """How every test ended, case by case; None: it passed."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[str, str | None] = {}

    def note(self, test, error) -> None:
        why = error and f"{error[0].__name__}: {error[1]}"
        self.ended[test.id()] = why

    def addSuccess(self, test) -> None:
        # Of a test that has cases, they were noted.
        if not any(name.startswith(f"{test.id()} (") for name in self.ended):
            self.note(test, None)

    def addFailure(self, test, error) -> None:
        self.note(test, error)

    def addError(self, test, error) -> None:
        self.note(test, error)

    def addSubTest(self, test, subtest, error) -> None:
        self.note(subtest, error)


def expected() -> list[dict]:
    """Groups of tests that must fail, with the reason and what they then say."""
    return tomllib.loads((Path(__file__).parent / "expected.toml").read_text())["group"]


def group_of(name: str, groups: list[dict], used: set[str]) -> dict | None:
    for group in groups:
        for pattern in group["tests"]:
            if fnmatchcase(name, pattern):
                used.add(pattern)
                return group
    return None


def main() -> int:
    repository_simulator.RepositorySimulator = OurSimulator
    tuf.ngclient.Updater = OurUpdater
    modules = [f"tests.test_updater_{name}" for name in MODULES]
    outcomes = Outcomes()
    unittest.defaultTestLoader.loadTestsFromNames(modules).run(outcomes)
    groups, used, wrong, failed = expected(), set(), [], 0
    for full, why in outcomes.ended.items():
        name = full.removeprefix("tests.test_updater_")
        group = group_of(name, groups, used)
        failed += why is not None
        if why is None and group:
            wrong.append(f"PASSED  {name}, which is expected to fail: {group['reason']}")
        if why is not None and not (group and any(words in why for words in group["says"])):
            wrong.append(f"FAILED  {name}\n        {why}")
    patterns = {pattern for group in groups for pattern in group["tests"]}
    wrong += [f"MISSED  {pattern} is no test" for pattern in patterns - used]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    passed = len(outcomes.ended) - failed
    print(f"python-tuf's tests against our verifier: {passed} pass, {failed} fail, {len(wrong)} not as expected")
    return 1 if wrong or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
