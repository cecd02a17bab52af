"""Our verifier (`trust-client`) as a Python object."""

import json
import os
import subprocess

PROGRAM = os.environ.get("TRUST_CLIENT", "target/debug/trust-client")
PROGRAM = os.path.abspath(PROGRAM)


class Refused(Exception):
    """The verdict of our verifier, with its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


def ask(what: str, **words: object) -> dict:
    """One request, one answer; a refusal is raised."""
    done = subprocess.run(
        [PROGRAM],
        input=json.dumps({what: words}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"trust-client broke: {done.stderr}")
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise Refused(answer["refused"], answer["message"])
    return answer
