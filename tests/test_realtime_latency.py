"""The latency ledger: spans sum to the total, stages come in order, quantiles are within 2 %."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquisition.clock import NS_PER_MS, SimulatedClock
from realtime.latency import ACTION_STAGES, ANALYSIS_STAGES, STAGES, Histogram, Ledger, Stamps, spans_ns

DURATIONS_NS = st.integers(100, 10**13)  # up to almost three hours
QUANTILES = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**10), min_size=1, max_size=len(STAGES)))
def test_spans_sum_to_the_total(exposed_ns: int, durations_ns: list[int]) -> None:
    ends_ns = (exposed_ns + np.cumsum(durations_ns)).tolist()
    spans = spans_ns(exposed_ns, ends_ns)
    assert list(spans) == list(STAGES[: len(durations_ns)])
    assert list(spans.values()) == durations_ns
    assert sum(spans.values()) == ends_ns[-1] - exposed_ns


def test_stamps_close_each_stage_at_the_clocks_time() -> None:
    clock = SimulatedClock(1000)
    stamps = Stamps(clock, exposed_ns=400, read_ns=1000)
    for n, stage in enumerate(ANALYSIS_STAGES[1:], start=1):
        clock.sleep_s(n * 1e-9)
        stamps.mark(stage)
    closed = dict(zip(ANALYSIS_STAGES, [600, 1, 2, 3, 4, 5, 6, 7, 8], strict=True))
    assert spans_ns(stamps.exposed_ns, stamps.ends_ns) == closed


@pytest.mark.parametrize(
    ("marks", "wrong", "expected"),
    [
        ([], "inferred", "queued"),
        ([], "read", "queued"),
        (["queued"], "queued", "preprocessed"),
        (["queued", "preprocessed", "inferred"], "measured", "labelled"),
        (["queued"], "lunch", "preprocessed"),
    ],
)
def test_stamps_refuse_a_stage_out_of_order(marks: list[str], wrong: str, expected: str) -> None:
    stamps = Stamps(SimulatedClock(), exposed_ns=0, read_ns=0)
    for stage in marks:
        stamps.mark(stage)
    with pytest.raises(ValueError, match=f"'{wrong}' marked, but '{expected}' comes next"):
        stamps.mark(wrong)
    stamps.mark(expected)


def filled(durations_ns: list[int]) -> Histogram:
    histogram = Histogram()
    for duration_ns in durations_ns:
        histogram.add(duration_ns)
    return histogram


@given(st.lists(DURATIONS_NS, min_size=1, max_size=300), st.sampled_from(QUANTILES))
def test_quantiles_are_those_of_numpy_within_two_percent(durations_ns: list[int], q: float) -> None:
    exact_ms = float(np.quantile(durations_ns, q, method="inverted_cdf")) / NS_PER_MS
    assert exact_ms * (1 - 1e-9) <= filled(durations_ns).quantile_ms(q) <= exact_ms * 1.02 * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_of_many_durations(seed: int) -> None:
    durations_ns = (np.random.default_rng(seed).lognormal(15, 1.5, 20_000) + 100).astype(np.int64)
    histogram = filled(durations_ns.tolist())
    for q in QUANTILES:
        exact_ms = float(np.quantile(durations_ns, q, method="inverted_cdf")) / NS_PER_MS
        assert histogram.quantile_ms(q) == pytest.approx(exact_ms, rel=0.021)
    assert histogram.summary()["mean_ms"] == pytest.approx(durations_ns.mean() / NS_PER_MS, abs=1e-4)
    assert histogram.summary()["max_ms"] == pytest.approx(durations_ns.max() / NS_PER_MS, abs=1e-4)


@given(st.lists(st.integers(-(10**6), 10**17), min_size=1, max_size=50))
def test_a_histogram_takes_any_duration_in_constant_memory(durations_ns: list[int]) -> None:
    histogram = filled(durations_ns)
    assert histogram.counts.shape == (Histogram.N_BINS,)
    assert histogram.counts.sum() == histogram.n == len(durations_ns)
    assert math.isfinite(histogram.quantile_ms(0.999))


def test_an_empty_histogram_has_no_latency() -> None:
    assert set(Histogram().summary().values()) == {0}


def test_the_ledger_closes_over_analysis_and_action() -> None:
    ledger = Ledger()
    n_frames, exposed_ns, step_ns = 50, 7_000_000, 1_000_000
    ends_ns = [exposed_ns + step_ns * n for n in range(1, len(STAGES) + 1)]
    analysed, acted = ends_ns[: len(ANALYSIS_STAGES)], ends_ns[len(ANALYSIS_STAGES) :]
    for _ in range(n_frames):
        ledger.add_analysis(exposed_ns, analysed)
        ledger.add_action(exposed_ns, analysed[-1], acted)
    table = ledger.summary()
    assert list(table) == [*STAGES, "exposed_to_decided", "exposed_to_done"]
    assert {row["n"] for row in table.values()} == {n_frames}
    assert table["exposed_to_decided"]["mean_ms"] == sum(table[stage]["mean_ms"] for stage in ANALYSIS_STAGES)
    assert table["exposed_to_done"]["mean_ms"] == sum(table[stage]["mean_ms"] for stage in STAGES)


def test_the_ledger_leaves_out_what_did_not_occur() -> None:
    ledger = Ledger()
    ledger.add_analysis(0, list(range(1, len(ANALYSIS_STAGES) + 1)))
    assert list(ledger.summary()) == [*ANALYSIS_STAGES, "exposed_to_decided"]


@pytest.mark.parametrize("n_ends", [0, len(ACTION_STAGES) - 1, len(ACTION_STAGES) + 1])
def test_the_ledger_refuses_an_action_with_missing_or_extra_marks(n_ends: int) -> None:
    with pytest.raises(ValueError, match="has the marks sent, checked, done"):
        Ledger().add_action(0, 10, list(range(11, 11 + n_ends)))
