"""What every test of the operator may ask for."""

from __future__ import annotations

from e2e.apiserver.fixtures import (
    apiserver,
    crd_installed,
    kubernetes_client,
    namespace,
    pytest_collection_finish,
    pytest_runtest_makereport,
    repository,
    rest,
    until,
)

__all__ = [
    "apiserver",
    "crd_installed",
    "kubernetes_client",
    "namespace",
    "pytest_collection_finish",
    "pytest_runtest_makereport",
    "repository",
    "rest",
    "until",
]
