"""All arms with all seeds: here one after the other, or in worker processes of one thread each."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from acquisition.microscope import MicroscopeError
from models.engines.engine import EngineError
from models.manifest import ModelError
from realtime.plugins import ConfigError
from realtime.scoring.arms import Scenario
from realtime.scoring.failure import PolicyFailed, ScoreFailed
from realtime.scoring.judge import Row
from realtime.scoring.settings import Arm, PerceivedBy
from realtime.scoring.trial import Trial, row_of

Rows = dict[tuple[str, int], Row]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def scored(
    scenario: Scenario, arms: Sequence[Arm], seeds: Sequence[int], perceived_by: PerceivedBy = "own", jobs: int = 1,
    done: Callable[[], None] = lambda: None,
) -> list[Row]:  # fmt: skip
    """A row for each arm and seed, arm by arm; `done` is called after each. The same whatever `jobs` is."""
    rows: Rows = {}
    plan = [(arm, seed) for seed in seeds for arm in arms]
    if jobs == 1:
        for arm, seed in plan:
            rows[arm.name, seed] = attempted(scenario, _trial(arm, seed, perceived_by, rows))
            done()
    else:
        _in_processes(scenario, plan, perceived_by, jobs, rows, done)
    return [rows[arm.name, seed] for arm in arms for seed in seeds]


def attempted(scenario: Scenario, trial: Trial) -> Row:
    """One run; whatever ends it early says which run it was. Raises ScoreFailed."""
    which = f'arm "{trial.arm.name}", seed {trial.seed}'
    try:
        return row_of(scenario, trial)
    except (ConfigError, EngineError, MicroscopeError, ModelError, PolicyFailed) as error:
        raise ScoreFailed(f"{which}: {error}") from error
    except Exception as error:  # a mistake in the program, or in a class of the user's: it goes on its way with a note
        error.add_note(which)
        raise


def _in_processes(
    scenario: Scenario, plan: list[tuple[Arm, int]], perceived_by: PerceivedBy, jobs: int, rows: Rows,
    done: Callable[[], None],
) -> None:  # fmt: skip
    """An arm that takes its light from another one waits for it."""
    running: dict[Future[Row], tuple[str, int]] = {}
    with _workers(min(jobs, len(plan))) as pool:
        while plan or running:
            ready = [(arm, seed) for arm, seed in plan if not arm.light_of or (arm.light_of, seed) in rows]
            for arm, seed in ready:
                trial = _trial(arm, seed, perceived_by, rows)
                running[pool.submit(_work, scenario, trial)] = (arm.name, seed)
            plan = [item for item in plan if item not in ready]
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                rows[running.pop(future)] = future.result()
                done()


@contextlib.contextmanager
def _workers(n: int) -> Iterator[ProcessPoolExecutor]:
    """Ended at once if anything goes wrong or somebody interrupts: what they compute is then of no use."""
    strangers = multiprocessing.active_children()
    with _one_thread_each():
        pool = ProcessPoolExecutor(n, multiprocessing.get_context("spawn"), _leave_interrupts_to_parent)
        try:
            yield pool
        except BaseException:
            for child in multiprocessing.active_children():
                if child not in strangers:
                    child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Libraries read these when they are loaded, which a spawned process does afresh."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _leave_interrupts_to_parent() -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _work(scenario: Scenario, trial: Trial) -> Row:
    return attempted(scenario, trial)


def _trial(arm: Arm, seed: int, perceived_by: PerceivedBy, rows: Rows) -> Trial:
    light_mj = rows[arm.light_of, seed].dose_mj if arm.light_of else None
    return Trial(arm, seed, perceived_by, light_mj)
