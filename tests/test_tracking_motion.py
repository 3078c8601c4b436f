"""The motion of cells: a textbook Kalman filter with matrices, whose noise is integrated numerically, says the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from models.cells import Floats
from tracking.motion import Motion, Motions

SPEED_UM_S, PERSISTENCE_S, JITTER_UM = 0.3, 40.0, 0.5
MOTION = Motion(SPEED_UM_S, PERSISTENCE_S, JITTER_UM)
Step = tuple[Floats, Floats]


def step_of(motion: Motion, dt_s: float) -> Step:
    """Transition and noise of place and velocity along an axis, by the matrix exponential of Van Loan (1978)."""
    fades = 1 / motion.persistence_s
    drive = np.array([[0.0, 1.0], [0.0, -fades]])
    pushed = np.diag([0.0, 2 * motion.speed_um_s**2 * fades])
    whole = expm(np.block([[-drive, pushed], [np.zeros((2, 2)), drive.T]]) * dt_s)
    transition = whole[2:, 2:].T
    return transition, transition @ whole[:2, 2:]


def covariance(motions: Motions, row: int = 0) -> Floats:
    xx, xv, vv = motions.variance[row]
    return np.array([[xx, xv], [xv, vv]])


def some(n: int = 3, seed: int = 0) -> Motions:
    """Moving cells that are known more or less well, and paced differently."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(0, 1, (n, 2, 2))
    squares = roots @ roots.transpose(0, 2, 1)
    variance = np.stack([squares[:, 0, 0], 0.1 * squares[:, 0, 1], 0.01 * squares[:, 1, 1]], axis=1)
    return Motions(rng.normal(0, 50, (n, 2)), rng.normal(0, 0.3, (n, 2)), variance, rng.uniform(0.5, 2, n))


@pytest.mark.parametrize("dt_s", [0.5, 5.0, 40.0, 200.0])
def test_prediction_is_the_textbook_one(dt_s: float) -> None:
    known, (transition, noise) = some(), step_of(MOTION, dt_s)
    expected = MOTION.predict(known, dt_s)
    for row in range(3):
        states = np.stack([known.xy_um[row], known.velocity_um_s[row]])
        assert np.allclose(transition @ states, [expected.xy_um[row], expected.velocity_um_s[row]], rtol=1e-9)
        predicted = transition @ covariance(known, row) @ transition.T + known.pace[row] * noise
        assert np.allclose(covariance(expected, row), predicted, rtol=1e-6)


@pytest.mark.parametrize("share", [1e-6, 1e-3, 0.0099, 0.0101])
def test_the_noise_of_short_steps(share: float) -> None:
    """Where the exact formula is a difference of nearly equal numbers, the leading terms stand for it."""
    dt_s = share * PERSISTENCE_S
    known = Motions(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 3)), np.ones(1))
    _, noise = step_of(MOTION, dt_s)
    assert np.allclose(covariance(MOTION.predict(known, dt_s)), noise, rtol=0.02)


@pytest.mark.parametrize("surprise", [(0.0, 0.0), (0.6, -0.9)])
def test_a_sighting_that_surprises_little_is_the_textbook_update(surprise: tuple[float, float]) -> None:
    expected = some()
    sigma_um = np.sqrt(MOTION.seen_variance(expected))
    measured_um = expected.xy_um + sigma_um[:, None] * surprise
    after = MOTION.update(expected, measured_um, np.ones(len(measured_um), bool))
    for row in range(3):
        before, sees = covariance(expected, row), np.array([[1.0, 0.0]])
        gain = before @ sees.T / (sees @ before @ sees.T + JITTER_UM**2)
        states = np.stack([expected.xy_um[row], expected.velocity_um_s[row]])
        states = states + gain @ (measured_um[row] - expected.xy_um[row])[None]
        assert np.allclose(states, [after.xy_um[row], after.velocity_um_s[row]], rtol=1e-9)
        assert np.allclose(covariance(after, row), (np.eye(2) - gain @ sees) @ before, rtol=1e-9, atol=1e-12)


def test_who_was_not_seen_is_where_he_was_expected() -> None:
    expected, seen = some(), np.array([True, False, True])
    after = MOTION.update(expected, np.zeros((3, 2)), seen)
    for name in ("xy_um", "velocity_um_s", "variance", "pace"):
        changed = getattr(after, name) != getattr(expected, name)
        assert np.array_equal(changed.reshape(3, -1).all(axis=1), seen), name


def test_a_great_surprise_leaves_the_velocity_less_sure() -> None:
    expected = some(1)
    near, far = (MOTION.update(expected, expected.xy_um + offset_um, np.ones(1, bool)) for offset_um in (0.1, 30.0))
    assert far.variance[0, 2] > near.variance[0, 2]
    assert far.pace[0] > expected.pace[0] > near.pace[0]
    assert np.linalg.norm(far.xy_um - expected.xy_um - 30.0) < 0.3 * np.linalg.norm([30.0, 30.0])


@settings(deadline=None)  # the first example compiles
@given(dt_s=st.floats(0.1, 1000), n=st.integers(2, 20))
def test_a_long_gap_is_many_short_steps(dt_s: float, n: int) -> None:
    """Frames that were dropped do not matter, but for the simpler formula of very short steps."""
    at_once, stepwise = MOTION.predict(some(), dt_s), some()
    for _ in range(n):
        stepwise = MOTION.predict(stepwise, dt_s / n)
    assert np.allclose(at_once.xy_um, stepwise.xy_um)
    assert np.allclose(at_once.velocity_um_s, stepwise.velocity_um_s)
    xx, _, vv = at_once.variance.T
    assert (np.abs(stepwise.variance - at_once.variance) <= 0.02 * np.stack([xx, np.sqrt(xx * vv), vv], axis=1)).all()


def test_no_time_changes_nothing() -> None:
    known, still = some(), MOTION.predict(some(), 0.0)
    assert np.array_equal(still.xy_um, known.xy_um)
    assert np.array_equal(still.velocity_um_s, known.velocity_um_s)
    assert np.array_equal(still.variance, known.variance)


def test_velocities_that_last_are_constant_velocity() -> None:
    known, dt_s = some(), 7.0
    expected = Motion(SPEED_UM_S, 1e9, JITTER_UM).predict(known, dt_s)
    (xx, xv, vv), step = known.variance.T, np.array([[1.0, dt_s], [0.0, 1.0]])
    assert np.allclose(expected.xy_um, known.xy_um + dt_s * known.velocity_um_s)
    assert np.allclose(expected.velocity_um_s, known.velocity_um_s)
    for row in range(3):
        before = np.array([[xx[row], xv[row]], [xv[row], vv[row]]])
        assert np.allclose(covariance(expected, row), step @ before @ step.T, rtol=1e-4)


def test_velocities_that_fade_at_once_are_diffusion() -> None:
    """Mean square displacement along an axis: 2 D t with D = speed² · persistence."""
    known = Motions(np.zeros((1, 2)), np.ones((1, 2)), np.zeros((1, 3)), np.ones(1))
    expected = Motion(SPEED_UM_S, 0.01, JITTER_UM).predict(known, 100.0)
    assert expected.variance[0, 0] == pytest.approx(2 * SPEED_UM_S**2 * 0.01 * 100.0, rel=0.01)
    assert np.allclose(expected.velocity_um_s, 0.0)


@pytest.mark.parametrize("dt_s", [0.0, 1.0, 30.0, 300.0])
def test_spread_is_that_of_a_cell_in_its_usual_motion(dt_s: float) -> None:
    """Seen twice, while its velocity is what chance makes of it."""
    usual = Motions(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[0.0, 0.0, SPEED_UM_S**2]]), np.ones(1))
    way = MOTION.predict(usual, dt_s).variance[0, 0]
    assert MOTION.spread_um(dt_s) == pytest.approx(np.sqrt(2 * JITTER_UM**2 + way), rel=0.01)


def test_a_cell_seen_once_is_where_it_was_seen_and_may_go_anywhere() -> None:
    begun = MOTION.begin(np.array([[3.0, -4.0]]), np.array([0.1, 0.2]))
    assert begun.xy_um.tolist() == [[3.0, -4.0]]
    assert begun.velocity_um_s.tolist() == [[0.1, 0.2]]
    assert begun.variance[0, 0] == pytest.approx(JITTER_UM**2)
    assert begun.variance[0, 2] >= SPEED_UM_S**2


def test_what_is_known_fits_where_cells_are() -> None:
    """Over long tracks of simulated cells, the expected place is off by as much as the filter says."""
    rng, dt_s = np.random.default_rng(0), 10.0
    transition, noise = step_of(MOTION, dt_s)
    root, n = np.linalg.cholesky(noise), 400
    true = np.stack([np.zeros((n, 2)), SPEED_UM_S * rng.normal(0, 1, (n, 2))])
    known, off = MOTION.begin(rng.normal(0, JITTER_UM, (n, 2)), np.zeros(2)), []
    for _ in range(40):
        true = np.einsum("ij,jnk->ink", transition, true) + np.einsum("ij,jnk->ink", root, rng.normal(0, 1, true.shape))
        expected = MOTION.predict(known, dt_s)
        measured_um = true[0] + rng.normal(0, JITTER_UM, (n, 2))
        off.append((measured_um - expected.xy_um) / np.sqrt(MOTION.seen_variance(expected))[:, None])
        known = MOTION.update(expected, measured_um, np.ones(len(measured_um), bool))
    assert np.median(np.abs(np.stack(off[10:]))) == pytest.approx(0.6745, rel=0.1)  # of a normal distribution
