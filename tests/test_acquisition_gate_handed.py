"""Pulses that a sorter times by itself: handed over in time or not at all, cancelled with the rig, answered once each."""

from collections.abc import Iterator

import pytest

from acquisition.clock import NS_PER_MS
from acquisition.commands import Pause, PulseSorter, Resume, SafeState, Stop
from acquisition.microscope import RigGone
from tests.test_acquisition_gate import desk_with, ended, in_ms
from tests.test_acquisition_loop import Desk
from tests.told_timer import SMALL, TimedMicroscope

Timed = tuple[Desk, TimedMicroscope]


@pytest.fixture
def timed() -> Iterator[Timed]:
    microscope = TimedMicroscope(**SMALL)
    desk = desk_with(microscope)
    yield desk, microscope
    ended(desk)


def test_a_pulse_is_handed_over_at_once_and_answered_as_the_sorter_reports(timed: Timed) -> None:
    desk, microscope = timed
    name = in_ms(desk, 30)
    at_ns = desk.clock.now_ns() + 30 * NS_PER_MS
    desk.turns(1)
    assert name not in desk.outcomes
    desk.turns(50)
    assert desk.outcomes[name] == ("done", "opened")
    assert microscope.timer.opened == [(name, at_ns)]
    assert not microscope.state().gate_open, "the loop's own output is not used"


def test_what_comes_too_late_for_the_sorter_is_not_handed_over(timed: Timed) -> None:
    desk, microscope = timed
    status, detail = desk.outcome(PulseSorter(desk.clock.now_ns() + round(1.9 * NS_PER_MS)))
    assert (status, "the sorter needs 2" in detail) == ("late", True)
    assert not microscope.timer.opened


def test_an_overlap_with_a_pulse_that_was_handed_over_is_refused(timed: Timed) -> None:
    desk, _ = timed
    first, second = in_ms(desk, 30), in_ms(desk, 30.2)
    desk.turns(50)
    assert [desk.outcomes[name][0] for name in (first, second)] == ["done", "refused"]


def test_a_sorter_that_opens_beside_the_moment_is_not_believed(timed: Timed) -> None:
    desk, microscope = timed
    microscope.timer.off_ns = NS_PER_MS
    name = in_ms(desk, 30)
    desk.turns(50)
    assert desk.outcomes[name][0] == "late"


@pytest.mark.parametrize("command", [Pause(), SafeState(), Stop()], ids=lambda command: type(command).__name__)
def test_what_stills_the_rig_cancels_what_was_handed_over(timed: Timed, command: Pause | SafeState | Stop) -> None:
    desk, microscope = timed
    name = in_ms(desk, 1000)
    desk.turns(1)
    assert desk.outcome(command)[0] == "done"
    if isinstance(command, Stop):
        desk.loop.finish()
    assert desk.outcomes[name][0] == "refused"
    desk.clock.sleep_s(2.0)
    assert not microscope.timer.reports()
    assert not microscope.timer.opened


def test_after_a_pause_it_sorts_on(timed: Timed) -> None:
    desk, _ = timed
    desk.outcome(Pause())
    desk.outcome(Resume(), trusted=True)
    assert desk.outcome(PulseSorter(desk.clock.now_ns() + 20 * NS_PER_MS))[0] == "done"


def test_a_sorter_that_is_gone_ends_the_run_and_every_order_has_its_answer(timed: Timed) -> None:
    desk, microscope = timed
    name = in_ms(desk, 1000)
    desk.turns(1)
    microscope.timer.gone = True
    with pytest.raises(RigGone, match="gone"):
        desk.turns(1)
    desk.loop.finish()
    assert desk.outcomes[name][0] == "failed"
    microscope.timer.gone = False


def test_a_sorter_that_says_nothing_leaves_no_order_without_an_answer(timed: Timed) -> None:
    desk, microscope = timed
    name = in_ms(desk, 10)
    microscope.timer.silent = True
    desk.turns(20)
    assert name not in desk.outcomes
    desk.loop.finish()
    assert desk.outcomes[name][0] == "failed"
