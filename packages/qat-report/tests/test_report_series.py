import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qat_report import PRIMARY_METRIC, Event, ReportError, SeriesPoint, read_series

HEADER = "                  epoch,         train/box_loss,   metrics/mAP50-95(B),               lr/pg0"


@pytest.fixture
def results(tmp_path):
    def write(text):
        path = tmp_path / "results.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def values(series):
    return [(point.epoch, point.value) for point in series.points]


def test_padded_headers_and_cells_are_read(results):
    found = read_series(results(f"{HEADER}\n   1,   1.5,   0.25,   0.01\n   2,   1.4,   0.31,   0.01\n"))
    assert found.column == PRIMARY_METRIC
    assert found.points == (SeriesPoint(epoch=1, value=0.25), SeriesPoint(epoch=2, value=0.31))
    assert (found.events, found.notes) == ((), ())


def test_byte_order_mark_windows_line_ends_and_quoted_headers_are_read(results):
    found = read_series(results(b'\xef\xbb\xbf"epoch","metrics/mAP50-95(B)"\r\n1,0.25\r\n\r\n2,0.5\r\n'))
    assert values(found) == [(1, 0.25), (2, 0.5)]


def test_torn_last_line_is_ignored_with_a_note(results):
    found = read_series(results(f"{HEADER}\n1,1.5,0.25,0.01\n2,1.4,0.3"))
    assert values(found) == [(1, 0.25)]
    assert found.notes == ("line 3: torn last line, ignored",)


def test_last_line_without_end_is_ignored_when_the_cell_that_may_be_cut_is_the_one_read(results):
    found = read_series(results("epoch,metrics/mAP50-95(B)\n1,0.25\n2,0.3"))
    assert values(found) == [(1, 0.25)]


def test_last_line_without_end_counts_when_the_cell_read_is_whole(results):
    assert values(read_series(results(f"{HEADER}\n1,1.5,0.25,0.01\n2,1.4,0.31,0.0"))) == [(1, 0.25), (2, 0.31)]


def test_short_line_with_an_end_is_an_error_with_its_line(results):
    path = results(f"{HEADER}\n1,1.5\n2,1.4,0.31,0.01\n")
    with pytest.raises(ReportError, match=f"^{re.escape(str(path))}:2: 2 cells, the header has 4$"):
        read_series(path)


def test_duplicate_epoch_of_a_resume_counts_once_and_the_last_wins(results):
    found = read_series(results(f"{HEADER}\n1,1,0.25,0\n2,1,0.31,0\n2,1,0.32,0\n3,1,0.33,0\n"))
    assert values(found) == [(1, 0.25), (2, 0.32), (3, 0.33)]
    assert found.notes == ("line 4: epoch 2 again after 2; the later rows count",)


def test_resume_from_an_earlier_epoch_drops_the_epochs_it_redoes(results):
    found = read_series(results(f"{HEADER}\n1,1,0.25,0\n2,1,0.31,0\n3,1,0.32,0\n2,1,0.2,0\n"))
    assert values(found) == [(1, 0.25), (2, 0.2)]
    assert found.notes == ("line 5: epoch 2 again after 3; the later rows count",)


def test_header_repeated_by_a_resume_is_ignored_with_a_note(results):
    found = read_series(results(f"{HEADER}\n1,1,0.25,0\n{HEADER}\n2,1,0.31,0\n"))
    assert values(found) == [(1, 0.25), (2, 0.31)]
    assert found.notes == ("line 3: header repeated, ignored",)


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "-inf", "", "   "])
def test_value_that_is_not_finite_is_a_missing_point_and_never_zero(results, cell):
    found = read_series(results(f"{HEADER}\n1,1,0.25,0\n2,1,{cell},0\n3,1,0.3,0\n"))
    assert values(found) == [(1, 0.25), (2, None), (3, 0.3)]
    assert found.notes == ("epoch 2: no finite value",)


@pytest.mark.parametrize("cell", ["nan", "inf"])
def test_loss_that_is_not_finite_is_an_event(results, cell):
    found = read_series(results(f"{HEADER}\n1,1,0.25,0\n2,{cell},0.3,0\n"))
    assert found.events == (Event(epoch=2, kind="nan-loss", detail="train/box_loss"),)


def test_empty_loss_is_no_event(results):
    assert read_series(results(f"{HEADER}\n1,,0.25,0\n")).events == ()


def test_epochs_without_a_row_are_missing_points(results):
    found = read_series(results(f"{HEADER}\n1,1,0.25,0\n2,1,0.3,0\n5,1,0.4,0\n"))
    assert values(found) == [(1, 0.25), (2, 0.3), (3, None), (4, None), (5, 0.4)]
    assert found.notes == ("no row between epochs 2 and 5",)


def test_validation_every_fifth_epoch_is_no_gap(results):
    assert values(read_series(results(f"{HEADER}\n5,1,0.25,0\n10,1,0.3,0\n"))) == [(5, 0.25), (10, 0.3)]


def test_nul_bytes_at_the_end_are_ignored_with_a_note(results):
    found = read_series(results(f"{HEADER}\n1,1,0.25,0\n".encode() + b"\0" * 7))
    assert values(found) == [(1, 0.25)]
    assert found.notes == ("7 NUL bytes at the end, ignored",)


def test_nul_byte_inside_is_an_error_with_its_line(results):
    path = results(f"{HEADER}\n1,1,0.25,0\n2,1,0.\0".encode() + b"3,0\n")
    with pytest.raises(ReportError, match=f"^{re.escape(str(path))}:3: NUL byte inside the file$"):
        read_series(path)


def test_missing_column_names_those_there_are(results):
    path = results("epoch,time\n1,2\n")
    text = f"{path}:1: no column 'metrics/mAP50-95(B)'; the columns are epoch, time"
    with pytest.raises(ReportError, match=f"^{re.escape(text)}$"):
        read_series(path)


def test_missing_epoch_column_is_an_error(results):
    with pytest.raises(ReportError, match="no column 'epoch'"):
        read_series(results("time,metrics/mAP50-95(B)\n1,0.2\n"))


def test_column_that_occurs_twice_is_an_error(results):
    with pytest.raises(ReportError, match=r":1: column 'epoch' occurs 2 times$"):
        read_series(results("epoch,epoch,metrics/mAP50-95(B)\n1,1,0.2\n"))


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("one,1,0.25,0", ":2, column 'epoch': 'one' is no epoch number, 0 to 999999"),
        ("9999999,1,0.25,0", ":2, column 'epoch': '9999999' is no epoch number, 0 to 999999"),
        ("1,1,abc,0", ":2, column 'metrics/mAP50-95(B)': 'abc' is no number"),
        ("1,abc,0.25,0", ":2, column 'train/box_loss': 'abc' is no number"),
    ],
)
def test_cell_that_is_no_number_is_an_error_with_line_and_column(results, row, text):
    path = results(f"{HEADER}\n{row}\n")
    with pytest.raises(ReportError, match=f"^{re.escape(f'{path}{text}')}$"):
        read_series(path)


@pytest.mark.parametrize(
    ("content", "text"), [("", "empty, a header"), (b"epoch,\xff\n", ":1: not UTF-8"), ("\n\n", "no column 'epoch'")]
)
def test_file_that_is_no_results_csv_is_an_error(results, content, text):
    with pytest.raises(ReportError, match=text):
        read_series(results(content))


def test_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ReportError, match=r"results\.csv: No such file or directory$"):
        read_series(tmp_path / "results.csv")


def test_header_alone_is_an_empty_series(results):
    assert read_series(results(f"{HEADER}\n")).points == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "results.csv"
    path.write_bytes(b"epoch,metrics/mAP50-95(B)\n" + data)
    with contextlib.suppress(ReportError):
        epochs = [point.epoch for point in read_series(path).points]
        assert epochs == sorted(set(epochs))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.data())
def test_a_file_cut_anywhere_gives_a_beginning_of_the_whole_series(tmp_path_factory, numbers, data):
    text = "epoch,metrics/mAP50-95(B)\n" + "".join(f"{i},{v!r}\n" for i, v in enumerate(numbers, start=1))
    cut = data.draw(st.integers(len("epoch,metrics/mAP50-95(B)\n"), len(text)))
    path = tmp_path_factory.mktemp("cut") / "results.csv"
    path.write_text(text[:cut], encoding="utf-8")
    found = values(read_series(path))
    assert found == list(enumerate(numbers, start=1))[: len(found)]
    assert len(found) == text[:cut].count("\n") - 1


def test_a_number_with_an_underscore_is_no_number(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(f"epoch,{PRIMARY_METRIC}\n1,0_1\n")
    with pytest.raises(ReportError, match="'0_1' is no number"):
        read_series(path)


def test_a_hostile_gap_is_refused_at_once(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(f"epoch,{PRIMARY_METRIC}\n1,0.1\n2,0.2\n999999,0.2\n")
    with pytest.raises(ReportError, match="epochs 2 and 999999 follow each other: more than 10000 evaluations"):
        read_series(path)
