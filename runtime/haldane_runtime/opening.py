"""One fetched model to an open session: converted if asked for, held against its golden requests, with tuned threads."""

from pathlib import Path

from haldane_runtime.engine import golden, independence, onnx, precision
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.comparison import Tolerance
from haldane_runtime.engine.precision import Precision, Samples, Source
from haldane_runtime.engine.threads import usable_threads
from haldane_runtime.engine.trial import Trial, find_inputs, rows_of
from haldane_runtime.engine.tuning import Tuned, open_tuned
from haldane_runtime.engine.vocabulary import read_vocabulary
from haldane_runtime.settings import Settings
from haldane_runtime.store.cache import Cache, disk_errors
from haldane_runtime.store.fetch import FetchedModel


class Opening:
    """`path` is the file that `open` opens, `available` how many threads it may use.

    `golden_requests` is how many the open model was held against.
    """

    def __init__(self, settings: Settings, fetched: FetchedModel, folder: bool) -> None:
        """Raises: LoadError: InvalidConfiguration, when the golden requests cannot be read."""
        self.path = fetched.path
        self.available = settings.intra_op_threads or usable_threads()
        self.golden_requests = 0
        self._settings = settings
        self._fetched = fetched
        self._size = _bytes(fetched.path, folder)
        self._precision = Precision(settings.precision, settings.precision_tolerance)
        self._golden = golden.read(settings.golden, fetched.path)

    @property
    def independence(self) -> Tolerance:
        """How far a merged request's answer may be from its own; int8 is exact, where it is independent at all."""
        reduced = self._precision.name == "fp16" or self._settings.device == "gpu"
        return independence.INDEPENDENT_REDUCED if reduced else independence.INDEPENDENT

    def convert(self) -> None:
        """Make or find the model at the precision asked for: from now on that is opened.

        Raises:
            LoadError: as `precision.converted` does.
        """
        precision.require_supported(self._precision, self._settings.device, self._settings.providers)
        text = self._golden[0] if self._golden else ""
        key = precision.key(self._fetched.digest, self._precision.name, text, onnx.VERSION)
        conditions = precision.conditions(text, self._settings.device, self._settings.providers)
        cache = self._settings.cache_dir
        with disk_errors(cache):
            self.path = precision.converted(
                Source(self._fetched.path, self._size, key, conditions),
                self._precision,
                cache / "converted",
                Cache(cache).staging,
                lambda path: self._load(path, self.available),
                self._samples,
            )

    def open(self) -> Tuned:
        """Raises: LoadError: as `onnx.load` does, and GoldenMismatch."""
        if self._settings.intra_op_threads or self._settings.device == "gpu":
            engine = self._open(self.available)
            return Tuned(engine, self.available, self._trial(engine))
        return open_tuned(self._open, self._trial, self._size, self.available)

    def reopen(self, threads: int) -> Engine:
        """The same model once more, with so many threads. Raises: LoadError: as `onnx.load` does."""
        return self._load(self.path, threads)

    def _open(self, threads: int) -> Engine:
        engine = self._load(self.path, threads)
        if requests := self._requests(engine):
            golden.check(engine, requests, self._precision.widened(requests.tolerance))
            self.golden_requests = len(requests.requests)
        return engine

    def _load(self, path: Path, threads: int) -> Engine:
        built = self._settings.cache_dir / "tensorrt" / self._fetched.digest
        settings = self._settings
        return onnx.load(
            path, settings.device, threads, settings.providers, built, settings.max_batch_size, settings.cuda_graph
        )

    def _requests(self, engine: Engine) -> golden.Golden | None:
        return golden.parse(*self._golden, engine.signature) if self._golden else None

    def _trial(self, engine: Engine) -> Trial:
        requests = self._requests(engine)
        return rows_of(engine, [one.inputs for one in requests.requests]) if requests else self._made_up(engine)

    def _made_up(self, engine: Engine) -> Trial:
        return find_inputs(engine, vocabulary=lambda: read_vocabulary(self._fetched.path))

    def _samples(self, engine: Engine) -> Samples:
        if requests := self._requests(engine):
            golden.check(engine, requests, requests.tolerance)
            return Samples([one.inputs for one in requests.requests], True)
        inputs = self._made_up(engine).inputs
        return Samples([inputs] if inputs else [], False)


def _bytes(path: Path, folder: bool) -> int:
    files = path.parent.rglob("*") if folder else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
