"""`check` and `bench` as processes of their own, on real models."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60.0


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HALDANE_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-m", "haldane_runtime.server", *arguments],
        env=own | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_check_says_what_would_be_served_and_how(models: Any) -> None:
    path = models.double()
    told = command("check", str(path))
    assert told.returncode == 0, told.stderr
    assert told.stderr == ""
    lines = {line[:8].strip(): line[8:].strip() for line in told.stdout.splitlines() if line[:1].strip()}
    assert lines["model"].startswith("double, version ")
    assert lines["format"].startswith("IR version 8, opset ai.onnx 17")
    assert lines["graph"] == "1 node: 1 Add; 0 parameters"
    assert lines["inputs"] == "x  FP32 [N, 3]"
    assert lines["threads"].startswith("1 for one run, of ")
    assert lines["batching"].startswith("up to 64 rows in a run. Requests answered apart and merged agree")
    report = json.loads(command("check", str(path), "--json").stdout)
    assert (report["served"], report["bytes"]) == (True, path.stat().st_size)
    assert report["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["N", 3]}]
    assert report["batching"]["batchable"]
    assert "CPU" in report["providers"]


def test_check_at_a_lower_precision_tells_of_the_source_and_of_what_was_made_of_it(models: Any, tmp_path: Path) -> None:
    path, size = models.layers(), models.layers().stat().st_size
    settings = {"HALDANE_PRECISION": "fp16", "HALDANE_CACHE_DIR": str(tmp_path)}
    told = command("check", str(path), **settings).stdout
    assert "3 nodes: 2 Gemm, 1 Relu; 4,608 parameters" in told
    assert "made by" not in told
    assert re.search(r"fp16, converted from the source to \d", told)
    report = json.loads(command("check", str(path), "--json", **settings).stdout)
    assert (report["bytes"], report["operators"], report["precision"]) == (size, {"Gemm": 2, "Relu": 1}, "fp16")
    assert 0 < report["converted_bytes"] < 0.6 * size


def test_check_says_why_a_model_is_not_batched(models: Any) -> None:
    report = json.loads(command("check", str(models.work()), "--json").stdout)
    assert not report["batching"]["batchable"]
    assert report["batching"]["reason"] == "The first dimension of the input 'rounds' is fixed at 1."


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("absent.onnx", 11, "absent.onnx does not exist"),
        ("scrap.onnx", 15, "InvalidModel: scrap.onnx is not an ONNX model"),
        ("http://host/model.onnx", 10, "a model URI starts with s3://, https:// or file://"),
    ],
)
def test_check_ends_as_a_load_would(tmp_path: Path, target: str, code: int, words: str) -> None:
    (tmp_path / "scrap.onnx").write_bytes(b"scrap")
    told = command("check", target if ":" in target else str(tmp_path / target))
    assert told.returncode == code
    assert words in told.stdout + told.stderr
    assert "Traceback" not in told.stderr


def test_check_of_a_repository_goes_on_after_a_model_that_fails(models: Any, tmp_path: Path) -> None:
    for name, content in (("a", b"scrap"), ("b", models.double().read_bytes())):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1/model.onnx").write_bytes(content)
    told = command("check", str(tmp_path), "--json")
    assert told.returncode == 15
    reports = json.loads(told.stdout)
    assert [(report["name"], report["version"], report["served"]) for report in reports] == [
        ("a", "1", False),
        ("b", "1", True),
    ]
    assert reports[0]["reason"] == "InvalidModel"


def test_the_environment_names_the_model_when_the_command_line_does_not(models: Any) -> None:
    told = command("check", "--json", HALDANE_MODEL_URI=f"file://{models.double()}", HALDANE_MODEL_NAME="twice")
    assert json.loads(told.stdout)["name"] == "twice"
    assert command("check").returncode == 10


@pytest.mark.parametrize("name", ["serve", "check"])
def test_a_misspelt_variable_is_told(name: str) -> None:
    told = command(name, HALDANE_MODEL_URL="file:///m.onnx")
    assert told.returncode == 10
    assert "HALDANE_MODEL_URL is no setting of the runtime and is ignored; is HALDANE_MODEL_URI meant?" in told.stderr


def test_bench_measures_and_recommends_settings(models: Any) -> None:
    told = command("bench", str(models.double()), "--seconds", "1")
    assert told.returncode == 0, told.stderr
    assert re.search(r"^rows +1T p50 ms +p99 ms +rows/s", told.stdout, re.MULTILINE)
    assert re.search(r"^ +64( +[\d.,]+){3}", told.stdout, re.MULTILINE)
    environment = dict(re.findall(r"^  (HALDANE_\w+)=(\d+)$", told.stdout, re.MULTILINE))
    assert environment.keys() == {"HALDANE_INTRA_OP_THREADS", "HALDANE_MAX_BATCH_SIZE"}
    assert f"session: {{intraOpThreads: {environment['HALDANE_INTRA_OP_THREADS']}}}" in told.stdout
    report = json.loads(command("bench", str(models.double()), "--seconds", "0.5", "--json").stdout)
    assert {run["rows"] for run in report["runs"]} == {1, 2, 4, 8, 16, 32, 64}
    assert report["best"]["environment"].keys() == environment.keys()


def test_bench_of_a_model_that_is_not_batched_varies_the_threads_alone(models: Any) -> None:
    report = json.loads(command("bench", str(models.work()), "--seconds", "0.5", "--json").stdout)
    assert {run["rows"] for run in report["runs"]} == {1}
    assert report["best"]["environment"]["HALDANE_MAX_BATCH_SIZE"] == "1"


def test_bench_wants_one_model(models: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(models.double().read_bytes())
    told = command("bench", str(tmp_path))
    assert told.returncode == 10
    assert "name one of a, b" in told.stderr
    assert command("bench", str(models.double()), "--seconds", "0").returncode == 2


@pytest.mark.parametrize(
    ("expected", "code", "words"), [(2, 0, "1 request answered as expected"), (3, 18, "GoldenMismatch")]
)
def test_check_holds_the_model_against_its_golden_requests(
    models: Any, tmp_path: Path, expected: int, code: int, words: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(models.double().read_bytes())

    def tensor(name: str, value: int) -> dict[str, object]:
        return {"name": name, "shape": [1, 3], "datatype": "FP32", "data": [value] * 3}

    golden = {"requests": [{"inputs": [tensor("x", 1)], "outputs": [tensor("y", expected)]}]}
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    told = command("check", str(tmp_path))
    assert (told.returncode, words in told.stdout) == (code, True)
