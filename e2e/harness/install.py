"""The chart, installed as a user would install it, with the images that were built here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from e2e.harness.addresses import Addresses
from e2e.harness.command import output
from e2e.harness.errors import HarnessError
from e2e.harness.kube import OPERATOR_NAMESPACE

OPERATOR_IMAGE: Final = "haldane/operator:dev"
RUNTIME_IMAGE: Final = "haldane/runtime:dev"
RELEASE: Final = "haldane"
_WAIT_SECONDS: Final = 180


def helm_command(addresses: Addresses, chart: Path, image_id: str, runtime: str = RUNTIME_IMAGE) -> list[str]:
    """`helm upgrade --install` of the chart. A tag does not tell a rebuilt image from the one before: `image_id` in an annotation does.

    `runtime` is the image of the pods of new revisions.
    """
    repository, tag = OPERATOR_IMAGE.split(":")
    values = {
        "image.repository": repository,
        "image.tag": tag,
        "runtime.image": runtime,
        r"podAnnotations.haldane\.dev/image-id": image_id,
    }
    command = [addresses.helm, "upgrade", "--install", RELEASE, str(chart)]
    command += ["--kubeconfig", addresses.kubeconfig, "--kube-context", addresses.context]
    command += ["--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--wait", f"--timeout={_WAIT_SECONDS}s"]
    for name, value in values.items():
        command += ["--set-string", f"{name}={value}"]
    return command


async def install(addresses: Addresses, chart: Path, runtime: str = RUNTIME_IMAGE) -> None:
    """Install the chart or bring it up to date, and wait until the operator is ready. Raises HarnessError."""
    try:
        image_id = (await output(["docker", "image", "inspect", "-f", "{{.Id}}", OPERATOR_IMAGE], seconds=20)).strip()
    except HarnessError as error:
        raise HarnessError(f"There is no image {OPERATOR_IMAGE}: run `make images` first. ({error})") from error
    await output(helm_command(addresses, chart, image_id, runtime), seconds=_WAIT_SECONDS + 30)
