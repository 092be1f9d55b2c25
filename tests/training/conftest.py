"""What tests of training share: the encoders they run with."""

import pytest

from tests.support import training_runs
from tests.training import test_session


@pytest.fixture(params=["recurrent", pytest.param("multiscale", marks=pytest.mark.slow)])
def every_encoder(request, monkeypatch):
    """Quick runs with each encoder in turn, on a sequence and a vector; compiling a program takes a second a run."""
    for quick in (training_runs.QUICK, test_session.QUICK):
        monkeypatch.setitem(quick, "encoder", request.param)
        monkeypatch.setitem(quick, "features", "arr_5m,arr_ctx")
    return request.param
