"""A Ray Serve deployment around ONNX Runtime with request batching."""

import os
import signal
import threading

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(
    num_replicas=int(os.environ["BENCH_WORKERS"]),
    max_ongoing_requests=2 * int(os.environ["BENCH_MAX_BATCH"]),
    ray_actor_options={"num_cpus": 0.1},
)
class Onnx:
    def __init__(self, model: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def run(self, rows: list[np.ndarray]) -> list[dict]:
        results = self.session.run(self.outputs, {self.input: np.concatenate(rows)})
        return [
            {name: result[row : row + 1].tolist() for name, result in zip(self.outputs, results, strict=True)}
            for row in range(len(rows))
        ]

    async def __call__(self, request: Request) -> dict:
        if request.method == "GET":
            return {"ready": True}
        body = await request.json()
        return await self.run(np.asarray(body["instances"], np.float32))


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=int(os.environ["BENCH_WORKERS"]))
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_HTTP"])})
    serve.run(Onnx.bind(os.environ["BENCH_MODEL"], int(os.environ["BENCH_INTRA_OP"])))
    # An orderly end takes ten seconds; whoever started this ends the daemons, too.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Event().wait()
