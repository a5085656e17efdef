"""What a person needs to see of a scenario that failed."""

from __future__ import annotations

from typing import Final

from e2e.harness.errors import HarnessError
from e2e.harness.kube import OPERATOR_NAMESPACE
from e2e.scenarios.manifest import NAME
from e2e.scenarios.place import Place

CHILDREN: Final = (
    "deployments,replicasets,pods,services,endpointslices,ingresses,horizontalpodautoscalers,"
    "poddisruptionbudgets,controllerrevisions,serviceaccounts"
)
_OPERATOR: Final = ("-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=haldane", "--prefix")
_LINES: Final = 120


async def diagnosis(place: Place, seconds: float) -> str:
    """Course, status, Events, children and logs of the last `seconds`, as far as they can be had."""
    space = ("-n", place.namespace)
    runtimes = ("logs", *space, "-l", f"haldane.dev/model={NAME}", "--tail=15", "--prefix", "--ignore-errors")
    since = f"--since={seconds + 5:.0f}s"
    looks = {
        "status": ("get", "modeldeployments", NAME, *space, "-o", "yaml"),
        "events": ("get", "events", *space, "--sort-by=.lastTimestamp"),
        "children": ("get", CHILDREN, *space, "-o", "wide"),
        "operator": ("logs", *_OPERATOR, "--tail=2000", since),
        "operator, before it was restarted": ("logs", *_OPERATOR, "--tail=2000", "--previous"),
        "runtimes": runtimes,
        "runtimes, before they were restarted": (*runtimes, "--previous"),
    }
    seen = ["--- course", *_course(place), f"--- client: {place.answers}"]
    for title, words in looks.items():
        try:
            said = (await place.kube.kubectl(*words)).splitlines()
        except HarnessError as error:
            said = str(error).splitlines()
        if title.startswith("operator"):
            said = [line for line in said if place.namespace in line or "e2e-" not in line]
        seen += [f"--- {title}", *said[-_LINES:]]
    return "\n".join(seen)


def _course(place: Place) -> list[str]:
    """Every state that differs from the one before, and every failed request, with the seconds since the first state."""
    course: list[tuple[float, str]] = [(at, f"client: {what}") for at, what in place.answers.failures[:_LINES]]
    last = ""
    for moment in place.moments:
        rollout = moment.deployment.status.rollout
        line = f"{rollout.phase}, step {rollout.step}, weight {rollout.weight} %: {rollout.message}"
        if line != last:
            course.append((moment.at, line))
            last = line
    start = place.moments[0].at if place.moments else 0.0
    return [f"{at - start:6.1f} s  {line}" for at, line in sorted(course)]
