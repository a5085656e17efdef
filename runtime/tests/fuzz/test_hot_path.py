"""The hot path accepts nothing that the general path refuses, and makes the same of what it accepts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haldane_runtime.core.errors import RequestError
from haldane_runtime.core.types import Datatype, ModelSignature, TensorSpec
from haldane_runtime.protocol.codec import decode_infer
from haldane_runtime.protocol.fast.decode import Decoder


def signature(inputs: dict[str, tuple[str, list[int] | None]]) -> ModelSignature:
    def specs(suffix: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name + suffix, Datatype(datatype), () if dims is None else ("N", *dims))
            for name, (datatype, dims) in inputs.items()
        )

    return ModelSignature(specs(""), specs("_"))


def test_both_paths_agree(craft: Any) -> None:
    signatures = {model: signature(inputs) for model, inputs in craft.models.items()}
    decoders = {model: Decoder(known) for model, known in signatures.items()}
    accepted = 0

    @st.composite
    def bodies(draw: st.DrawFn) -> tuple[str, bytes, int | None]:
        draft = draw(craft.drafts)
        head = craft.write(draft.document)
        body = head + b"".join(draft.tails)
        if not draw(st.integers(0, 3)):
            body = craft.damage(draw, body)
        return draft.model, body, draw(st.sampled_from([len(head), len(head), len(head) + 1, len(body)]))

    @settings(settings.get_profile("fuzz"))
    @given(bodies(), st.booleans())
    def run(sent: tuple[str, bytes, int | None], binary: bool) -> None:
        nonlocal accepted
        model, body, length = sent
        length = length if binary else None
        # Twice, since the second time the layout of a binary request is remembered.
        for _ in range(2):
            plain = decoders[model].decode(body, length)
            if plain is None:
                continue
            accepted += 1
            try:
                decoded = decode_infer(body, length, signatures[model])
            except RequestError as error:
                pytest.fail(f"only the hot path accepts it; the general one says: {error.message}")
            assert (plain.id, plain.request.outputs, plain.binary) == (
                decoded.id,
                decoded.request.outputs,
                decoded.binary,
            )
            assert plain.request.inputs.keys() == decoded.request.inputs.keys()
            for name, array in plain.request.inputs.items():
                other = decoded.request.inputs[name]
                assert (array.dtype, array.shape) == (other.dtype, other.shape)
                assert np.array_equal(array, other, equal_nan=array.dtype.kind == "f")

    run()
    assert accepted
