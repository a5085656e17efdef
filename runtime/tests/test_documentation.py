"""The page of `/docs` is whole without a network."""

import re
from urllib.parse import urljoin

import httpx
import pytest

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.protocol.http import create_app


@pytest.mark.parametrize("prefix", ["", "/fraud"])
async def test_all_that_the_page_needs_comes_from_here(prefix: str) -> None:
    app = create_app(DataPlane(Metrics("ns", "abc")), 1000, 1.0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        page = (await client.get("/docs")).text
        assert "//" not in re.sub(r"<!--.*?-->", "", page).replace("<!DOCTYPE html>", "").split("<script>")[0]
        links = re.findall(r'(?:src|href)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
        assert len(links) == 4
        for link in links:
            # As behind a proxy that takes the prefix off.
            path = urljoin(f"{prefix}/docs", link)
            assert path.startswith(f"{prefix}/")
            answer = await client.get(path.removeprefix(prefix))
            assert answer.status_code == 200, path
            assert len(answer.content) > 100
        described = (await client.get("/openapi.json")).json()["paths"]
        assert "/v2/models/{model}/infer" in described
        assert not [path for path in described if "docs" in path]
        missing = await client.get("/docs/absent.js")
        assert (missing.status_code, list(missing.json())) == (404, ["error"])
