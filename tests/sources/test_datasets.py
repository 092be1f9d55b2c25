import h5py
import numpy as np
import pytest

from deeptrade.errors import DataError
from deeptrade.sources.kinds import open_source
from deeptrade.store import compile_store
from tests.support.tables import ARRAYS, PRICES, ROWS, TIMES, read_all, write_hdf5, write_parquet

EXTRAS = {
    "names": lambda file: file.create_dataset("extra", data=np.array([b"open", b"close"])),
    "version": lambda file: file.create_dataset("extra", data=3),
    "text": lambda file: file.create_dataset("extra", data="made by us"),
    "empty": lambda file: file.create_dataset("extra", data=h5py.Empty("f8")),
    "longer": lambda file: file.create_dataset("extra", data=np.zeros(ROWS + 1)),
    "struct": lambda file: file.create_dataset("extra", data=np.zeros(ROWS, [("a", "f8")])),
    "group": lambda file: file.create_group("extra").create_dataset("arr_b", data=[1, 2]),
    "type": lambda file: file.__setitem__("extra", np.dtype("f4")),
    "external link": lambda file: file.__setitem__("extra", h5py.ExternalLink("gone.h5", "/x")),
    "soft link": lambda file: file.__setitem__("extra", h5py.SoftLink("/gone")),
    "circle": lambda file: file.__setitem__("extra", h5py.SoftLink("/extra")),
    "as long as the rows": lambda file: file.create_dataset("extra", data=np.zeros(ROWS)),
}


@pytest.mark.parametrize("kind", EXTRAS)
def test_what_is_no_column_is_left_out_and_said(tmp_path, kind):
    path = write_hdf5(tmp_path / "m.h5")
    plain = read_all(path)
    with h5py.File(path, "a") as file:
        EXTRAS[kind](file)
    np.testing.assert_array_equal(read_all(path)[0]["arr_a"], plain[0]["arr_a"])
    lines = []
    compile_store(path, sink=lines.append)
    assert "1 column is not used (named neither arr_* nor y_*): extra" in "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "link", "words"),
    [
        ("arr_b", h5py.ExternalLink("gone.h5", "/x"), ("'arr_b'", "'/x' in 'gone.h5', which is not there")),
        ("price", h5py.ExternalLink("gone.h5", "/x"), ("'price'", "'gone.h5'")),
        ("arr_b", h5py.ExternalLink("other.h5", "/x"), ("'arr_b'", "'other.h5', which holds no such dataset")),
        ("arr_b", h5py.SoftLink("/gone"), ("'arr_b'", "link to '/gone', which is not in the file")),
        ("timestamp", h5py.SoftLink("/timestamp"), ("'timestamp'", "which is not in the file")),
    ],
)
def test_a_column_that_is_a_broken_link_is_one_line_with_its_target(tmp_path, name, link, words):
    write_hdf5(tmp_path / "other.h5")
    path = write_hdf5(tmp_path / "m.h5", **{name: link})
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_that_leads_to_a_dataset_is_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = ARRAYS
    path = write_hdf5(tmp_path / "m.h5", arr_a=h5py.ExternalLink("other.h5", "/x"), arr_b=h5py.SoftLink("/arr_a"))
    features = read_all(path)[0]
    np.testing.assert_array_equal(features["arr_a"], ARRAYS.astype(np.float32))
    np.testing.assert_array_equal(features["arr_b"], features["arr_a"])


def test_a_store_is_made_again_when_a_file_that_is_linked_to_has_changed(tmp_path):
    for content in (ARRAYS, ARRAYS + 1):
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["x"] = content
        path = tmp_path / "m.h5"
        if not path.exists():
            write_hdf5(path, arr_a=h5py.ExternalLink("other.h5", "/x"))
        store = compile_store(path)
        stored = np.fromfile(next(store.glob("*0*.f32")), np.float32)
        np.testing.assert_array_equal(stored.reshape(ARRAYS.shape), content.astype(np.float32))


def test_a_virtual_dataset_whose_file_is_gone_is_refused_because_hdf5_would_make_up_its_numbers(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = ARRAYS
    layout = h5py.VirtualLayout(ARRAYS.shape, "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", ARRAYS.shape)
    path = write_hdf5(tmp_path / "m.h5", arr_a=None)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("arr_a", layout)
    np.testing.assert_array_equal(read_all(path)[0]["arr_a"], ARRAYS.astype(np.float32))
    (tmp_path / "other.h5").unlink()
    with pytest.raises(DataError, match=r"'arr_a' is virtual, and 'other.h5', which holds its numbers, is not there"):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("arr_b", h5py.Empty("f8"), "'arr_b' is empty"),
        ("arr_b", 1.0, "'arr_b' is a single value"),
        ("arr_b", np.zeros((ROWS - 1, 2)), "'arr_b' has 11 rows"),
        ("arr_b", np.zeros((ROWS, 0)), "'arr_b' holds"),
        ("y_1", np.zeros(0), "'y_1' has 0 rows"),
    ],
)
def test_a_dataset_with_the_name_of_a_column_has_to_be_one(tmp_path, name, values, words):
    path = write_hdf5(tmp_path / "m.h5", **{name: values})
    with pytest.raises(DataError, match=words):
        open_source(path)


def test_a_group_with_the_name_of_a_column_is_refused(tmp_path):
    path = write_hdf5(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file["arr_b/values"] = ARRAYS
    with pytest.raises(DataError, match="'arr_b' is a group; expected a dataset"):
        open_source(path)


def test_files_without_rows_or_columns_are_one_line(tmp_path):
    path = write_hdf5(tmp_path / "m.h5", timestamp=np.zeros(0), arr_a=np.zeros((0, 3, 2)), price=np.zeros(0))
    with pytest.raises(DataError, match="has columns but no rows"):
        open_source(path)
    with h5py.File(tmp_path / "n.h5", "w"):
        pass
    with pytest.raises(DataError, match="expected 'timestamp'"):
        open_source(tmp_path / "n.h5")


def test_columns_inside_a_group_are_found_there(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["market/timestamp"], file["market/arr_a"], file["market/price"] = TIMES, ARRAYS, PRICES
    with pytest.raises(DataError, match="has its columns in group 'market'; write them as datasets at the top"):
        open_source(path)
    with h5py.File(path, "a") as file:
        file["market"].attrs["pandas_type"] = "frame_table"
    with pytest.raises(DataError, match="written by pandas' to_hdf, whose layout is its own; write it with to_parquet"):
        open_source(path)


def test_an_unneeded_price_beside_targets_is_not_opened(tmp_path):
    path = write_hdf5(tmp_path / "m.h5", y_1=PRICES, price=h5py.SoftLink("/gone"))
    assert read_all(path)[1].shape == (ROWS, 1)


def test_data_that_was_cut_off_is_one_line(tmp_path):
    path = write_hdf5(tmp_path / "m.h5", arr_a=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("arr_a", data=ARRAYS, chunks=(2, 3, 2), compression="gzip")
        place = file["arr_a"].id.get_chunk_info(5).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows 0 to 1?\d of dataset 'arr_a' cannot be read") as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


def test_a_parquet_page_that_is_damaged_is_one_line(tmp_path):
    path = write_parquet(tmp_path / "m.parquet")
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"row group 0 cannot be read") as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


def test_files_of_a_folder_may_differ_in_what_is_no_column(tmp_path):
    write_hdf5(tmp_path / "a.h5", readme="first")
    write_hdf5(tmp_path / "b.h5", timestamp=np.array(TIMES) + 10**6, version=3)
    source = open_source(tmp_path)
    assert source.unused_columns == ["readme", "version"]
    assert len(read_all(tmp_path)[2]) == 2 * ROWS
