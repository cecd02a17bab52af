"""Writes a CycloneDX bill of materials for each of our programs, the same bytes for the same Cargo.lock.

    python3 deploy/sbom.py <folder> [--target x86_64-unknown-linux-gnu]

Needs the package cyclonedx-python-lib[json-validation] (.ci/requirements.txt). What is linked into a program has the
scope "required"; what only runs while it is built (build scripts, macros, and what they need) has "excluded". The
hash of a crate is the SHA-256 of its package at the registry, as Cargo.lock pins it.
"""

import argparse
import json
import subprocess
import tomllib
import uuid
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).parent.parent
PROGRAMS = {
    "longshore": "longshore-controller",
    "longshore-controller": "longshore-controller",
    "longshore-agent": "longshore-agent",
}
# A name space of ours for numbers that follow from the content.
NUMBERS = uuid.uuid5(uuid.NAMESPACE_DNS, "sbom.longshore")


class Workspace:
    """What cargo knows of every package, and what needs what."""

    def __init__(self, target: str) -> None:
        command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
        known = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        self.packages = {package["id"]: package for package in known["packages"]}
        self.nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
        locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
        self.sums = {(one["name"], one["version"]): one.get("checksum") for one in locked}

    def named(self, name: str) -> str:
        return next(i for i, package in self.packages.items() if package["name"] == name and i in self.nodes)

    def is_macro(self, package: str) -> bool:
        return any("proc-macro" in target["kind"] for target in self.packages[package]["targets"])

    def needs(self, package: str) -> list[tuple[str, bool]]:
        """What a package needs, and whether it is linked into it; what only its tests need is left out."""
        found = []
        for need in self.nodes[package]["deps"]:
            kinds = {kind["kind"] for kind in need["dep_kinds"]} - {"dev"}
            if kinds:
                found.append((need["pkg"], None in kinds and not self.is_macro(need["pkg"])))
        return found

    def reached(self, root: str, *, linked_only: bool) -> set[str]:
        found, todo = {root}, [root]
        while todo:
            for need, linked in self.needs(todo.pop()):
                if need not in found and (linked or not linked_only):
                    found.add(need)
                    todo.append(need)
        return found

    def component(self, package: str, scope: ComponentScope) -> Component:
        about = self.packages[package]
        name, version = about["name"], about["version"]
        made = Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            scope=scope,
            bom_ref=f"{name}@{version}",
            purl=PackageURL("cargo", None, name, version),
            description=about["description"],
        )
        if about["license"]:
            made.licenses.add(LicenseExpression(about["license"].replace("/", " OR ")))
        if total := self.sums.get((name, version)):
            made.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=total))
        return made


def bill(workspace: Workspace, program: str, package: str) -> Bom:
    root = workspace.named(package)
    linked = workspace.reached(root, linked_only=True)
    components = {
        one: workspace.component(one, ComponentScope.REQUIRED if one in linked else ComponentScope.EXCLUDED)
        for one in workspace.reached(root, linked_only=False)
    }
    version = workspace.packages[root]["version"]
    bom = Bom(components=[made for one, made in components.items() if one != root])
    subject = Component(
        name=program,
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref=f"{program}@{version}",
        licenses=components[root].licenses,
    )
    components[root] = bom.metadata.component = subject
    for one, made in components.items():
        bom.register_dependency(made, [components[need] for need, _ in workspace.needs(one)])
    return bom


def written(bom: Bom) -> str:
    """As a document that neither the clock nor chance has a part in."""
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"]
    document.pop("serialNumber", None)
    number = uuid.uuid5(NUMBERS, json.dumps(document, sort_keys=True))
    text = json.dumps({"serialNumber": number.urn, **document}, indent=1, sort_keys=True) + "\n"
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if errors is not None:
        raise SystemExit(f"not CycloneDX 1.6: {errors}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", default="x86_64-unknown-linux-gnu")
    words = parser.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(words.target)
    for program, package in PROGRAMS.items():
        bom = bill(workspace, program, package)
        path = words.folder / f"{program}.cdx.json"
        path.write_text(written(bom))
        kept = [one for one in bom.components if one.scope == ComponentScope.REQUIRED]
        print(f"{path}: {len(kept)} crates linked in, {len(bom.components) - len(kept)} for building")


if __name__ == "__main__":
    main()
