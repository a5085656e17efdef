"""A user's query that gives a passing number for a revision that never was cannot tell good data from none.

It is asked of nobody as well as of the candidate: when a spec is applied (`rehearsal`), and in a rollout until it has shown once
that it knows the two apart. What counts hits may well say 0 for nobody; what must not be made up are the requests among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from zlib import crc32

from haldane.api.rollout import Check
from haldane.plan.evidence import Evidence
from haldane.plan.observed import Answer, Unavailable
from haldane.plan.samples import one_number
from haldane.plan.verdicts import Judged, Trial, judge_query, kind_of

NOBODY = "0000000000"
"""A revision that never was."""
PREFIX = "nobody/"
"""How the names of queries about it begin; see `asking.queries`."""


def unproven(check: Check) -> dict[str, str]:
    """The queries of a check that must give nothing for nobody, by the end of their key."""
    if check.query:
        return {"": check.query.promql}
    return {"/total": check.proportion.total} if check.proportion and check.proportion.total else {}


def is_told_apart(check: Check, before: Evidence | None) -> bool:
    """Whether the queries of the check, as they are now, have been seen to give nothing for nobody while they gave something."""
    return before is not None and before.kind == _kind(check)


def made_up(check: Check, answer: Answer, baseline: Answer | None, trial: Trial | None = None) -> str:
    """What is wrong with a query that gave `answer` for nobody, as the end of a clause; empty when nothing is.

    `baseline` is the same query for stable. A number that fails, as 0 below a `min` does, lets nothing pass without data.
    """
    value = one_number(answer)[0]
    if value is None:
        return ""
    if check.query:
        past, alone = (trial.in_hindsight, trial.is_alone) if trial else (False, False)
        if judge_query(check.query, answer, baseline, 1, 1, past, alone).verdict == "Fail":
            return ""
        asked = (
            "so that it would pass without data: select by {{revision}}, and leave out what fills in for missing data"
        )
    else:
        if round(value) <= 0:
            return ""
        asked = (
            "so that it would pass without requests: select by {{revision}}, and let only hits fill in for missing data"
        )
    return f"{value:.6g} for a revision that does not exist, too, {asked}"


def doubted(
    check: Check, judged: Judged, answers: Mapping[str, Answer], baseline: Answer | None, trial: Trial
) -> Judged:
    """The verdict, unless it is a Pass of queries that were never seen to tell the candidate from nobody."""
    for part in unproven(check):
        answer = answers.get(f"{PREFIX}{check.name}{part}")
        if answer is None:
            continue
        named = f" for {part[1:]}" if part else ""
        wrong = made_up(check, answer, baseline, trial)
        if isinstance(answer, Unavailable):
            wrong = f"for a revision that does not exist no answer: {answer.reason}"
        if wrong and judged.verdict == "Pass":
            why = f"the query{named} gave {wrong}"
            judged = replace(judged, verdict="Inconclusive", message=why, limit=None, detectable=None)
        if wrong:
            return replace(judged, evidence=None)
        if check.query and judged.value is not None:
            return replace(judged, evidence=Evidence(kind=_kind(check)))
    return judged


def _kind(check: Check) -> int:
    if check.proportion:
        return kind_of(check.proportion)
    return crc32(check.query.promql.encode()) if check.query else 0
