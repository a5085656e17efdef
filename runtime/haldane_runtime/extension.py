"""Routes of a user's own beside the server's: a function that is given the application, and how its routes ask the model.

# routes.py, with HALDANE_EXTENSION=routes:extend
def extend(app: FastAPI) -> None:
    @app.post("/score")
    async def score(request: Request, customer: Customer) -> Score:
        outputs = await infer(request, {"x": [[customer.age, customer.income]]})
        return Score(probability=float(outputs["probabilities"][0, 1]))
"""

import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request

from haldane_runtime.core.errors import LoadError, Reason, invalid
from haldane_runtime.core.types import NUMPY_DTYPE, Array, InferRequest, ModelSignature, TensorSpec
from haldane_runtime.protocol.codec import names, require_inputs
from haldane_runtime.protocol.disconnect import while_connected
from haldane_runtime.protocol.frame import mark_inference, sign_version, started_at
from haldane_runtime.protocol.tensors import check_shape

log = logging.getLogger(__name__)

# Kinds of numpy dtype: which numbers can stand for which without becoming others.
_TAKEN_FROM = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}

Extend = Callable[[FastAPI], None]


async def infer(
    request: Request,
    inputs: Mapping[str, Any],
    outputs: Sequence[str] = (),
    model: str | None = None,
    version: str | None = None,
) -> Mapping[str, Array]:
    """Run the model for this request, through the same queue, batches, limits and metrics as every prediction.

    `inputs` are arrays or nested lists by input name, each with all of its dimensions; `outputs` are the wanted ones,
    all when empty. `model` may be left out where one is served. The deadline is the server's, from the arrival of the
    request's headers. What the client sends must have been read before, as FastAPI does with what a route declares; a
    client that leaves takes the request with it.

    Raises:
        RequestError: that the client gets for its answer unless the route catches it: 400 for inputs that are not the
            model's, 404, 500, 503 and 504 as for every prediction.
    """
    plane, seconds = request.app.state.haldane
    mark_inference(request.scope, plane.metrics_of(model))
    instance = plane.find(model, version)
    sign_version(request.scope, instance.model.version)
    signature = instance.model.signature
    known = [spec.name for spec in signature.outputs]
    if strange := [name for name in outputs if name not in known]:
        raise invalid(f"the model has no output '{strange[0]}'; it has {names(signature.outputs)}")
    asked = InferRequest(_arrays(inputs, signature), tuple(dict.fromkeys(outputs)) or tuple(known))
    deadline = started_at(request.scope) + seconds
    instance.admit(0, deadline)
    response = await while_connected(request, instance.infer(asked, deadline))
    answers: Mapping[str, Array] = response.outputs
    return answers


def _arrays(inputs: Mapping[str, Any], signature: ModelSignature) -> dict[str, Array]:
    """Raises: RequestError: INVALID, since what is wrong might break the requests it is run with."""
    if strange := inputs.keys() - {spec.name for spec in signature.inputs}:
        raise invalid(f"the model has no input '{min(strange)}'; it has {names(signature.inputs)}")
    symbols: dict[str, tuple[str, int]] = {}
    arrays = {spec.name: _array(spec, inputs[spec.name], symbols) for spec in signature.inputs if spec.name in inputs}
    require_inputs(arrays, signature)
    return arrays


def _array(spec: TensorSpec, value: Any, symbols: dict[str, tuple[str, int]]) -> Array:
    wanted = NUMPY_DTYPE[spec.datatype]
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise invalid(f"input '{spec.name}' is not an array: {error}") from None
    texts = array.dtype.kind == "U" or (array.dtype.hasobject and all(isinstance(one, str) for one in array.flat))
    if texts != wanted.hasobject or not (texts or array.dtype.kind in _TAKEN_FROM[wanted.kind]):
        raise invalid(f"input '{spec.name}' expects {spec}, got an array of {array.dtype}")
    check_shape(spec, array.shape, symbols)
    # Too large a number is infinite in fewer bits, as it would be in JSON, and another one among integers.
    with np.errstate(over="ignore"):
        cast = array.astype(wanted)
    if array.dtype.kind in "iu" and wanted.kind in "iu" and not np.array_equal(cast, array):
        raise invalid(f"input '{spec.name}' holds a value outside the range of {spec.datatype}")
    return cast


def extension_of(name: str) -> Extend:
    """The function `module:function`; modules are also looked for where the server was started.

    Raises:
        LoadError: InvalidConfiguration, when there is none, or, from the function itself, whatever fails in it.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
        raise _wrong(name, f"there is no module '{error.name}'; put its folder into PYTHONPATH") from error
    except Exception as error:
        raise _failed(name, error) from error
    if not callable(found):
        raise _wrong(name, f"the module has no function '{attribute}'")
    if inspect.iscoroutinefunction(found):
        raise _wrong(name, f"'{attribute}' must be an ordinary function, not an async one")

    def extend(app: FastAPI) -> None:
        try:
            found(app)
        except Exception as error:
            raise _failed(name, error) from error
        log.info("extended by %s", name)

    return extend


def answers_everything(app: FastAPI) -> bool:
    """True when middleware of the extension's must see predictions, too, so that none may be answered in front of it."""
    return len(app.user_middleware) > 1


def _failed(name: str, error: Exception) -> LoadError:
    log.error("the extension failed", exc_info=error)
    return _wrong(name, f"it failed with {type(error).__name__}: {str(error).rstrip('.')}")


def _wrong(name: str, why: str) -> LoadError:
    return LoadError(Reason.INVALID_CONFIGURATION, f"HALDANE_EXTENSION is {name}, but {why}.")
