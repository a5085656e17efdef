"""The two checks of the other controllers, in PromQL over the runtime's own metrics: the same limits as Haldane's."""

from __future__ import annotations

from typing import Final

WINDOW: Final = "30s"
CHECK_SECONDS: Final = 10
"""They look every 10 s; the third failed look ends the rollout."""
FAILURES: Final = 3


def error_rate(namespace: str, pods: str) -> str:
    """Per cent of the requests that were answered by a 5xx code."""
    labels = f'model_namespace="{namespace}",pod=~"{pods}"'
    failed = f'sum(increase(haldane_requests_total{{{labels},code=~"5.."}}[{WINDOW}]))'
    return f"100 * {failed} / sum(increase(haldane_requests_total{{{labels}}}[{WINDOW}]))"


def p99(namespace: str, pods: str) -> str:
    """The 99th percentile of the request duration in milliseconds."""
    labels = f'model_namespace="{namespace}",pod=~"{pods}"'
    buckets = f"sum by (le) (rate(haldane_request_duration_seconds_bucket{{{labels}}}[{WINDOW}]))"
    return f"1000 * histogram_quantile(0.99, {buckets})"
