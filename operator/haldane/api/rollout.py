"""`ModelDeployment.spec.rollout`: how a new revision takes over, and what makes it go back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from haldane.api.base import ApiModel, Rule, text, validations
from haldane.api.quantity import (
    DURATION_PATTERN,
    NUMBER_PATTERN,
    Duration,
    Increase,
    Interval,
    Number,
    Percent,
    PositiveDuration,
    Quantile,
)

CheckName = Annotated[
    str,
    *text(
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "write a name of lower-case letters, digits and -, for example errors or p99",
        63,
    ),
]


class Step(ApiModel):
    """One share of the traffic, and how long it is held at least."""

    weight: int = Field(
        ge=0, le=100, description="Per cent of the requests for the candidate; 0: only those with previewHeader."
    )
    hold: Duration = Field(description="Shortest time at this weight; the step ends when every check passes after it.")
    approval: bool | None = Field(None, description="Whether a person must approve the end of the step.")


class ErrorRate(ApiModel):
    """Limits on the share of requests that the model answers with a 5xx code."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.max) || has(self.maxIncrease) || has(self.abort)",
                "errorRate needs a limit: write max, maxIncrease or abort",
            )
        )
    )
    max: Percent | None = Field(
        None,
        description="Highest true error rate; rolled back when shown to be beyond it.",
    )
    max_increase: Percent | None = Field(
        None,
        description="Highest rise over stable in percentage points: 0.1% allows 1.1% beside stable's 1%.",
    )
    abort: Percent | None = Field(
        None, description="Error rate beyond which it is rolled back without waiting for minRequests."
    )


class Latency(ApiModel):
    """Limits on one quantile of the request duration, as the runtime measures it."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule("has(self.max) || has(self.maxIncrease)", "latency needs a limit: write max or maxIncrease")
        )
    )
    quantile: Quantile = Field("0.99", description="Quantile that is limited, between 0 and 1.")
    max: PositiveDuration | None = Field(None, description="Longest duration at the quantile.")
    max_increase: Increase | None = Field(None, description="Highest rise over stable's own quantile, for example 20%.")


_NO_UNKNOWN_PLACEHOLDER = (
    "!self.replace('{{model}}', '').replace('{{namespace}}', '').replace('{{revision}}', '')"
    ".replace('{{window}}', '').contains('{{')"
)


class Query(ApiModel):
    """A PromQL query of your own that returns one number."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.max) || has(self.min) || has(self.maxIncrease)",
                "query needs a limit: write max, min or maxIncrease",
            ),
            Rule(
                "!has(self.min) || !has(self.max) || double(self.min) <= double(self.max)"
                f" || !(self.min.matches('{NUMBER_PATTERN}') && self.max.matches('{NUMBER_PATTERN}'))",
                "query.min must not be above query.max: no value could pass",
                ".min",
            ),
        )
    )
    promql: Annotated[
        str,
        Rule(
            _NO_UNKNOWN_PLACEHOLDER,
            "query.promql has an unknown placeholder: use {{model}}, {{namespace}}, {{revision}} and {{window}}, without spaces",
        ),
    ] = Field(
        min_length=1,
        max_length=4096,
        description="PromQL; {{model}}, {{namespace}}, {{revision}} and {{window}} are filled in.",
    )
    max: Number | None = Field(None, description="Highest value that passes.")
    min: Number | None = Field(None, description="Lowest value that passes.")
    max_increase: Increase | None = Field(None, description="Highest rise over stable's own value, for example 5%.")


CountQuery = Annotated[
    str,
    Field(min_length=1, max_length=4096),
    Rule(
        f"self.contains('{{{{revision}}}}') && self.contains('{{{{window}}}}') && {_NO_UNKNOWN_PLACEHOLDER}",
        "count for one revision and window: use {{revision}} and [{{window}}], and besides only {{model}} and {{namespace}}",
    ),
]


class Proportion(ApiModel):
    """Limits on a share that you count yourself, for example of declined payments; tested as the error rate is."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule("has(self.max) || has(self.maxIncrease)", "proportion needs a limit: write max or maxIncrease")
        )
    )
    hits: CountQuery = Field(
        description='PromQL: how many hits, e.g. sum(increase(declined_total{revision="{{revision}}"}[{{window}}])).'
    )
    total: CountQuery | None = Field(None, description="PromQL: how many in all. Default: the revision's requests.")
    max: Percent | None = Field(None, description="Highest true share of hits.")
    max_increase: Percent | None = Field(None, description="Highest rise over stable's own share in percentage points.")


class Check(ApiModel):
    """Exactly one of errorRate, latency, proportion and query."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "(has(self.errorRate) ? 1 : 0) + (has(self.latency) ? 1 : 0) + (has(self.proportion) ? 1 : 0)"
                " + (has(self.query) ? 1 : 0) == 1",
                "a check is exactly one of errorRate, latency, proportion and query: split it into several checks",
            )
        )
    )
    name: CheckName = Field(description="Name of the check in status and events.")
    error_rate: ErrorRate | None = Field(None, description="Limit the share of requests answered with a 5xx code.")
    latency: Latency | None = Field(None, description="Limit a quantile of the request duration.")
    proportion: Proportion | None = Field(None, description="Limit a share that you count yourself.")
    query: Query | None = Field(None, description="Limit the result of a PromQL query.")


Multiple = Annotated[
    str, *text("^[1-9][0-9]{0,3}([.][0-9]{1,3})?x$", 'write how many times the limit, for example "2x"', 12)
]


class Analysis(ApiModel):
    """How the checks are evaluated."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                # has(): the API server also tries the rule on the default {}, before it fills in the fields' own defaults.
                "!has(self.window) || !has(self.interval) || duration(self.window) >= duration(self.interval)"
                f" || !(self.window.matches('{DURATION_PATTERN}') && self.interval.matches('{DURATION_PATTERN}'))",
                "analysis.window must be at least analysis.interval: no request may fall between two looks",
                ".window",
            )
        )
    )
    interval: Interval = Field("30s", description="Time between two evaluations.")
    window: PositiveDuration = Field(
        "2m",
        description="How far back a query looks; other checks look at the whole step, and at this for sudden faults.",
    )
    warmup: Duration = Field("30s", description="First part of each step whose requests do not count.")
    min_requests: int = Field(
        100, ge=1, le=100_000_000, description="Fewer candidate requests give Inconclusive, never Pass."
    )
    detect: Multiple | None = Field(
        None, description="Hold a step, up to its deadline, until so many times the limit would be seen 4 times in 5."
    )
    failure_limit: int = Field(
        3, ge=1, le=1000, description="Failures of a query check, with no pass between, that roll back."
    )
    on_inconclusive: Literal["Hold", "Promote", "Rollback"] = Field(
        "Hold",
        description="What to do at a step's deadline when the checks could not decide.",
    )


def _default_steps() -> list[Step]:
    return [
        Step(weight=1, hold="2m"),
        Step(weight=5, hold="10m"),
        Step(weight=25, hold="10m"),
        Step(weight=50, hold="10m"),
    ]


def _default_checks() -> list[Check]:
    return [
        Check(name="errors", error_rate=ErrorRate(max_increase="0.1%", abort="20%")),
        Check(name="p99", latency=Latency(max_increase="10%")),
    ]


class Rollout(ApiModel):
    """How a new revision takes over."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.strategy) || self.strategy == 'Canary' || !has(self.steps)"
                " || self.steps.map(s, s.weight) in [[1, 5, 25, 50], self.strategy == 'BlueGreen' ? [0] : []]",
                "write one step of weight 0 for BlueGreen, or leave out rollout.steps",
                ".steps",
            )
        )
    )
    strategy: Literal["Canary", "BlueGreen", "Recreate"] | None = Field(
        None, description="Canary (default): by steps; BlueGreen: in one switch; Recreate: old pods go first."
    )
    steps: Annotated[
        list[Step],
        Rule(
            "self.map(step, step.weight).isSorted()"
            " && self.all(step, self.exists_one(other, other.weight == step.weight))",
            "the weights of rollout.steps must rise from step to step, for example 5, 25, 50",
        ),
    ] = Field(
        default_factory=_default_steps,
        min_length=1,
        max_length=20,
        description="Shares of the traffic, rising, each with its hold. Default: 1 % for 2m, then 5, 25 and 50 % for 10m each.",
    )
    analysis: Analysis = Field(default_factory=Analysis, description="How the checks are evaluated.")
    checks: Annotated[
        list[Check],
        Rule(
            "self.all(check, self.exists_one(other, other.name == check.name))",
            "names in rollout.checks must differ: give each check its own name",
        ),
    ] = Field(
        default_factory=_default_checks,
        max_length=16,
        description="What must hold at each step. Default: errors 0.1 points and p99 10 % above stable; 20 % errors at once.",
    )
    progress_deadline: PositiveDuration = Field(
        "10m",
        description="Longest time until the candidate is ready for traffic; a step's deadline is its hold and this.",
    )
    keep_stable_for: Duration = Field("5m", description="How long the old pods stay, warm, after a promotion.")
    watch_after_promotion: Duration = Field(
        "10m", description="How long the checks can still roll back after a promotion."
    )
    allow_signature_change: bool | None = Field(
        None, description="Whether a candidate may have other inputs or outputs than stable."
    )
    smoke_latency: PositiveDuration | None = Field(
        None, description="Longest time of the fastest request before any traffic. Default: 10 times stable's."
    )
