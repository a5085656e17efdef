"""How a case of errors ends how often: Haldane's spec of it, played many times by simulation instead of twice on a cluster.

python -m bench.rivals.chance [--rollouts 2000] [--processes 2] [--cases 3,7]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bench.rivals.cases import CASES, Case
from bench.rivals.haldane_operator import Haldane
from haldane.api.v1alpha1 import ModelDeployment
from haldane.simulate.rollout import Course, play_many
from haldane.simulate.traffic import Fault, Service, without_trouble

KEYS: Final = ("1", "2", "3", "3c", "7")
RATE: Final = 100.0
SCRAPE: Final = 2
"""Seconds between two scrapes, as on the cluster."""
UNSEEN: Final = 8
"""Seconds for which Prometheus may not know pods that are ready at once: it takes up what it has found every 5 s, in two places."""
SECONDS: Final = 600
QUANTILES: Final = (0.5, 0.85, 0.95)
CHUNK: Final = 50
"""Rollouts that one process plays with one seed."""


def courses(key: str, seed: int, rollouts: int = CHUNK) -> list[Course]:
    """Rollouts of a case as its client sends requests: by the clock, each with a ticket that fails or does not."""
    case = next(case for case in CASES if case.key == key)
    (body,) = Haldane().objects("n", case)
    md = ModelDeployment.from_wire({**body, "metadata": {**body["metadata"], "uid": "u", "generation": 1}})
    service = replace(without_trouble(Service()), errors=case.old.errors / 100, median=0.005, rate=RATE, paced=True)
    fault = Fault(more_errors=(case.new.errors - case.old.errors) / 100)
    return list(play_many(md, service, fault, rollouts, seed, SECONDS, scrape=SCRAPE, gaps=False, unseen=UNSEEN))


def line(case: Case, played: Sequence[Course]) -> str:
    """One row of the table: the shares of the outcomes, and how long it takes from the first request to the end."""
    counts = Counter(course.outcome for course in played)
    shares = [f"{100 * counts[name] / counts.total():.2f} %" for name in ("promoted", "rolled back", "undecided")]
    times = sorted(course.duration for course in played if course.duration is not None)
    took = ", ".join(f"{times[math.ceil(share * len(times)) - 1]} s" for share in QUANTILES) if times else ""
    return f"| {case.key} {case.title} | {' | '.join(shares)} | {took} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=2000, help="of each case (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--cases", default=",".join(KEYS), help="which of them (default: %(default)s)")
    options = parser.parse_args()
    print("| case | promoted | rolled back | undecided after 10 minutes | time to the end: median, 85 %, 95 % |")
    print("|---|---|---|---|---|", flush=True)
    with multiprocessing.Pool(options.processes) as pool:
        for case in CASES:
            if case.key in options.cases.split(","):
                chunks = range(1, 1 + math.ceil(options.rollouts / CHUNK))
                parts = pool.starmap(courses, [(case.key, seed) for seed in chunks], chunksize=1)
                print(line(case, [course for part in parts for course in part]), flush=True)


if __name__ == "__main__":
    main()
