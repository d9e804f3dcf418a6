"""`anypet batch` from its words to its table; Ray's place is taken by a fake, see tests/batch."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from anypet.cli.app import app
from anypet.cli.batch import _task
from anypet.errors import AnyPETError
from anypet.io import write

sys.path.insert(0, str(Path(__file__).parents[1] / "lesions"))
sys.path.insert(0, str(Path(__file__).parents[1] / "batch"))
from fake_ray import FakeRay
from lesion_fakes import HotNet, scan


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Two scans and a damaged one; real task and driver, known network."""

    @contextmanager
    def ray_for(address):
        yield FakeRay()

    monkeypatch.setattr("anypet.batch.engine.ray_for", ray_for)
    monkeypatch.setattr("anypet.lesions.pipeline.load_nets", lambda files=(), device="cpu": [HotNet()])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    write(scan(), tmp_path / "a.nii.gz")
    write(scan(spots=()), tmp_path / "b.nii.gz")
    (tmp_path / "c.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:900])
    rows = "".join(f"{name}.nii.gz,P-{name},fdg\n" for name in "abc")
    (tmp_path / "list.csv").write_text("image,patient,tracer\n" + rows)
    return tmp_path


def run(cohort, *words):
    fixed = ["batch", cohort / "list.csv", "-o", cohort / "out"]
    return CliRunner().invoke(app, [str(word) for word in (*fixed, *words)])


LESIONS = ("--task", "lesions", "--no-picture", "--no-organs", "--workers", 2)


def test_a_cohort(cohort):
    result = run(cohort, *LESIONS)
    assert result.exit_code == 1, result.output
    assert "2 of 3 scans are done, 2 of them now" in result.output
    assert "0003-P-c" in result.output
    assert "damaged or truncated" in " ".join(result.output.split())
    rows = pq.read_table(cohort / "out" / "index.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert [row["lesions"] for row in rows] == [2, 0, None]
    assert (cohort / "out" / "cases" / "0001-P-a" / "mask.nii.gz").is_file()
    again = run(cohort, *LESIONS)
    assert "2 of 3 scans are done, 0 of them now" in again.output
    mended = cohort / "c.nii.gz"
    mended.write_bytes((cohort / "a.nii.gz").read_bytes())
    last = run(cohort, *LESIONS, "--retry-failed")
    assert last.exit_code == 0, last.output
    assert "3 of 3 scans are done, 1 of them now" in last.output


def test_json_is_a_line_a_scan(cohort):
    result = run(cohort, *LESIONS, "--json", "--retries", 0)
    told = {line["case"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert set(told) == {"0001-P-a", "0002-P-b", "0003-P-c"}
    assert told["0001-P-a"]["record"]["measures"]["lesions"] == 2
    assert told["0003-P-c"]["record"] is None
    assert result.exit_code == 1


def test_another_setting_is_refused(cohort):
    run(cohort, *LESIONS)
    result = run(cohort, *LESIONS, "--mirror", 1)
    assert isinstance(result.exception, AnyPETError)
    assert "mirror was 0, is 1" in str(result.exception)
    assert "leave --resume on" in str(run(cohort, *LESIONS, "--no-resume").exception)


def test_stopping_says_how_to_go_on(cohort, monkeypatch):
    def stop(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("anypet.cli.batch._run", stop)
    result = run(cohort, *LESIONS)
    assert result.exit_code == 130
    assert "goes on from here" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "organs"], "one of lesions, text, prompts"),
        (["--task", "text"], "needs --text"),
        (["--task", "lesions", "--text", "liver"], "--text is not for --task lesions"),
        (["--task", "prompts", "--min-ml", 1], "--min-ml is not for --task prompts"),
        (["--task", "lesions", "--model", "default"], "--model is not for --task lesions"),
        (["--task", "prompts", "--weights", "a", "--weights", "b"], "prompts takes one file"),
        (["--task", "prompts", "--split", "test"], "no case of split 'test'"),
    ],
)
def test_what_makes_no_sense_is_said(cohort, words, message):
    result = run(cohort, *words)
    assert isinstance(result.exception, AnyPETError), result.output
    assert message in str(result.exception)


def test_options_reach_the_task(tmp_path):
    made = _task("text", {"text": "liver", "promptable": "default-lesion", "weights": [tmp_path / "w"]})
    assert (made.text, made.promptable, made.weights) == ("liver", "default-lesion", str(tmp_path / "w"))
    lesions = _task("lesions", {"tracer": "psma", "mirror": 2, "weights": [Path("/a"), Path("/b")]})
    assert (lesions.tracer, lesions.mirror, lesions.weights) == ("psma", 2, ("/a", "/b"))
