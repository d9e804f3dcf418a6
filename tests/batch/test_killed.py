"""A real Ray, a real kill -9: what was finished stays as it is, the rest is done once, nothing lives on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drive import NO_RAY
from toy_task import toy_cases

pytest.importorskip("ray", reason="Ray is not installed: pip install 'anypet[batch]'")
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")


def start(*words):
    script = Path(__file__).with_name("drive.py")
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, words)], stdout=subprocess.PIPE, text=True
    )


def family(pid):
    """All processes below one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ports_beyond_loopback(pids):
    """Addresses that these processes listen on, other than the loopback's."""
    mine = set()
    for pid in pids:
        try:
            mine |= {os.readlink(link)[8:-1] for link in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError:
            continue
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in mine and cells[1].split(":")[0] not in loopback:
                found.append(cells[1])
    return found


def stamps(out):
    return {p.parent.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in out.glob("cases/*/record.json")}


def test_killed_and_resumed(tmp_path):
    texts = ["abc"] * 5 + ["corrupt", "greedy"] + ["abc"] * 5
    images = [case.image for case in toy_cases(tmp_path / "in", texts)]
    out, diary = tmp_path / "out", tmp_path / "diary"
    first = start(out, diary, 0.5, 2, *images)
    for _ in range(2):
        if not first.stdout.readline() and first.wait() == NO_RAY:
            pytest.skip("Ray does not start on this machine, which seems to be overloaded")
    children = family(first.pid)
    assert len(children) > 3
    assert ports_beyond_loopback(children) == []
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    finished = stamps(out)
    assert 2 <= len(finished) < 10

    second = start(out, diary, 0.0, 2, *images)
    told = second.communicate(timeout=600)[0].split("\n")
    if second.returncode == NO_RAY:
        pytest.skip("Ray does not start on this machine, which seems to be overloaded")
    assert second.returncode == 0
    assert sorted(line for line in told if "failed" in line) == ["failed 0006", "failed 0007"]
    after = stamps(out)
    assert len(after) == 10
    # orphans may have finished a scan after the count above, but nothing that stood was touched
    assert {name: after[name] for name in finished} == finished

    rows = {row["case"]: row for row in pq.read_table(out / "index.parquet").to_pylist()}
    assert [rows[f"{n:04d}"]["status"] for n in range(1, 13)] == ["done"] * 5 + ["failed"] * 2 + ["done"] * 5
    assert "the file is damaged" in rows["0006"]["error"]
    assert "needs more memory than the worker may have" in rows["0007"]["error"]
    assert all(row["attempts"] == (2 if row["status"] == "failed" else 1) for row in rows.values())
    runs = {json.loads(p.read_text())["run"] for p in out.glob("cases/*/record.json")}
    assert len(runs) == 2
    assert not (out / ".work").exists()

    until = time.monotonic() + 60
    while any(map(is_alive, children)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not [pid for pid in children if is_alive(pid)]
