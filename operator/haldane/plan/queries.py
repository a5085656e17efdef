"""PromQL for the runtime's own metrics, by revision. The names are the runtime's contract."""

from __future__ import annotations

from haldane.api.v1alpha1 import ModelDeployment

REQUESTS = "haldane_requests_total"
NONFINITE = "haldane_nonfinite_outputs_total"
RUNS = "haldane_inference_seconds_count"
DURATION_BUCKET = "haldane_request_duration_seconds_bucket"

BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25),
    *(0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0),
)  # fmt: skip
"""Finite upper bounds of the runtime's `haldane_request_duration_seconds`, in seconds."""

METRICS = frozenset(
    {REQUESTS, "haldane_nonfinite_outputs_total", "haldane_refused_requests_total", "haldane_response_cache_total"}
    | {"haldane_model_info", "haldane_queue_requests", "haldane_queue_rows"}
    | {
        f"{histogram}_{part}"
        for histogram in ("haldane_request_duration_seconds", "haldane_inference_seconds", "haldane_batch_rows")
        for part in ("bucket", "count", "sum")
    }
)
"""Every metric that the runtime has."""


INCREASE = "increase({chosen}[{window}s]{at})"
SCRAPED = "{chosen}{at}"
SCRAPED_BEFORE = "{chosen} offset {window}s{at}"
"""What is summed over the pods: all that they counted by the last scrape, or by the last one before the window."""


class Counted(str):
    """A query of one object's own counters: PromQL, and what it asks for, so that it may be asked together with others'."""

    def __new__(
        cls,
        metric: str,
        by: str,
        md: ModelDeployment,
        revisions: tuple[str, ...],
        window: int,
        summed: str = INCREASE,
    ) -> Counted:
        meta = md.metadata
        chosen = f'{metric}{{model="{meta.name}",model_namespace="{meta.namespace}",revision=~"{"|".join(revisions)}"}}'
        grouped = f"revision, {by}" if by else "revision"
        made = super().__new__(cls, f"sum by ({grouped}) ({summed.format(chosen=chosen, window=window, at='')})")
        made.metric, made.by, made.window, made.summed = metric, by, window, summed
        made.namespace, made.model, made.revisions = meta.namespace, meta.name, revisions
        return made

    metric: str
    by: str
    """Label that tells the series of one revision apart; none: there is one of each."""
    namespace: str
    model: str
    revisions: tuple[str, ...]
    window: int
    """Seconds."""
    summed: str
    """What of each series is summed: `INCREASE`, or what was `SCRAPED`."""


def scraped(md: ModelDeployment, revisions: tuple[str, ...]) -> Counted:
    """Requests that the pods have answered in their life by the last scrape, by revision and status code."""
    return Counted(REQUESTS, "code", md, revisions, 0, SCRAPED)


def scraped_before(md: ModelDeployment, revisions: tuple[str, ...], window: int) -> Counted:
    """The same by the last scrape before the last `window` seconds."""
    return Counted(REQUESTS, "code", md, revisions, window, SCRAPED_BEFORE)


def requests(md: ModelDeployment, revisions: tuple[str, ...], window: int) -> Counted:
    """Requests in the last `window` seconds by revision and status code."""
    return Counted(REQUESTS, "code", md, revisions, window)


def durations(md: ModelDeployment, revisions: tuple[str, ...], window: int) -> Counted:
    """Cumulative counts of request durations in the last `window` seconds by revision and bucket."""
    return Counted(DURATION_BUCKET, "le", md, revisions, window)


def nonfinite(md: ModelDeployment, revisions: tuple[str, ...], window: int) -> Counted:
    """Runs of the engine in the last `window` seconds that had NaN or Infinity in an output, by revision."""
    return Counted(NONFINITE, "", md, revisions, window)


def runs(md: ModelDeployment, revisions: tuple[str, ...], window: int) -> Counted:
    """Runs of the engine in the last `window` seconds, by revision."""
    return Counted(RUNS, "", md, revisions, window)


class Written(str):
    """A query that a user wrote into a check, for one revision: PromQL, and whose it is, so that a check is asked at once."""

    def __new__(cls, promql: str, md: ModelDeployment, check: str) -> Written:
        made = super().__new__(cls, promql)
        made.check = (md.metadata.name, md.metadata.generation, check)
        return made

    check: tuple[str, int, str]
    """Name of the object, its generation, and name of the check."""


def free(md: ModelDeployment, check: str, promql: str, revision: str, window: int) -> Written:
    """A query of a user's check with {{model}}, {{namespace}}, {{revision}} and {{window}} filled in for one revision."""
    filled = {
        "{{model}}": md.metadata.name,
        "{{namespace}}": md.metadata.namespace,
        "{{revision}}": revision,
        "{{window}}": f"{window}s",
    }
    for placeholder, value in filled.items():
        promql = promql.replace(placeholder, value)
    return Written(promql, md, check)
