"""``csv:PATH``: vectors and classes from a table as text, and tables that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from noiseproof.data import ArrayDataset, load_splits
from noiseproof.data.sources import SOURCES, SourceOptions
from noiseproof.errors import DataError

HEAD = "a,b,kind\n"


def read(folder: Path, text: str, encoding: str = "utf-8") -> ArrayDataset:
    (folder / "t.csv").write_bytes(text.encode(encoding))
    data = SOURCES["csv"](str(folder / "t.csv"), SourceOptions())
    assert data.test is data.validation is None
    assert isinstance(data.train, ArrayDataset)
    return data.train


def test_a_row_is_a_vector_and_its_last_cell_a_class(tmp_path: Path) -> None:
    data = read(tmp_path, HEAD + "1,-2.5,wet\n3e-1,4,dry\n\n5,6,wet\n")
    assert data.inputs.dtype == torch.float32
    torch.testing.assert_close(data.inputs, torch.tensor([[1, -2.5], [0.3, 4], [5, 6]]))
    assert (data.labels.tolist(), data.class_names) == ([1, 0, 1], ("dry", "wet"))


@pytest.mark.parametrize("name", ["label", "class", "target", "y", "Label", "CLASS"])
def test_the_class_may_stand_in_any_column_that_is_named_so(tmp_path: Path, name: str) -> None:
    data = read(tmp_path, f"a,{name},b\n1,wet,2\n3,dry,4\n")
    assert data.inputs.tolist() == [[1, 2], [3, 4]]
    assert data.class_names == ("dry", "wet")


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_line_endings_and_byte_order_marks(
    tmp_path: Path, separator: str, ending: str, encoding: str
) -> None:
    rows = [["größe", '"b, in m; or so"', "label"], ["1", "2", '"wet, cold"'], ["3", "4", "dry"]]
    data = read(tmp_path, ending.join(map(separator.join, rows)), encoding)
    assert data.inputs.tolist() == [[1, 2], [3, 4]]
    assert data.class_names == ("dry", "wet, cold")


@pytest.mark.parametrize(
    ("cells", "names", "labels"),
    [
        ("0 2 1 10", ("0", "1", "2", "10"), [0, 2, 1, 3]),
        ("1 2 1 3", ("1", "2", "3"), [0, 1, 0, 2]),
        ("-1 1 1 -1", ("-1", "1"), [0, 1, 1, 0]),
        ("0.0 1.0 10.0 2.0", ("0", "1", "2", "10"), [0, 1, 3, 2]),
        ("True False True False", ("False", "True"), [1, 0, 1, 0]),
        ("1 2 b a", ("1", "2", "a", "b"), [0, 1, 3, 2]),
        ("9007199254740993 9007199254740992 0 0", ("0", "9007199254740992", "9007199254740993"), [2, 1, 0, 0]),
    ],
)
def test_classes_are_in_the_order_of_numbers_or_names(
    tmp_path: Path, cells: str, names: tuple[str, ...], labels: list[int]
) -> None:
    data = read(tmp_path, "a,label\n" + "".join(f"0.5,{cell}\n" for cell in cells.split()))
    assert (data.class_names, data.labels.tolist()) == (names, labels)


@pytest.mark.parametrize("head", ["0,1,label", "1,2,y"])
def test_columns_may_be_counted_where_one_is_named_for_the_class(tmp_path: Path, head: str) -> None:
    assert read(tmp_path, head + "\n5,6,a\n7,8,b\n").inputs.tolist() == [[5, 6], [7, 8]]


def test_a_table_is_split_as_any_data(tmp_path: Path) -> None:
    read(tmp_path, HEAD + "".join(f"{row},{-row},{'wet' if row % 2 else 'dry'}\n" for row in range(20)))
    splits = load_splits(f"csv:{tmp_path / 't.csv'}", test_fraction=0.5)
    assert splits.train.labels.bincount().tolist() == splits.test.labels.bincount().tolist() == [5, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv holds no rows"),
        (HEAD, "t.csv holds names of columns, but no rows below"),
        ("1,2,wet\n3,4,dry\n", "t.csv has no header: line 1 must name the columns, but '1' is a number"),
        ("1.5,2,y\n3,4,n\n", "t.csv has no header: line 1 must name the columns, but '1.5' is a number"),
        ("a\n1\n", "t.csv has one column, 'a'"),
        (",a,kind\n0,1,wet\n", r"column 1 of .*t.csv has no name: .*to_csv\(index=False\)"),
        ("a,y,label\n1,2,3\n", "t.csv has no clear column of classes: it may be 'y' and 'label'; rename all but one"),
        (HEAD + "1,2,wet\n\n3,4\n", "line 4 of .*t.csv has 2 cells for 3 columns"),
        (HEAD + "1,,wet\n3,4,dry\n", "line 2 of .*t.csv, column 'b', is empty"),
        (HEAD + "1,2,wet\n3,four,dry\n", "line 3 of .*t.csv, column 'b', holds 'four', which is no number$"),
        ("a;b;kind\n1,5;2;wet\n3;4;dry\n", "line 2 of .*t.csv, column 'a', holds '1,5', .*decimals with a point"),
        (HEAD + "1,2,wet\n3,NaN,dry\n", "line 3 of .*t.csv, column 'b', holds NaN, but NaN and infinite values"),
        (HEAD + "1,2,wet\n3,1e99,dry\n", "line 3 of .*t.csv, column 'b', holds 1e99, which is too large for float32"),
        (HEAD + "1,2,wet\n3,4,\n", "line 3 of .*t.csv, column 'kind', holds no class"),
        (HEAD + "1,2,0\n3,4,nan\n", "line 3 of .*t.csv, column 'kind', holds no class"),
        (HEAD + "1,2,wet\n3,4,wet\n", "every row of .*t.csv has the class 'wet' in the column 'kind': two are needed"),
        ("a,b,c\n1,2,0\n3,4,0.5\n", "line 3 .*column 'c', holds 0.5 for a class: .* in one named label, class"),
        ('a,"b,kind\n1,2,wet\n', "cannot read .*t.csv as a table: unexpected end of data"),
    ],
)
def test_what_does_not_fit_is_told_with_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_long_cell_is_told_in_short(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 'xxx") as caught:
        read(tmp_path, HEAD + f"{'x' * 1000},2,wet\n3,4,dry\n")
    assert len(str(caught.value)) < 100 + len(str(tmp_path))


def test_a_table_in_another_encoding_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*t\.csv as a table: it is not text in UTF-8"):
        read(tmp_path, "größe,label\n1,a\n2,b\n", "latin-1")


def test_a_file_must_be_given_and_exist(tmp_path: Path) -> None:
    for source in ("csv", f"csv:{tmp_path}", f"csv:{tmp_path / 'nowhere.csv'}"):
        with pytest.raises(DataError, match="the data source 'csv' needs a file, as in csv:PATH"):
            load_splits(source)


def test_names_of_classes_stay_as_they_are(tmp_path: Path) -> None:
    """Python takes 1_1 for 11; a table does not."""
    path = tmp_path / "t.csv"
    path.write_text("a,b,kind\n" + "1,2,1_1\n3,4,1_2\n" * 2)
    assert load_splits(f"csv:{path}", test_fraction=0.5).train.class_names == ("1_1", "1_2")
    path.write_text("a,b,kind\n1_0,2,wet\n3,4,dry\n")
    with pytest.raises(DataError, match=r"line 2 .*column 'a', holds '1_0', which is no number"):
        load_splits(f"csv:{path}")


def test_beside_x_a_column_y_is_a_coordinate(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y,z,activity\n1,2,3,0\n3,4,5,1\n1,2,3,0\n3,4,5,1\n")
    splits = load_splits(f"csv:{path}", test_fraction=0.5)
    assert splits.train.input_shape == (3,)
    assert splits.train.class_names == ("0", "1")
