"""The table of a batch: one row a scan, the same columns always."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anypet._version import __version__
from anypet.batch.cases import BatchCase
from anypet.batch.index import COLUMNS, write_index
from anypet.batch.ledger import Ledger
from anypet.errors import AnyPETError

CASES = [BatchCase(f"000{n}-P{n}", f"P{n}", f"/data/{n}.nii.gz") for n in (1, 2, 3)]
RECORD = {
    "case": "0002-P2", "patient": "P2", "image": "/data/2.nii.gz", "status": "done", "seconds": 1.5,
    "attempts": 2, "outputs": ["labels.nii.gz"], "measures": {"mtv_ml": 12.5, "tlg": 40.0, "objects": 3},
    "tracer": "FDG", "model": "default sha256:0", "version": __version__, "warnings": ["odd"],
    "finished": "2026-01-01T00:00:00+00:00", "node": "here", "peak_mb": 900, "phases": {"read": 1.0},
}  # fmt: skip


def test_done_failed_and_pending(tmp_path):
    ledger = Ledger(tmp_path, {"task": "text", "text": "liver"}, CASES)
    ledger.desk.begin("0002-P2", 1)
    ledger.desk.publish("0002-P2", 1, RECORD)
    ledger.add_failure("0003-P3", {"error": "first", "seconds": 1.0})
    ledger.add_failure("0003-P3", {"error": "damaged", "seconds": 2.0, "node": "there"})
    path = write_index(ledger)
    table = pq.read_table(path)
    assert table.column_names == list(COLUMNS)
    pending, done, failed = table.to_pylist()
    assert (pending["status"], pending["attempts"], pending["mtv_ml"]) == ("pending", 0, None)
    assert (done["status"], done["attempts"], done["mtv_ml"], done["tlg"]) == ("done", 2, 12.5, 40.0)
    assert (done["folder"], done["outputs"], done["lesions"]) == ("cases/0002-P2", ["labels.nii.gz"], None)
    assert (done["warnings"], done["model"], done["error"]) == (["odd"], "default sha256:0", None)
    assert (failed["status"], failed["attempts"], failed["error"]) == ("failed", 2, "damaged")
    assert (failed["seconds"], failed["node"]) == (2.0, "there")
    about = json.loads(table.schema.metadata[b"settings"])
    assert about["text"] == "liver"
    assert about["anypet"] == __version__


def test_columns_have_types_without_any_value(tmp_path):
    table = pq.read_table(write_index(Ledger(tmp_path, {}, CASES)))
    assert table.schema.field("tlg").type == pa.float64()
    assert table.schema.field("outputs").type == pa.list_(pa.string())
    assert not [field.name for field in table.schema if field.type == pa.null()]


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path, {}, CASES)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(AnyPETError, match=r"anypet\[batch\]"):
        write_index(ledger)
