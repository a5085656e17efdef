"""A KServe custom predictor around ONNX Runtime."""

import logging
import os

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class OnnxModel(Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["BENCH_INTRA_OP"])
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.ready = True
        return True

    def __getstate__(self) -> dict:
        # KServe pickles the model for each worker; a session is loaded there.
        return {name: value for name, value in self.__dict__.items() if name != "session"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.load()

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        results = self.session.run(self.outputs, {self.input: payload.inputs[0].as_numpy()})
        outputs = []
        for name, result in zip(self.outputs, results, strict=True):
            datatype = {"float32": "FP32", "int64": "INT64"}[str(result.dtype)]
            output = InferOutput(name, list(result.shape), datatype)
            output.set_data_from_numpy(result, binary_data=payload.from_grpc or bool(payload.request_outputs))
            outputs.append(output)
        return InferResponse(payload.id or "", self.name, outputs)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    ModelServer().start([OnnxModel(os.environ["BENCH_NAME"])])
