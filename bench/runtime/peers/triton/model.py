"""A model of Triton's Python backend: all requests that the dynamic batcher hands over go through ONNX Runtime in one run."""

import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_INTRA_OP"])
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        rows = [pb_utils.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        results = self.session.run(self.outputs, {self.input: rows[0] if len(rows) == 1 else np.concatenate(rows)})
        responses, start = [], 0
        for own in rows:
            end = start + len(own)
            # A view into the batch's result: the backend copies it into its shared memory.
            tensors = [
                pb_utils.Tensor(name, result[start:end]) for name, result in zip(self.outputs, results, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
            start = end
        return responses
