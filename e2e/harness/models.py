"""The four models: trained unless they are there already, and put where the cluster finds them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from e2e.harness.errors import HarnessError
from examples.train import train

BUCKET: Final = "models"
ACCESS_KEY: Final = "demo-access"
SECRET_KEY: Final = "demo-secret-key"
ATTEMPTS: Final = 4


def trained_already(folder: Path, sources: Path) -> bool:
    """True when models.json in `folder` is younger than every program in `sources` and fits the files it lists."""
    listing = folder / "models.json"
    if not listing.is_file() or any(
        source.stat().st_mtime > listing.stat().st_mtime for source in sources.glob("*.py")
    ):
        return False
    return all(
        (folder / entry["path"]).is_file()
        and hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
        for entry in json.loads(listing.read_text())
    )


def train_if_needed(folder: Path, sources: Path, console: Console) -> None:
    """Have all four models in `folder`."""
    if not trained_already(folder, sources):
        train(folder, console)


def upload(folder: Path, s3_url: str) -> None:
    """Put every `<version>/model.onnx` of `folder` at `s3://models/digits/<version>/model.onnx`.

    Raises HarnessError when the store refuses or does not answer.
    """
    store = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )
    try:
        if BUCKET not in {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}:
            store.create_bucket(Bucket=BUCKET)
        for model in sorted(folder.glob("*/model.onnx")):
            _put(store, f"digits/{model.relative_to(folder)}", model)
    except (BotoCoreError, ClientError) as error:
        raise HarnessError(f"The S3 server at {s3_url} did not take the models: {error}") from error


def _put(store: Any, key: str, model: Path) -> None:
    store.put_object(Bucket=BUCKET, Key=key, Body=model.read_bytes())
