from pathlib import Path

import numpy as np
import pytest

from deeptrade.errors import SettingsError
from deeptrade.notebook.execute import notebook_path
from deeptrade.notebook.parameters import check_parameters
from deeptrade.run_folder import NOTEBOOKS
from deeptrade.settings import annotated_values, as_declared

ALL = {name: notebook_path(name) for name in NOTEBOOKS}


def test_a_shared_parameter_goes_to_each_notebook_that_has_it():
    found = check_parameters({"model_size": "tiny", "epochs": "2"}, ALL)
    assert found["02_auto_optimize"] == {"model_size": "tiny"}
    assert found["03_train"] == {"model_size": "tiny", "epochs": 2}
    assert found["04_memory_report"] == {}


def test_a_misspelt_parameter_names_the_nearest():
    with pytest.raises(SettingsError, match="parameter 'epoch' is in none of the notebooks; did you mean 'epochs'"):
        check_parameters({"epoch": 3}, ALL)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("3", int, 3),
        (3, int, 3),
        (np.int64(3), int, 3),
        ("0.5", float, 0.5),
        (1, float, 1.0),
        (np.float32(0.5), float, 0.5),
        ("TRUE", bool, True),
        ("no", bool, False),
        (0, bool, False),
        (np.bool_(False), bool, False),
        ("007", str, "007"),
        ("NAN", str, "NAN"),
        (Path("a/b"), str, "a/b"),
        (("a", "b"), str, "a,b"),
    ],
)
def test_values_become_plain_and_of_the_declared_type(value, kind, expected):
    found = as_declared("x", value, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("3.5", int), (3.5, int), (True, int), ("many", float), ("maybe", bool), (3, str), (None, str)],
)
def test_other_values_are_refused(value, kind):
    with pytest.raises(SettingsError, match=f"^x=.* is not of type {kind.__name__}"):
        as_declared("x", value, kind)


def test_text_that_papermill_has_made_a_number_of_leads_to_the_option_that_does_not():
    with pytest.raises(SettingsError, match="features=nan is not of type str; give it as text: "):
        as_declared("features", float("nan"), str)


def test_a_notebook_s_parameters_are_its_annotated_names_in_their_types():
    namespace = {"__annotations__": {"epochs": int, "quick": bool, "csv": str}, "epochs": "3", "quick": "", "csv": "7"}
    assert annotated_values(namespace | {"other": 1}) == {"epochs": 3, "quick": False, "csv": "7"}
