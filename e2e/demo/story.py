"""Plays the chapters one after another, while the client sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from e2e.demo.chapters import Chapter, Outcome, Result, failing_checks, outcome
from e2e.demo.scene import Scene
from e2e.harness.errors import HarnessError
from haldane.api.v1alpha1 import ModelDeployment

_EVERY: Final = 0.5
_READS_THAT_MAY_FAIL: Final = 20


class Cluster(Protocol):
    """What a story needs of the cluster."""

    async def apply(self, manifest: Path) -> int:
        """Apply one object; its generation then."""

    async def read(self, name: str) -> ModelDeployment | None:
        """The ModelDeployment now; HarnessError when the API server gives no answer."""


async def play(
    chapter: Chapter, name: str, cluster: Cluster, manifests: Path, scene: Scene, show: Callable[[], None]
) -> Result:
    """Apply a chapter's manifest and follow it to its outcome or its deadline; the result is added to the scene.

    Raises HarnessError when the API server does not answer for ten seconds on end.
    """
    loop = asyncio.get_running_loop()
    start, began = loop.time(), scene.elapsed
    before = scene.deployment.status.stable if scene.deployment else None
    scene.playing = chapter
    scene.notes.append(f"kubectl apply -f examples/{chapter.manifest}")
    generation = await cluster.apply(manifests / chapter.manifest)
    failed: frozenset[str] = frozenset()
    ended: Outcome | None = None
    misses = 0
    while ended is None and loop.time() - start < chapter.deadline:
        await asyncio.sleep(_EVERY)
        try:
            scene.deployment = await cluster.read(name)
            misses = 0
        except HarnessError:
            misses += 1
            if misses >= _READS_THAT_MAY_FAIL:
                raise
        scene.now = loop.time()
        scene.chapter_elapsed = loop.time() - start
        scene.elapsed = began + scene.chapter_elapsed
        if scene.deployment is not None:
            if scene.deployment.status.candidate is not None:
                failed |= failing_checks(scene.deployment)
            ended = outcome(scene.deployment, chapter.version, generation, first=chapter.expected == "served")
        show()
    result = Result(chapter, ended, before.version if before else None, failed, loop.time() - start)
    scene.results.append(result)
    scene.notes.append(
        f"{chapter.version}: {result.complaint or f'{chapter.expected}. {ended.message if ended else str()}'}"
    )
    show()
    return result
