import json

import numpy as np
import pytest

from deeptrade.training.loss_spikes import LOSS_WARM_UP_WINDOWS, SpikeDetector


def clean_losses(seed, windows=2000):
    """Means of 80 heavy-tailed errors around a loss that falls from 2 to 1."""
    generator = np.random.default_rng(seed)
    level = 1 + np.exp(-np.arange(windows) / 300)
    return level * np.abs(generator.standard_t(5, (windows, 80))).mean(axis=1)


def alarms(losses, targets=80):
    detector = SpikeDetector()
    return [step for step, loss in enumerate(losses) if detector.observe(loss, targets)]


def test_twenty_clean_runs_raise_no_alarm():
    assert [alarms(clean_losses(seed)) for seed in range(20)] == [[]] * 20


@pytest.mark.parametrize("seed", range(20))
def test_a_rise_by_five_standard_deviations_is_found_within_three_windows(seed):
    losses = clean_losses(seed)
    at = int(np.random.default_rng([seed, 1]).integers(200, 1900))
    losses[at : at + 10] *= np.exp(5 * np.log(losses[at - 100 : at]).std())
    found = alarms(losses)
    assert len(found) == 1
    assert at <= found[0] < at + 3


def test_windows_with_few_targets_may_deviate_more():
    losses = clean_losses(0, windows=500)
    losses[400] = losses[300:400].mean() * 1.8
    assert alarms(losses) == [400]
    detector = SpikeDetector()
    assert not any(detector.observe(loss, 5 if step == 400 else 80) for step, loss in enumerate(losses))


def test_a_window_without_targets_or_with_nan_is_no_spike_and_changes_nothing():
    detector = SpikeDetector()
    for loss in clean_losses(0, windows=100):
        detector.observe(loss, 80)
    before = detector.state()
    assert not detector.observe(0.0, 0)
    assert not detector.observe(float("nan"), 80)
    assert detector.state() == before


def test_a_detector_continues_from_its_state():
    losses = clean_losses(3, windows=300)
    losses[250:253] *= 3
    first = SpikeDetector()
    found = [step for step in range(200) if first.observe(losses[step], 80)]
    second = SpikeDetector(**json.loads(json.dumps(first.state())))
    found += [step for step in range(200, 300) if second.observe(losses[step], 80)]
    assert found == alarms(losses) == [250]


def test_nothing_is_reported_during_warm_up():
    losses = clean_losses(0, windows=LOSS_WARM_UP_WINDOWS)
    losses[-1] *= 100
    assert alarms(losses) == []
