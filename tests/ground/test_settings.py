import pytest

from deeptrade.errors import SettingsError
from deeptrade.settings import FitSettings, data_name
from deeptrade.units import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is not accepted; use at least 1"),
        ({"batch_size": 2.5}, "batch_size=2.5 is not of type int"),
        ({"batch_size": True}, "batch_size=True is not of type int"),
        ({"grad_accum": 1}, "grad_accum=1 is not of type bool"),
        ({"model_size": "smal"}, "model_size='smal' is not accepted; did you mean 'small'\\? choose from tiny"),
        ({"val_ratio": 1.0}, "val_ratio=1.0 is not accepted; use a value below 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is not accepted; use a value above 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan is not accepted; use a finite number"),
        ({"memory_limit": "lots"}, "size 'lots' is not valid; use a form like 1500000, 512MiB"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_accepted(options, message):
    with pytest.raises(SettingsError, match=f"^{message}"):
        FitSettings(**options)


def test_the_effective_batch_counts_accumulation_only_when_it_is_on():
    assert FitSettings(batch_size=2, accum_steps=4).effective_batch == 2
    assert FitSettings(batch_size=2, accum_steps=4, grad_accum=True).effective_batch == 8


def test_a_whole_number_serves_as_a_fraction():
    assert FitSettings(clip_norm=2).clip_norm == 2.0


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("a/market.csv", "market"),
        ("market.csv.gz", "market"),
        ("months/", "months"),
        ("m/*.csv", "data"),
        ("x.dtstore", "x"),
    ],
)
def test_a_run_is_named_after_its_data(data, name):
    assert data_name(data) == name
    assert FitSettings(csv=data).out_dir.name == name


@pytest.mark.parametrize(
    ("text", "size"),
    [("1500000", 1_500_000), ("512MiB", 512 << 20), ("1.5GB", 1_500_000_000), ("2g", 2 << 30), (" 10 kB ", 10_000)],
)
def test_sizes_are_read_in_decimal_and_binary_units(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["300", " 2 ", "1.5", "999999"])
def test_a_small_number_alone_asks_for_its_unit(text):
    with pytest.raises(SettingsError, match=rf"^size {text!r} has no unit; use {text.strip()}MiB or [\d.]+GiB, or "):
        parse_bytes(text)


def test_a_small_size_may_still_be_given_in_bytes():
    assert (parse_bytes("300B"), parse_bytes(300)) == (300, 300)


@pytest.mark.parametrize("text", ["", "0", "-1GB", "1XB", "GB", "1 GB 2"])
def test_other_sizes_are_refused(text):
    with pytest.raises(SettingsError):
        parse_bytes(text)


def test_sizes_are_written_in_binary_units():
    assert [format_bytes(size) for size in (0, 1023, 1024, 1536 << 20, 5 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "5.0 TiB",
    ]
