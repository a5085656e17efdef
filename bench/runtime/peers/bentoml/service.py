"""A BentoML service around ONNX Runtime with adaptive batching."""

import os

import bentoml
import numpy as np
import onnxruntime

WORKERS, MAX_BATCH = int(os.environ["BENCH_WORKERS"]), int(os.environ["BENCH_MAX_BATCH"])


@bentoml.service(workers=WORKERS, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Onnx:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_INTRA_OP"])
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=1000)
    def predict(self, instances: np.ndarray) -> list[dict]:
        results = self.session.run(self.outputs, {self.input: instances.astype(np.float32)})
        return [
            {name: result[row : row + 1].tolist() for name, result in zip(self.outputs, results, strict=True)}
            for row in range(len(instances))
        ]
