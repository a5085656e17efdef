"""How a case of errors ends how often: Haldane's spec of it, played many times by simulation instead of twice on a cluster.

python -m bench.rivals.chance [--rollouts 400]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
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
SECONDS: Final = 600


def courses(case: Case, rollouts: int) -> Iterable[Course]:
    """Rollouts of a case with independent requests at an even rate."""
    (body,) = Haldane().objects("n", case)
    md = ModelDeployment.from_wire({**body, "metadata": {**body["metadata"], "uid": "u", "generation": 1}})
    service = replace(without_trouble(Service()), errors=case.old.errors / 100, median=0.005, rate=RATE)
    fault = Fault(more_errors=(case.new.errors - case.old.errors) / 100)
    return play_many(md, service, fault, rollouts, 1, SECONDS, scrape=SCRAPE)


def line(case: Case, played: Iterable[Course]) -> str:
    """One row of the table: the shares of the outcomes."""
    counts = Counter(course.outcome for course in played)
    shares = (f"{100 * counts[name] / counts.total():.1f} %" for name in ("promoted", "rolled back", "undecided"))
    return f"| {case.key} {case.title} | {' | '.join(shares)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=400, help="of each case (default: %(default)s)")
    rollouts = parser.parse_args().rollouts
    print("| case | promoted | rolled back | undecided after 10 minutes |\n|---|---|---|---|")
    for case in CASES:
        if case.key in KEYS:
            print(line(case, courses(case, rollouts)), flush=True)


if __name__ == "__main__":
    main()
