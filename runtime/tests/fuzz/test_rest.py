"""Spoilt requests over HTTP: an answer in time, never a 5xx, and every error one sentence."""

import gzip
import http.client
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

# Beyond this it hangs, also on a machine that has better things to do.
SECONDS = 60.0
# 408 is for those that allow a microsecond.
EXPECTED = {200, 400, 404, 408, 413, 415}

SQUEEZE: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
HEADER = "Inference-Header-Content-Length"
PATHS = [
    "/v1/predict",
    "/v1/models/{model}:predict",
    "/v2/models/{model}/versions/1/infer",
    "/v2/models/{model}/versions/7/infer",
    "/v2/models/%00/infer",
    "/v2/models/numbers/versions/%F0/infer",
    "/v2/models//infer",
]


@dataclass
class Sent:
    path: str
    headers: dict[str, str]
    body: bytes


def requests(craft: Any) -> st.SearchStrategy[Sent]:
    @st.composite
    def strategy(draw: st.DrawFn) -> Sent:
        draft = draw(craft.drafts)
        head = craft.write(draft.document)
        sent = Sent(f"/v2/models/{draft.model}/infer", {}, head + b"".join(draft.tails))
        if draft.tails or not draw(st.integers(0, 5)):
            sent.headers[HEADER] = str(len(head))
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            disturb(draw, sent, draft.model, len(head))
        if "predict" in sent.path and draw(st.booleans()):
            by_name = {
                name: [0] * (dims or [1])[0] for name, (_, dims) in craft.models[draft.model].items() if dims != []
            }
            rows = [draw(st.sampled_from([by_name, [1, 2, 3]]))] * 2
            sent.body = craft.write(craft.spoil(draw, {"instances": rows}))
        return sent

    def disturb(draw: st.DrawFn, sent: Sent, model: str, length: int) -> None:
        match draw(st.sampled_from(["body", "length", "coding", "accept", "path", "timeout"])):
            case "body":
                sent.body = craft.damage(draw, sent.body)
            case "length":
                near = [str(length - 1), str(length + 1), str(len(sent.body)), "0", "1"]
                sent.headers[HEADER] = draw(st.sampled_from([*near, "-1", "1e3", " ", "9" * 25, "x"]))
            case "coding":
                coding = draw(st.sampled_from(["gzip", "deflate", "identity", "br", "gzip, deflate"]))
                sent.headers["Content-Encoding"] = coding
                if coding in SQUEEZE and draw(st.booleans()):
                    sent.body = SQUEEZE[coding](sent.body)
                if draw(st.booleans()):
                    sent.body = craft.damage(draw, sent.body)
            case "accept":
                sent.headers["Accept-Encoding"] = draw(
                    st.sampled_from(["gzip", "deflate", "gzip, deflate", "*;q=0", ",;="])
                )
            case "timeout":
                sent.headers["x-request-timeout"] = draw(st.sampled_from(["5", "0", "-1", "nan", "inf", "x"]))
            case _:
                sent.path = draw(st.sampled_from(PATHS)).format(model=model)

    return strategy()


def test_spoilt_requests(server: Any, craft: Any, counted: Any) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=SECONDS)

    @settings(settings.get_profile("fuzz"))
    @given(requests(craft))
    def run(sent: Sent) -> None:
        started = time.monotonic()
        try:
            connection.request("POST", sent.path, sent.body, sent.headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        seconds = time.monotonic() - started
        counted.add(str(answer.status), seconds)
        assert seconds < SECONDS / 2
        assert answer.status in EXPECTED, body
        if answer.status != 200:
            document = json.loads(body)
            assert list(document) == ["error"]
            assert document["error"]

    run()
    connection.close()
    assert server.process.poll() is None
    assert counted.outcomes["200"]
    assert counted.outcomes["400"]
    assert server.metric("haldane_requests_total", code="500") == 0
