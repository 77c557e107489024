"""The bench itself: what can be said of it without measuring."""

import math

from bench import sizes
from bench.figures import Figure


def figure(measured: float, baseline: float) -> Figure:
    return Figure("any", measured, baseline, "ms", "<= 1.5", "")


def test_a_smoke_run_has_a_tiny_size_for_everything() -> None:
    assert set(sizes.SMOKE) == {name for name in vars(sizes) if name.isupper()} - {"SMOKE"}


def test_a_goal_is_judged_by_the_ratio_as_it_is_shown() -> None:
    assert figure(150.4, 100).met
    assert not figure(151, 100).met


def test_a_figure_beside_nothing_has_no_ratio_and_misses_its_goal() -> None:
    assert math.isnan(figure(1, 0).ratio)
    assert not figure(1, 0).met
