"""What the scenarios share with the demo, under the names that they use."""

from e2e.cluster.addresses import file as cluster_file
from e2e.demo.addresses import Addresses
from e2e.demo.addresses import read as read_addresses
from e2e.demo.client import Pace, Target, send_steadily, wait_until_answered
from e2e.demo.command import output
from e2e.demo.errors import DemoError as CannotGoOn
from e2e.demo.install import install
from e2e.demo.kube import OPERATOR_NAMESPACE, Kube
from e2e.demo.models import ACCESS_KEY, BUCKET, SECRET_KEY, train_if_needed, upload
from e2e.demo.tally import NOBODY, Tally

__all__ = [
    "ACCESS_KEY",
    "BUCKET",
    "NOBODY",
    "OPERATOR_NAMESPACE",
    "SECRET_KEY",
    "Addresses",
    "CannotGoOn",
    "Kube",
    "Pace",
    "Tally",
    "Target",
    "cluster_file",
    "install",
    "output",
    "read_addresses",
    "send_steadily",
    "train_if_needed",
    "upload",
    "wait_until_answered",
]
