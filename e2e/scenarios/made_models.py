"""Models of a scenario's own, as small as can be, and where the cluster fetches them from."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import boto3
import numpy as np
import onnx
from botocore.config import Config
from onnx import TensorProto, helper, numpy_helper

from e2e.harness.models import ACCESS_KEY, BUCKET, SECRET_KEY
from examples.dataset import PIXELS
from examples.signature import INPUT, IR_VERSION, LABEL, OPSET, PROBABILITIES

CLASSES: Final = 10
Manifest = dict[str, Any]


def indifferent(classes: int = CLASSES, broken: bool = False) -> bytes:
    """A model that gives every class the same probability, whatever it sees; with `broken` it gives NaN."""
    factor = np.full((PIXELS, classes), np.nan if broken else 0.0, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", [INPUT, "factor"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [PROBABILITIES], axis=-1),
        helper.make_node("ArgMax", ["scores"], [LABEL], axis=-1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", PIXELS])],
        [
            helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["rows"]),
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["rows", classes]),
        ],
        [numpy_helper.from_array(factor, "factor")],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def golden(probability: float) -> Manifest:
    """An empty image, and this probability for each class."""
    image = {"name": INPUT, "shape": [1, PIXELS], "datatype": "FP32", "data": [0] * PIXELS}
    answer = {"name": PROBABILITIES, "shape": [1, CLASSES], "datatype": "FP32", "data": [probability] * CLASSES}
    return {"requests": [{"inputs": [image], "outputs": [answer]}]}


async def put(s3_url: str, folder: str, model: bytes, beside: Manifest | None = None) -> str:
    """Store a model, with golden requests in a file beside it if there are any; the folder's URI."""

    def store() -> None:
        client: Any = boto3.client(
            "s3",
            endpoint_url=s3_url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(connect_timeout=5, read_timeout=30, s3={"addressing_style": "path"}, proxies={}),
        )
        client.put_object(Bucket=BUCKET, Key=f"{folder}/model.onnx", Body=model)
        if beside:
            client.put_object(Bucket=BUCKET, Key=f"{folder}/golden.json", Body=json.dumps(beside).encode())

    await asyncio.to_thread(store)
    return f"s3://{BUCKET}/{folder}/"
