"""Rows as TensorBoard event files, one folder each. The same row gives the same bytes under the same name."""

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

import qat_artifacts
from qat_report.tracking.scalars import Replay
from qat_report.tracking.stores import Exported, State, need

_OURS = "qat-report"  # ends the name of every file written here: others' files are left alone
_LONGEST = 80  # characters of a folder's name


def export_tensorboard(rows: Sequence[Replay], folder: Path) -> list[Exported]:
    """Write each row's scalars into a folder of its own below `folder`.

    A file that holds the same is not touched; one that this function wrote for an earlier state of the row is replaced.

    Raises:
        ToolError: tensorboard is not installed.
    """
    need("tensorboard", "tensorboard")
    return [_write(row, folder / place_of(row.run_id)) for row in rows]


def place_of(run_id: str) -> str:
    """A relative folder for a run id: its own parts, where they are plain names, and else marked by its hash.

    Two ids never share a folder, and none leads out of the log folder.
    """
    parts = [re.sub(r"[^\w.+=-]", "_", part, flags=re.ASCII)[:_LONGEST] for part in run_id.split("/")]
    parts = [part for part in parts if part.strip(".")]
    if "/".join(parts) == run_id:
        return run_id
    return "/".join([*parts[:-1], f"{''.join(parts[-1:])}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"])


def _write(row: Replay, folder: Path) -> Exported:
    path = folder / f"events.out.tfevents.{int(row.started):010d}.{_OURS}"
    earlier = sorted(folder.glob(f"events.out.tfevents.*.{_OURS}"))
    data = _events(row)
    state: State = "written" if not earlier else "replaced"
    if earlier == [path] and path.read_bytes() == data:
        state = "unchanged"
    else:
        qat_artifacts.write_bytes(path, data)
        for stale in earlier:
            if stale != path:
                stale.unlink()
    return Exported(run_id=row.run_id, state=state, place=folder.as_posix())


def _events(row: Replay) -> bytes:
    """The records of an event file: the version that readers expect first, then a record per scalar."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    writer.write(Event(wall_time=row.started, file_version="brain.Event:2").SerializeToString(deterministic=True))
    for scalar in row.scalars:
        value = Summary.Value(tag=scalar.name, simple_value=scalar.value)
        event = Event(wall_time=row.started + scalar.seconds, step=scalar.epoch, summary=Summary(value=[value]))
        writer.write(event.SerializeToString(deterministic=True))
    return buffer.getvalue()
