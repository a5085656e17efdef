"""A LitServe API around ONNX Runtime: LitServe gathers the batch, the session runs it at once."""

import os

import litserve
import numpy as np
import onnxruntime


class OnnxApi(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_INTRA_OP"])
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def decode_request(self, request):
        return np.asarray(request["instances"], np.float32)

    def batch(self, inputs):
        return np.concatenate(inputs)

    def predict(self, rows):
        return self.session.run(self.outputs, {self.input: rows})

    def unbatch(self, results):
        return [[result[row : row + 1] for result in results] for row in range(len(results[0]))]

    def encode_response(self, results):
        return {name: result.tolist() for name, result in zip(self.outputs, results, strict=True)}


if __name__ == "__main__":
    api = OnnxApi(max_batch_size=int(os.environ["BENCH_MAX_BATCH"]), batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_HTTP"]),
        num_api_servers=int(os.environ["BENCH_WORKERS"]),
        generate_client_file=False,
        log_level="error",
        access_log=False,
    )
