from pathlib import Path

import numpy as np
import pytest

from deeptrade.errors import SettingsError
from deeptrade.notebook.execute import notebook_path
from deeptrade.notebook.parameters import check_parameters, chosen_parameters, injected_names
from deeptrade.run_folder import NOTEBOOKS
from deeptrade.settings import as_declared

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


def after(*cells):
    """The `globals()` of a kernel that has run these cells."""
    namespace = {"In": ["", *cells]}
    for cell in cells:
        exec(cell, namespace)
    return namespace


def test_a_notebook_s_parameters_come_in_their_declared_types():
    found = chosen_parameters("02_auto_optimize", after('quick: bool = ""\neffective_batch: int = "3"', "other = 1"))
    assert (found["quick"], found["effective_batch"]) == (False, 3)
    assert "other" not in found


def test_a_parameter_whose_line_is_gone_has_its_default():
    assert chosen_parameters("02_auto_optimize", after("quick: bool = True"))["model_size"] == "small"


@pytest.mark.parametrize("line", ["epoch: int = 3", "epoch = 3", "epochs: int = 1\nepoch = 3"], ids=repr)
def test_a_misspelt_parameter_in_the_first_cell_names_the_nearest(line):
    with pytest.raises(SettingsError, match=r"this notebook has no parameter 'epoch'; did you mean 'epochs'\?"):
        chosen_parameters("03_train", after(f'csv: str = "m.csv"\n{line}'))


@pytest.mark.parametrize("name", ["00_explore", "04_memory_report", "05_compare_runs", "06_walk_forward"])
def test_a_misspelt_parameter_of_papermill_names_the_nearest(name):
    namespace = after("# Parameters\nouts = 3")
    with pytest.raises(SettingsError, match="this notebook has no parameter 'outs'; "):
        chosen_parameters(name, namespace)


def test_a_misspelling_that_was_mended_is_forgotten():
    namespace = after("epoch: int = 3", "epochs: int = 3")
    assert chosen_parameters("03_train", namespace)["epochs"] == 3


def test_a_declaration_in_another_cell_is_no_parameter():
    namespace = after("epochs: int = 3", "mine: int = 4")
    assert chosen_parameters("03_train", namespace)["epochs"] == 3


def test_a_name_of_the_user_s_own_may_stand_among_the_parameters():
    namespace = after('folder = "a/"\ncsv: str = folder + "m.csv"')
    assert chosen_parameters("03_train", namespace)["csv"] == "a/m.csv"


def test_what_papermill_has_set_counts_as_given():
    assert injected_names(after("epochs: int = 1", "# Parameters\nepochs = 1\n", "x = 2")) == {"epochs"}
