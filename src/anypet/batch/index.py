"""The index of a batch: one row a scan, as Parquet, so that thousands of results are one table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anypet._version import __version__
from anypet.batch.cases import BatchCase
from anypet.errors import AnyPETError
from anypet.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from anypet.batch.ledger import Json, Ledger

NAME = "index.parquet"
# column -> Arrow type; written even where no scan has a value, so that indices of batches can be joined
COLUMNS = {
    "case": "string", "patient": "string", "image": "string", "status": "string", "seconds": "float64",
    "attempts": "int32", "folder": "string", "outputs": "list", "mtv_ml": "float64", "tlg": "float64",
    "suv_max": "float64", "objects": "int32", "lesions": "int32", "tracer": "string", "model": "string",
    "version": "string", "warnings": "list", "error": "string", "finished": "string", "node": "string",
    "peak_mb": "int32",
}  # fmt: skip


def write_index(ledger: Ledger, records: dict[str, Json] | None = None) -> Path:
    """Writes the index of all cases as they stand; the old one is replaced once the new one is whole.

    Status is "done", "failed" (`attempts` of them, `error` is the last) or "pending". `folder` and `outputs`
    are names below the output folder.

    Args:
        ledger: of the batch.
        records: of its finished scans, if they are at hand; else they are read.

    Raises:
        AnyPETError: pyarrow is not installed, or the disk refuses.
    """
    pa, pq = _pyarrow()
    records = ledger.records() if records is None else records
    rows = [row_of(case, records.get(case.name), ledger.attempts(case.name)) for case in ledger.cases]
    kinds = {"list": pa.list_(pa.string())}
    schema = pa.schema([(name, kinds.get(kind, kind)) for name, kind in COLUMNS.items()])
    about = json.loads((ledger.root / "batch.json").read_text(encoding="utf-8"))["settings"]
    schema = schema.with_metadata({"anypet": __version__, "settings": json.dumps(about)})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    return write_whole(ledger.root / NAME, bytes(sink.getvalue().to_pybytes()))


def row_of(case: BatchCase, record: Json | None, attempts: list[Json]) -> dict[str, Any]:
    """The row of one scan.

    Args:
        case: the scan.
        record: of it, None if it is not finished.
        attempts: at it that failed.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"case": case.name, "patient": case.patient, "image": case.image, "attempts": len(attempts)}
    if record is not None:
        told = {**record, **record["measures"], "folder": f"cases/{case.name}"}
        return row | {name: told[name] for name in COLUMNS if name in told}
    last = attempts[-1] if attempts else None
    row |= {"status": "failed" if last else "pending", "outputs": [], "warnings": []}
    if last:
        row |= {"error": last["error"], "seconds": last["seconds"], "node": last.get("node")}
    return row


def _pyarrow() -> tuple[pa, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise AnyPETError("the index needs pyarrow: pip install 'anypet[batch]'") from error
    return pa, pq
