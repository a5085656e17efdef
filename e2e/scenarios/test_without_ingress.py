"""Without a route the share of the traffic is made by the numbers of pods behind one Service."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from e2e.harness.client import Target
from e2e.scenarios.errors import Unmet
from e2e.scenarios.manifest import NAME, Manifest
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import PROMETHEUS

WITHOUT: Manifest = {
    "traffic": None,
    "scaling": {"minReplicas": 2},
    "rollout": {"steps": [{"weight": 30, "hold": "5s"}]},
}


@contextlib.asynccontextmanager
async def service_through_the_api_server(place: Place) -> AsyncIterator[Target]:
    """The Service as it is reached inside the cluster: the API server's proxy takes one of its endpoints at random for each request."""
    addresses = place.addresses
    where = ["--kubeconfig", addresses.kubeconfig, "--context", addresses.context]
    proxy = await asyncio.create_subprocess_exec(
        addresses.kubectl,
        *where,
        "proxy",
        "--port=0",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert proxy.stdout is not None
        said = (await asyncio.wait_for(proxy.stdout.readline(), 15)).decode()
        served = re.search(r"127\.0\.0\.1:(\d+)", said)
        if not served:
            raise Unmet(f"kubectl proxy did not say where it serves, but: {said!r}")
        path = f"/api/v1/namespaces/{place.namespace}/services/{NAME}:http/proxy"
        yield Target(f"http://127.0.0.1:{served[1]}{path}", "127.0.0.1", NAME)
    finally:
        proxy.kill()
        await proxy.wait()


@scenario(seconds=150, needs=[PROMETHEUS])
async def test_without_ingress(place: Place) -> None:
    """One pod of three is the candidate's; then it takes over, and the Service never has no endpoint."""
    generation = await place.apply("v1", WITHOUT)
    md = await place.until_stable("v1", generation)
    assert md.status.url == f"http://{NAME}.{place.namespace}.svc/"
    assert not await place.objects("ingresses")
    async with service_through_the_api_server(place) as target, place.traffic(rate=40, target=target):
        generation = await place.apply("v2", WITHOUT)
        md = await place.until(
            "the share to be seen",
            lambda md: md.status.rollout.weight == 30 and md.status.rollout.step_started_at is not None,
        )
        service = await place.one("service", NAME)
        assert service is not None
        assert service["spec"]["selector"] == {"haldane.dev/model": NAME}
        assert md.status.candidate is not None
        assert md.status.candidate.ready_replicas == 1
        assert md.status.stable is not None
        assert md.status.stable.ready_replicas == 2
        md = await place.until_stable("v2", generation, seconds=90)
    place.answers.must_have_lost_nothing()
    assert place.answers.count("v2") > 0
    service = await place.one("service", NAME)
    assert service is not None
    assert md.status.stable is not None
    assert service["spec"]["selector"] == {
        "haldane.dev/model": NAME,
        "haldane.dev/revision": md.status.stable.revision,
    }
