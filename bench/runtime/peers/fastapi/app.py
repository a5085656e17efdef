"""The route that people write first: FastAPI around session.run."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ["BENCH_INTRA_OP"])
session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
outputs = [output.name for output in session.get_outputs()]
app = FastAPI()


class Instances(BaseModel):
    instances: list[list[float]]


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
async def predict(body: Instances) -> dict[str, list]:
    results = session.run(outputs, {entry.name: np.asarray(body.instances, np.float32)})
    return {name: result.tolist() for name, result in zip(outputs, results, strict=True)}


@app.post("/raw")
async def raw(request: Request) -> Response:
    shape = [-1, *entry.shape[1:]]
    tensor = np.frombuffer(await request.body(), np.float32).reshape(shape)
    return Response(session.run(outputs[:1], {entry.name: tensor})[0].tobytes(), media_type="application/octet-stream")
