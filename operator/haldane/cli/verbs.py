"""`haldane approve`, `pause`, `resume`, `abort`, `promote`, `retry` and `status`: kubectl, with the names spelled out.

A verb is an annotation, and each has a value of its own, the time, so that asking again asks for something new. The field
manager carries the user's name: that is how the operator knows who asked.
"""

from __future__ import annotations

import argparse
import getpass
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

RESOURCE = "modeldeployments.haldane.dev"
SECONDS = 30
VERBS = {
    "approve": "let the current step of a rollout end",
    "pause": "let nothing go forward: no rollout begins, no weight rises",
    "resume": "let rollouts go on",
    "abort": "end the rollout under way: weight 0 at once; the version is not tried again by itself",
    "promote": "skip the steps that are left; pods that are not ready and checks that fail still stop it",
    "retry": "try a version again that was rolled back",
}


def register(commands: Any) -> None:
    """Add the commands to those of `haldane`."""
    for verb, text in VERBS.items():
        parser = commands.add_parser(verb, help=text, description=f"{text[0].upper()}{text[1:]}.")
        _add_common(parser)
        if verb == "pause":
            parser.add_argument(
                "--reason", default="", type=_reason, help="shown while it is paused, for example a ticket"
            )
        parser.set_defaults(run=ask)
    parser = commands.add_parser("status", help="where a rollout stands, and what it waits for")
    _add_common(parser)
    parser.set_defaults(run=show)


def ask(options: argparse.Namespace) -> int:
    """Set or remove the annotation; kubectl's exit status."""
    done = _kubectl(options, *annotation(options.command, getattr(options, "reason", ""), _user(), datetime.now(UTC)))
    if done is None:
        return 2
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return done.returncode
    print(f"{options.command}: asked of {options.name}; haldane status {options.name} and its Events tell the answer")
    return 0


def annotation(verb: str, reason: str, user: str, now: datetime) -> list[str]:
    """Arguments of `kubectl annotate` behind the object's name."""
    if verb == "resume":
        # Not taken away: of what is gone nobody knows who took it.
        change = "haldane.dev/pause=false"
    else:
        value = (reason or "true") if verb == "pause" else now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        change = f"haldane.dev/{verb}={value}"
    return ["annotate", "{name}", change, "--overwrite", f"--field-manager=haldane:{user}"[:142]]


def show(options: argparse.Namespace) -> int:
    """Print the state of a rollout; kubectl's exit status."""
    done = _kubectl(options, "get", "{name}", "-o", "json")
    if done is None:
        return 2
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return done.returncode
    print("\n".join(told(json.loads(done.stdout))))
    return 0


def told(body: dict[str, Any]) -> list[str]:
    """An object's state as lines of text."""
    status = body.get("status") or {}
    rollout = status.get("rollout") or {}
    lines = [f"{body['metadata']['namespace']}/{body['metadata']['name']}: {rollout.get('phase', 'not looked at yet')}"]
    for role in ("stable", "candidate", "previous"):
        if state := status.get(role):
            ready = f"{state.get('readyReplicas', 0)} of {state.get('replicas', 0)} pods ready"
            lines.append(f"  {role:<9} version {state['version']} (revision {state['revision']}), {ready}")
    if message := rollout.get("message"):
        lines.append(f"  rollout   {message}")
    lines += [
        f"  check     {check['name']}: {check['verdict']}: {check['message']}" for check in rollout.get("checks", [])
    ]
    lines += [
        f"  {condition['type']:<9} {condition['status']} ({condition['reason']}): {condition['message']}"
        for condition in status.get("conditions", [])
    ]
    return lines


def _reason(text: str) -> str:
    """The reason for a pause, maybe none. Refused: the one that would resume."""
    if text.strip().lower() == "false":
        raise argparse.ArgumentTypeError("false would resume: give a reason, or none")
    return text.strip()


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the ModelDeployment")
    parser.add_argument("-n", "--namespace", help="its namespace (default: the context's)")
    parser.add_argument("--context", help="kubeconfig context (default: the current one)")
    parser.add_argument("--kubeconfig", help="kubeconfig file (default: kubectl's)")


def _kubectl(options: argparse.Namespace, verb: str, name: str, *rest: str) -> subprocess.CompletedProcess[str] | None:
    """Run kubectl on the object, which stands in the place of `name`; None, with a sentence on stderr, when it cannot be run."""
    program = shutil.which("kubectl")
    if program is None:
        print(f"haldane {options.command}: kubectl is not on the PATH; install it, or extend PATH", file=sys.stderr)
        return None
    chosen = {"namespace": options.namespace, "context": options.context, "kubeconfig": options.kubeconfig}
    where = [f"--{flag}={value}" for flag, value in chosen.items() if value]
    command = [program, *where, verb, RESOURCE, name.format(name=options.name), *rest]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(f"haldane {options.command}: kubectl did not answer within {SECONDS} s; try again", file=sys.stderr)
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
