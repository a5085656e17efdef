"""The model repository alone: real batchers and a plane, engines that wait for the test."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, LoadError, Reason, RequestError
from haldane_runtime.core.types import Array, Datatype, InferRequest, ModelSignature, ServedModel, TensorSpec
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.loading import LoadedModel
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.repository.failures import together
from haldane_runtime.repository.offers import offers_of
from haldane_runtime.repository.repository import IndexEntry, ModelRepository, ModelState
from haldane_runtime.settings import Settings, from_environment

WAIT = 10.0
HOURS = 10_000.0
SPEC = TensorSpec("x", Datatype.FP32, ("n",))


class Engine:
    """Answers with the number it was loaded from, once it may."""

    def __init__(self, answer: float) -> None:
        self.signature = ModelSignature((SPEC,), (replace(SPEC, name="y"),))
        self.device = "cpu"
        self.answer = answer
        self.may_run = threading.Event()
        self.may_run.set()
        self.closed = False

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        assert not self.closed
        assert self.may_run.wait(WAIT)
        return {name: np.full_like(inputs["x"], self.answer) for name in outputs}

    def close(self) -> None:
        self.closed = True


class Loader:
    """A model file holds the number that its engine answers with; any other text does not load."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []
        self.loads: list[str] = []
        self.now = 0
        self.most = 0
        self.may_load = threading.Event()
        self.may_load.set()

    def __call__(self, settings: Settings) -> LoadedModel:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            assert self.may_load.wait(WAIT)
            return self._load(settings)
        finally:
            self.now -= 1

    def _load(self, settings: Settings) -> LoadedModel:
        folder = Path(settings.model_uri.removeprefix("file://"))
        self.loads.append(f"{settings.model_name}/{settings.model_version}")
        file = folder if folder.suffix == ".onnx" else folder / "model.onnx"
        if not file.exists():
            raise LoadError(Reason.MODEL_NOT_FOUND, f"{file} does not exist.")
        text = file.read_text()
        try:
            engine = Engine(float(text))
        except ValueError:
            raise LoadError(Reason.INVALID_MODEL, f"{text} is no number.") from None
        self.engines.append(engine)
        version = settings.model_version or f"of-{text}"
        model = ServedModel(settings.model_name, version, text, "cpu", engine.signature)
        return LoadedModel(
            model, engine, BatchProfile(False, "It is not.", 1, {}), file, file, 1, None, 0, lambda _: engine
        )


class Place:
    """A repository's folder and what serves it."""

    def __init__(self, root: Path, loader: Loader, uri: str = "", timeout: float = 0.05, control: str = "explicit"):
        source = {"HALDANE_MODEL_URI": uri} if uri else {"HALDANE_MODEL_REPOSITORY": str(root)}
        settings = from_environment({**source, "HALDANE_MODEL_CONTROL": control})
        self.root = root
        self.plane = DataPlane(Metrics("", ""))
        self.repository = ModelRepository(self.plane, offers_of(settings), loader, control == "explicit", timeout)

    def put(self, path: str, text: str) -> None:
        file = self.root / path / "model.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        # A new file each time, as a copy over the old one may keep its size within one tick of the clock.
        file.unlink(missing_ok=True)
        file.write_text(text)

    async def ask(self, name: str, version: str | None = None) -> float:
        request = InferRequest({"x": np.zeros(1, np.float32)}, ("y",))
        response = await self.plane.find(name, version).infer(request, time.monotonic() + WAIT)
        return float(response.outputs["y"][0])

    async def index(self) -> list[tuple[str, str, str, str]]:
        return [_row(entry) for entry in await self.repository.index()]


def _row(entry: IndexEntry) -> tuple[str, str, str, str]:
    return entry.name, entry.version, entry.state, entry.reason


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def place(tmp_path: Path, loader: Loader) -> Place:
    return Place(tmp_path, loader)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.001)


async def test_every_version_is_served_and_the_highest_by_default(place: Place) -> None:
    for version in ("1", "2", "10"):
        place.put(f"iris/{version}", version)
    place.put("fraud/1", "7")
    await place.repository.load_all()
    assert await place.ask("iris") == 10
    assert await place.ask("iris", "2") == 2
    assert await place.ask("fraud") == 7
    # Heard over gRPC as well.
    with pytest.raises(RequestError, match=r"name the model, over HTTP as in .*; this server serves 'fraud', 'iris'"):
        place.plane.find()
    assert await place.index() == [
        ("fraud", "1", "READY", ""),
        ("iris", "1", "READY", ""),
        ("iris", "2", "READY", ""),
        ("iris", "10", "READY", ""),
    ]


async def test_a_model_that_fails_takes_no_other_down_and_says_why(place: Place) -> None:
    place.put("iris/1", "1")
    place.put("broken/1", "scrap")
    await place.repository.load_all()
    place.plane.serve()
    assert await place.ask("iris") == 1
    assert ("broken", "1", "UNAVAILABLE", "scrap is no number.") in await place.index()
    with pytest.raises(RequestError, match="scrap is no number") as caught:
        place.plane.find("broken")
    assert caught.value.code is Code.UNAVAILABLE
    assert not place.plane.ready


async def test_one_failed_version_leaves_the_model_ready_and_is_not_unknown(place: Place) -> None:
    place.put("iris/1", "1")
    place.put("iris/2", "scrap")
    await place.repository.load_all()
    place.plane.serve()
    assert place.plane.ready
    assert await place.ask("iris") == 1
    assert place.plane.left_out == {("iris", "2"): "scrap is no number."}
    with pytest.raises(RequestError, match="model 'iris' version 2 could not be loaded: scrap is no number") as caught:
        place.plane.find("iris", "2")
    assert caught.value.code is Code.UNAVAILABLE
    with pytest.raises(RequestError, match="has no version '3'") as caught:
        place.plane.find("iris", "3")
    assert caught.value.code is Code.NOT_FOUND
    place.put("iris/2", "2")
    await place.repository.load("iris")
    assert (await place.ask("iris"), place.plane.left_out) == (2, {})


async def test_a_load_tells_of_all_versions_that_fail(place: Place) -> None:
    for version in ("1", "2", "3"):
        place.put(f"iris/{version}", version if version == "2" else f"scrap{version}")
    with pytest.raises(RequestError) as caught:
        await place.repository.load("iris")
    assert caught.value.message == (
        "InvalidModel: The model 'iris' version 1 could not be loaded: scrap1 is no number. "
        "The model 'iris' version 3 could not be loaded: scrap3 is no number."
    )


async def test_a_model_that_is_gone_is_served_until_it_is_unloaded(place: Place) -> None:
    place.put("iris/1", "1")
    await place.repository.load_all()
    shutil.rmtree(place.root / "iris")
    with pytest.raises(RequestError, match="no model 'iris' any more; what is loaded of it is served") as caught:
        await place.repository.load("iris")
    assert caught.value.code is Code.NOT_FOUND
    assert await place.ask("iris") == 1
    await place.repository.unload("iris")
    assert await place.index() == []


async def test_a_version_that_only_the_load_would_tell_is_not_made_up(
    tmp_path: Path, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place(tmp_path, loader, uri=f"file://{tmp_path}/one")
    place.put("one", "scrap")
    await place.repository.load_all()
    assert "model 'model' could not be loaded: scrap is no number." in caplog.messages


def test_many_failures_fit_into_a_termination_log() -> None:
    failures = {("iris", str(number)): LoadError(Reason.INVALID_MODEL, "It is scrap.") for number in range(1, 31)}
    told = together(failures | {("one", ""): LoadError(Reason.ACCESS_DENIED, "No.")})
    assert told.reason is Reason.INVALID_MODEL
    assert told.message.startswith("The model 'iris' version 1 could not be loaded: It is scrap. The model 'iris'")
    assert told.message.endswith("version 8 could not be loaded: It is scrap. The log names 23 more.")


async def test_a_mended_model_becomes_ready_by_a_load(place: Place) -> None:
    place.put("iris/1", "scrap")
    await place.repository.load_all()
    place.plane.serve()
    with pytest.raises(RequestError, match=r"InvalidModel: .*: scrap is no number") as caught:
        await place.repository.load("iris")
    assert caught.value.code is Code.INVALID
    place.put("iris/1", "1")
    await place.repository.load("iris")
    assert place.plane.ready
    assert await place.index() == [("iris", "1", "READY", "")]


@pytest.mark.parametrize("mended_by", ["load", "unload"])
async def test_a_failed_version_that_is_taken_away_is_forgotten(place: Place, mended_by: str) -> None:
    place.put("iris/1", "scrap")
    await place.repository.load_all()
    place.plane.serve()
    shutil.rmtree(place.root / "iris/1")
    if mended_by == "load":
        place.put("iris/2", "2")
    await getattr(place.repository, mended_by)("iris")
    assert place.plane.ready
    assert await place.index() == ([("iris", "2", "READY", "")] if mended_by == "load" else [])


async def test_a_load_takes_what_is_new_or_changed_and_drops_what_is_gone(place: Place, loader: Loader) -> None:
    place.put("iris/1", "1")
    place.put("iris/2", "2")
    await place.repository.load_all()
    loader.loads.clear()
    (place.root / "iris/1/model.onnx").unlink()
    (place.root / "iris/1").rmdir()
    place.put("iris/3", "3")
    await place.repository.load("iris")
    assert loader.loads == ["iris/3"]
    assert [row[:2] for row in await place.index()] == [("iris", "2"), ("iris", "3")]
    place.put("iris/3", "33")
    await place.repository.load("iris")
    assert loader.loads == ["iris/3", "iris/3"]
    assert await place.ask("iris") == 33


async def test_a_version_that_cannot_be_loaded_leaves_what_is_served(place: Place) -> None:
    place.put("iris/1", "1")
    await place.repository.load_all()
    place.put("iris/1", "scrap")
    with pytest.raises(RequestError, match="scrap is no number"):
        await place.repository.load("iris")
    assert await place.ask("iris") == 1


async def test_a_request_that_found_the_replaced_version_is_still_answered(tmp_path: Path, loader: Loader) -> None:
    place = Place(tmp_path, loader, timeout=HOURS)
    place.put("iris/1", "1")
    await place.repository.load_all()
    found = place.plane.find("iris")
    found.hold()
    place.put("iris/1", "11")
    await place.repository.load("iris")
    assert await place.ask("iris") == 11
    request = InferRequest({"x": np.zeros(1, np.float32)}, ("y",))
    assert (await found.infer(request, time.monotonic() + WAIT)).outputs["y"][0] == 1
    assert not loader.engines[0].closed
    found.release()
    await until(lambda: loader.engines[0].closed)
    assert not loader.engines[1].closed


async def test_who_never_comes_holds_a_replaced_version_no_longer_than_a_request_may_take(
    place: Place, loader: Loader
) -> None:
    place.put("iris/1", "1")
    await place.repository.load_all()
    place.plane.find("iris").hold()
    place.put("iris/1", "11")
    await place.repository.load("iris")
    await until(lambda: loader.engines[0].closed)


async def test_quick_reloads_leave_one_copy_of_a_model(tmp_path: Path, loader: Loader) -> None:
    place = Place(tmp_path, loader, timeout=HOURS)
    for number in range(5):
        place.put("iris/1", str(number))
        place.put("iris/2", str(number))
        await place.repository.load("iris")
        assert await place.ask("iris") == number
    shutil.rmtree(tmp_path / "iris/2")
    await place.repository.load("iris")
    await until(lambda: sum(not engine.closed for engine in loader.engines) == 1)
    assert await place.ask("iris") == 4


async def test_an_unload_waits_for_what_is_queued(tmp_path: Path, loader: Loader) -> None:
    place = Place(tmp_path, loader, timeout=WAIT)
    place.put("iris/1", "1")
    await place.repository.load_all()
    place.plane.serve()
    loader.engines[0].may_run.clear()
    asked = [asyncio.create_task(place.ask("iris")) for _ in range(3)]
    await asyncio.sleep(0)
    unloading = asyncio.create_task(place.repository.unload("iris", {"unload_dependents": False}))
    await until(lambda: not place.plane.instances)
    assert not unloading.done()
    with pytest.raises(RequestError) as caught:
        place.plane.find("iris")
    assert caught.value.code is Code.NOT_FOUND
    loader.engines[0].may_run.set()
    assert await asyncio.gather(*asked) == [1, 1, 1]
    await unloading
    assert await place.index() == [("iris", "1", "UNAVAILABLE", "unloaded")]
    await place.repository.load("iris")
    assert await place.ask("iris") == 1


async def test_loads_come_one_after_the_other(place: Place, loader: Loader) -> None:
    for name in ("iris", "fraud"):
        place.put(f"{name}/1", "1")
    loader.may_load.clear()
    loads = [asyncio.create_task(place.repository.load(name)) for name in ("iris", "iris", "fraud")]
    await until(lambda: loader.now == 1)
    assert [row[:3] for row in await place.index()] == [("fraud", "1", "LOADING"), ("iris", "1", "LOADING")]
    loader.may_load.set()
    await asyncio.gather(*loads)
    assert loader.most == 1
    assert sorted(loader.loads) == ["fraud/1", "iris/1"]


async def test_a_load_goes_on_when_its_client_leaves(place: Place, loader: Loader) -> None:
    place.put("iris/1", "1")
    loader.may_load.clear()
    load = asyncio.create_task(place.repository.load("iris"))
    await until(lambda: loader.now == 1)
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert await place.index() == [("iris", "1", ModelState.LOADING, "")]
    loader.may_load.set()
    await until(lambda: bool(place.plane.instances))


@pytest.mark.parametrize(
    "name", ["absent", "../secret", "..", ".", "", "/etc", "iris/1", "iris/../../secret", "iris\0"]
)
@pytest.mark.parametrize("operation", ["load", "unload"])
async def test_only_names_that_the_repository_holds_are_known(
    tmp_path: Path, loader: Loader, name: str, operation: str
) -> None:
    place = Place(tmp_path / "models", loader)
    place.put("../secret/1", "1")
    place.put("iris/1", "1")
    with pytest.raises(RequestError, match=f"no model '{name}'") as caught:
        await getattr(place.repository, operation)(name)
    assert caught.value.code is Code.NOT_FOUND
    assert loader.loads == []


@pytest.mark.parametrize("operation", ["load", "unload"])
async def test_without_model_control_the_request_says_how_to_get_it(
    tmp_path: Path, loader: Loader, operation: str
) -> None:
    place = Place(tmp_path, loader, control="none")
    place.put("iris/1", "1")
    with pytest.raises(RequestError, match=rf"{operation}ed by request.*HALDANE_MODEL_CONTROL=explicit") as caught:
        await getattr(place.repository, operation)("iris")
    assert caught.value.code is Code.FORBIDDEN
    assert await place.index() == [("iris", "1", "UNAVAILABLE", "unloaded")]


async def test_a_parameter_that_would_change_the_model_is_refused(place: Place) -> None:
    with pytest.raises(RequestError, match="the parameter 'config' is not served") as caught:
        await place.repository.load("iris", {"config": "{}"})
    assert caught.value.code is Code.INVALID


async def test_one_model_by_uri_is_reloaded_to_its_new_content(tmp_path: Path, loader: Loader) -> None:
    place = Place(tmp_path, loader, uri=f"file://{tmp_path}/one")
    place.put("one", "1")
    assert await place.index() == [("model", "", "UNAVAILABLE", "unloaded")]
    await place.repository.load_all()
    assert await place.index() == [("model", "of-1", "READY", "")]
    place.put("one", "2")
    await place.repository.load("model")
    assert await place.index() == [("model", "of-2", "READY", "")]
    assert await place.ask("model") == 2
    await until(lambda: loader.engines[0].closed)


async def test_a_repository_that_is_gone_is_an_error_of_the_request(tmp_path: Path, loader: Loader) -> None:
    place = Place(tmp_path / "absent", loader)
    for operation in (place.repository.index(), place.repository.load("iris"), place.repository.unload("iris")):
        with pytest.raises(RequestError, match=r"ModelNotFound: The model repository .* cannot be read"):
            await operation
