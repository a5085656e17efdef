"""The parts of a check in one query, and what stands alone; `test_unions_real` asks a real Prometheus the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.observed import Series, Unavailable
from haldane.plan.queries import Written
from haldane.plan.unions import Part, Union, unite

Make = Callable[..., ModelDeployment]
AT = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST = 6000


def parts(md: ModelDeployment, *texts: str, check: str = "own", at: datetime = AT) -> list[Part]:
    return [Part(Written(text, md, check), at, "shop") for text in texts]


def texts(unions: list[Union]) -> list[list[str]]:
    return [[str(part.query) for part in union.parts] for union in unions]


def test_what_one_check_asks_is_one_query(model_deployment: Make) -> None:
    (union,) = unite(parts(model_deployment(), "a", "1 # one", "sum(b)"), LONGEST)
    assert union.promql == (
        'label_replace((a),"haldane_part","0","","") or label_replace(vector(1 # one\n),"haldane_part","1","","")'
        ' or label_replace((sum(b)),"haldane_part","2","","")'
    )


def test_each_check_stands_alone(model_deployment: Make) -> None:
    md, other = model_deployment(), model_deployment(name="other")
    asked = [*parts(md, "a", "b"), *parts(md, "c", check="second"), *parts(other, "d")]
    assert texts(unite(asked, LONGEST)) == [["a", "b"], ["c"], ["d"]]


def test_a_part_alone_is_asked_as_it_is_written(model_deployment: Make) -> None:
    (alone,) = parts(model_deployment(), "a # b")
    (union,) = unite([alone], LONGEST)
    assert union.promql is alone.query
    assert union.split((Series({"x": "y"}, 1.0),)) == {alone: (Series({"x": "y"}, 1.0),)}


def test_what_is_not_whole_is_asked_alone(model_deployment: Make) -> None:
    asked = parts(model_deployment(), "a", "b) or (c", "d")
    assert texts(unite(asked, LONGEST)) == [["b) or (c"], ["a", "d"]]


def test_another_instant_stands_in_the_text(model_deployment: Make) -> None:
    md, before = model_deployment(), AT - timedelta(days=1, milliseconds=7)
    asked = parts(md, "a", "b @ end()") + parts(md, "c", "d @ end()", "e", at=before)
    alone, union = unite(asked, LONGEST)
    assert (alone.promql, alone.at) == ("d @ end()", before)
    assert union.at == AT
    wrapped = f"last_over_time(((c))[1ms:1ms] @ {before.timestamp():.3f})"
    assert union.promql.count("last_over_time") == 2
    assert f'label_replace({wrapped},"haldane_part","2","","")' in union.promql


def test_a_text_is_no_longer_than_a_proxy_takes(model_deployment: Make) -> None:
    asked = parts(model_deployment(), *(f"sum({letter * 1000})" for letter in "abcdef"), "g" * 9000, "h")
    united = unite(asked, LONGEST)
    assert [len(union.parts) for union in united] == [5, 1, 1, 1]
    assert [len(quote_plus(union.promql)) <= LONGEST for union in united] == [True, True, False, True]


def test_each_part_gets_its_own(model_deployment: Make) -> None:
    asked = parts(model_deployment(), "a", "b", "c")
    (union,) = unite(asked, LONGEST)
    series = [Series({"haldane_part": "2", "x": "1"}, 1.0), Series({"haldane_part": "0"}, 2.0), Series({}, 9.0)]
    series.append(Series({"haldane_part": "2", "x": "2"}, 3.0))
    assert list(union.split(tuple(series)).values()) == [
        (Series({}, 2.0),),
        (),
        (Series({"x": "1"}, 1.0), Series({"x": "2"}, 3.0)),
    ]
    down = Unavailable("it cannot be reached")
    assert union.split(down) == dict.fromkeys(asked, down)
