"""What a soak found, as a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from e2e.scenarios.manifest import NAME
from e2e.soak import laws, memory
from e2e.soak.outcome import Outcome
from e2e.soak.record import PHASES, Record, phases_at

SHOWN = 5
MANY_KILLS = 50


@dataclass(frozen=True)
class Finding:
    """One law: its breaches as sentences, and the figures it rests on."""

    law: str
    breaches: list[str]
    figures: str = ""


def findings(outcome: Outcome) -> list[Finding]:
    """Every law, judged."""
    operator, records, players = outcome.operator, outcome.records, outcome.players
    if operator is None:
        return [Finding("The soak began", ["it did not come so far"])]
    faults = laws.Faults(operator.working, outcome.unmeasured)
    own = {version for player in players for version in player.own}
    judged = [laws.lost(record, NAME, own) for record in records]
    forgiven = sum(count for _, count in judged)
    theirs = sum(failure.version in own for record in records for failure in record.failures)
    states = sum(len(record.states()) for record in records)
    episodes = sum(len(player.played) for player in players)
    lives = [life for life in operator.lives if len(life.memory) > 1]
    longest = max(lives, key=lambda life: len(life.memory), default=None)
    grown = memory.growth(longest.memory) if longest else None
    highest = max((size for life in operator.lives for _, size in life.memory), default=0.0)
    return [
        Finding(
            "No request is lost that stable would have answered",
            [each for breaches, _ in judged for each in breaches],
            f"{outcome.requests:,} requests, {theirs:,} failed by bad versions themselves, "
            f"{forgiven:,} behind pods that were deleted or answered no probe, or in a Recreate",
        ),
        Finding(
            "Every rollout ends as it does without faults, and from every state it comes to rest",
            [each for player in players for each in player.complaints],
            f"{episodes} episodes",
        ),
        Finding(
            "A weight never points at a revision without ready pods",
            [each for record in records for each in laws.shares_with_pods(record, NAME, faults)],
            f"{sum(len(record.seen) - len(record.states()) for record in records):,} states of routes, Services and pods",
        ),
        Finding(
            "The weights sum to 100",
            [each for record in records for each in laws.weights_in_bounds(record)],
            f"{states:,} states of the ModelDeployments",
        ),
        Finding(
            "A rejected revision does not come back by itself",
            [each for record in records for each in laws.rejected_stay_away(record)],
            f"{sum(len(each) for each in _rejected(outcome))} rejected",
        ),
        Finding(
            "No phase outlasts its deadline",
            [each for record in records for each in laws.phases_end(record, faults)],
        ),
        Finding("Nothing is left behind", outcome.leftovers),
        Finding(
            "The operator never ends by itself",
            [*operator.unasked, *(line for line in operator.complaints if line.startswith("Traceback"))],
            f"{len(operator.lives)} lives, {len(operator.complaints)} errors logged",
        ),
        _kills_by_phase(outcome.records, operator.killed.values()),
        Finding(
            "The operator's memory does not grow without bound",
            [found for life in lives if (found := memory.complaint(life.memory))],
            f"{grown[0]:.0f} MiB, later {grown[1]:.0f} MiB in the longest life; at most {highest:.0f} MiB"
            if grown
            else f"at most {highest:.0f} MiB; no life was long enough to judge",
        ),
        Finding(
            "All of it was done",
            ([] if outcome.ended else ["it did not come to its end"])
            + ([] if len(operator.killed) >= outcome.wishes.kills else [f"only {len(operator.killed)} kills"]),
            _deeds(outcome),
        ),
    ]


def table(outcome: Outcome, found: list[Finding]) -> Table:
    """The laws, each with what it rests on and what broke it."""
    shown = Table(title=f"soak, seed {outcome.wishes.seed}", title_justify="left")
    shown.add_column("law")
    shown.add_column("held")
    shown.add_column("figures")
    for each in found:
        broken = "\n".join([*each.breaches[:SHOWN], *(["…"] if len(each.breaches) > SHOWN else [])])
        held = "no" if each.breaches else "yes"
        shown.add_row(
            each.law, held, "\n".join(part for part in (each.figures, broken) if part), style="red" if broken else ""
        )
    return shown


def _rejected(outcome: Outcome) -> list[set[str]]:
    return [{entry.revision for _, md in record.states() for entry in md.status.rejected} for record in outcome.records]


def _kills_by_phase(records: Iterable[Record], instants: Collection[float]) -> Finding:
    """How often each phase of a rollout was met, over all models. A few random instants owe nobody a phase of seconds."""
    met: Counter[str] = Counter()
    for record in records:
        met += phases_at(instants, record.states())
    missed = [f"no kill met {phase}" for phase in PHASES if not met[phase]] if len(instants) >= MANY_KILLS else []
    return Finding("It is killed in every phase", missed, ", ".join(f"{met[phase]} x {phase}" for phase in PHASES))


def _deeds(outcome: Outcome) -> str:
    operator = outcome.operator
    plots = Counter(name for player in outcome.players for name in player.played)
    told = [", ".join(f"{count} x {name}" for name, count in plots.most_common())]
    if operator:
        backs = sorted(operator.backs)
        told.append(
            f"{len(operator.killed)} kills, {len(operator.cuts)} cuts, {len(outcome.unmeasured)} outages of Prometheus, "
            f"{sum(len(record.deleted) for record in outcome.records)} pods deleted, in {outcome.storm:.0f} s"
        )
        if backs:
            told.append(f"ready again after a kill: median {median(backs):.1f} s, at most {backs[-1]:.1f} s")
    ends = Counter(
        entry.outcome
        for record in outcome.records
        for entry in {
            (entry.started_at, entry.revision): entry for _, md in record.states() for entry in md.status.history
        }.values()
    )
    told.append(", ".join(f"{count} {outcome}" for outcome, count in ends.most_common()))
    return "\n".join(each for each in told if each)
