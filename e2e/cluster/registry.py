"""Whether container registries can be reached, which decides where images come from."""

import os
import threading
import urllib.error
import urllib.request

from e2e.cluster.errors import ClusterError

OVERRIDE = "HALDANE_REGISTRY"
"""The environment variable that answers instead of the probe: yes or no."""

PROBED = ("https://registry-1.docker.io/v2/", "https://registry.k8s.io/v2/")
"""One for kind's node image and most add-ons, one for metrics-server: both must answer."""

SECONDS = 4.0


def reachable() -> bool:
    """Ask the registries, a few seconds at most. Raises ClusterError when the override is neither yes nor no."""
    override = os.environ.get(OVERRIDE, "").lower()
    if override:
        if override not in ("yes", "no"):
            raise ClusterError(
                f"{OVERRIDE} is {override!r}; set it to yes or no, or leave it out to have it found out."
            )
        return override == "yes"
    answers: list[bool] = []
    # Threads, because looking up a name may hang far longer than a socket's timeout allows.
    threads = [threading.Thread(target=lambda url=url: answers.append(_answers(url)), daemon=True) for url in PROBED]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    return len(answers) == len(PROBED) and all(answers)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as response:
            return bool(response.headers.get("Docker-Distribution-Api-Version")) or response.status == 200
    except urllib.error.HTTPError as error:
        # A registry asks who is there; a network's block page does not ask in this way.
        return error.code == 401 and "Bearer" in error.headers.get("WWW-Authenticate", "")
    except OSError:
        return False
