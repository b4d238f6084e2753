"""Tables as people have them, and every mistake in one line."""

import numpy as np
import pytest

from sciflow.errors import InputError
from sciflow.training.tables import find_columns, numbers, read_rows, read_table, write_table


def test_what_is_written_is_read(tmp_path):
    columns = {"a": np.array([1.5, -2, 1e-7]), "b": np.array([0.0, 3, 123456])}
    path = tmp_path / "t.csv"
    write_table(columns, path)
    header, rows = read_rows(path)
    assert header == ["a", "b"]
    np.testing.assert_allclose(numbers(path, header, rows, [0, 1]), np.stack(list(columns.values()), 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "a,b\n1,2\n3,4\n"),
        ("t.tsv", "a\tb\n1\t2\n3\t4"),
        ("t.csv", "\ufeffa, b\r\n1, 2\r\n\r\n3, 4\r\n\r\n"),
        ("t.csv", '"a","b"\n"1","2"\n"3","4"\n'),
    ],
)
def test_separators_quotes_and_line_ends(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    header, rows = read_rows(path)
    assert header == ["a", "b"]
    np.testing.assert_array_equal(numbers(path, header, rows, [1, 0]), [[2, 1], [4, 3]])


def test_a_table_of_numbers_is_a_tensor(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4.5\n")
    assert read_table(tmp_path / "a.csv").tolist() == [[1.0, 2.0], [3.0, 4.5]]


def test_columns_are_found_by_any_of_their_names(tmp_path):
    assert find_columns(tmp_path, ["id", "Lon", "LATITUDE"], [("latitude", "lat"), ("longitude", "lon")]) == [2, 1]
    with pytest.raises(InputError, match=r"no column y or why; give x, y; its columns are x, z; rename one$"):
        find_columns(tmp_path, ["x", "z"], [("x",), ("y", "why")])


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(InputError, match="a folder; give a file"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"1,2\n3,4\n", "line 1: 1, 2: numbers; begin with a line that names the columns"),
        (b"a;b\n1,5;2\n", "columns are separated by ';'"),
        (b"a,b\n", r"1 line\(s\); give a header and rows"),
        (b"", r"0 line\(s\)"),
        (b"a,b\n1,2\n3\n", "line 3: 1 values under a header of 2"),
        (b"a,b\n1,2,3\n", "line 2: 3 values"),
        (b"\xff\xfe\x00", "not a table in UTF-8 text"),
    ],
)
def test_what_is_no_table(tmp_path, text, words):
    path = tmp_path / "t.csv"
    path.write_bytes(text)
    with pytest.raises(InputError, match=words) as error:
        read_rows(path)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_rows(tmp_path / "none.csv")


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "1,5"])
def test_what_is_no_number_is_named(tmp_path, value):
    with pytest.raises(InputError, match=f"line 3, column b: '{value}' is not a finite number"):
        numbers(tmp_path, ["a", "b"], [["1", "2"], ["3", value]], [0, 1])
