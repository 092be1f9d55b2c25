import numpy as np

from deeptrade.profiles.shapes import HISTOGRAM_EDGES, PATH_POINTS, count_scores, path_of


def test_scores_are_counted_by_channel_and_those_beyond_the_edges_in_the_outer_bins():
    scores, channels = np.array([-99.0, 0.1, 0.1, 99.0]), np.array([0, 0, 2, 2])
    counts = count_scores(scores, channels, 3)
    middle = np.searchsorted(HISTOGRAM_EDGES, 0.1) - 1
    assert counts.shape == (3, 40)
    assert (counts[0, 0], counts[0, middle], counts[1].sum(), counts[2, middle], counts[2, -1]) == (1, 1, 0, 1, 1)


def test_a_path_is_the_mean_of_each_stretch_without_missing_numbers():
    sample = np.arange(600, dtype=float).reshape(300, 2)
    sample[:5, 0], sample[5:7, 1] = np.nan, np.inf
    first, second = path_of(sample)
    assert len(first) == PATH_POINTS
    assert (first[0], first[1]) == (None, np.mean([10, 12, 14, 16, 18]))
    assert second[1] == np.mean([15, 17, 19])


def test_a_path_of_few_rows_has_a_point_for_each():
    assert path_of(np.array([[1.0], [2.0]])) == [[1.0, 2.0]]
