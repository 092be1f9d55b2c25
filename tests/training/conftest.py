"""What tests of training share: the encoders they run with."""

import pytest

from tests.support.training_runs import ONE_PASS, QUICK


@pytest.fixture(scope="module", params=["recurrent", pytest.param("multiscale", marks=pytest.mark.slow)])
def every_encoder(request):
    """Quick runs with each encoder in turn, on a sequence and a vector; compiling a program takes a second a run."""
    with pytest.MonkeyPatch.context() as patch:
        for quick in (QUICK, ONE_PASS):
            patch.setitem(quick, "encoder", request.param)
            patch.setitem(quick, "features", "arr_5m,arr_ctx")
        yield request.param
