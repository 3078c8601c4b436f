"""What simulated nuclei look like: the shipped networks find them and see what phase they are in; labels fit the picture."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import ndimage

from acquisition.simulated import biology as bio
from acquisition.simulated.nuclei import Nuclei, half_axes_um, mean_brightness
from acquisition.simulated.optics import blur_um, blurred
from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.rendering import View, draw_labels, draw_light
from acquisition.simulated.settings import Optics
from acquisition.simulated.sprites import FILE, SIDE_PX, RealAtlas
from acquisition.simulated.world import atlas_of
from models.classifier import NetworkClassifier
from models.crops import normalised_crops
from models.engines.engine import EngineSettings
from models.segmenter import NetworkSegmenter

UM_PER_PX, NUCLEUS_UM, PITCH_UM = 0.645, 17.0, 40.0
ONE_THREAD = EngineSettings(threads=1)
APPEARANCES = ("drawn", "real")


def laid_out(phases: Sequence[int], shares: Sequence[float]) -> Nuclei:
    """Cells in rows of eight, so far apart that none touches another."""
    n, rng = len(phases), np.random.default_rng(1)
    phase, share = np.array(phases), np.array(shares)
    radius_um = NUCLEUS_UM / 2 * rng.lognormal(0.0, 0.07, n)
    stretch = np.sqrt(rng.uniform(1.0, 1.5, n))
    own_um = np.stack([radius_um * stretch, radius_um / stretch], axis=1)
    semi_um = half_axes_um(own_um, np.full(n, 0.4), phase, share)
    dna = np.where((phase >= bio.PROPHASE) & (phase <= bio.METAPHASE), 2.0, 1.0)
    return Nuclei(
        id=np.arange(1, n + 1), parent=np.zeros(n, np.int64),
        xy_um=np.stack([np.arange(n) % 8 + 0.5, np.arange(n) // 8 + 0.5], axis=1) * PITCH_UM, semi_um=semi_um,
        angle_rad=rng.uniform(0, math.pi, n), brightness=mean_brightness(np.ones(n), dna, semi_um, own_um, phase, share),
        radius_um=radius_um, phase=phase, share=share, unbleached=np.ones(n), reporter=np.ones(n),
        dose_j_cm2=np.zeros(n), harmed=np.zeros(n, bool), rare=np.zeros(n, bool),
    )  # fmt: skip


def seen(nuclei: Nuclei, appearance: str) -> tuple[np.ndarray, np.ndarray]:
    """Counts and true labels of a frame that shows them all."""
    optics = Optics(appearance=appearance)  # type: ignore[arg-type]
    atlas, side_px = atlas_of(optics), round(8 * PITCH_UM / UM_PER_PX)
    view = View((0.0, 0.0), UM_PER_PX, (side_px, side_px))
    light = blurred(draw_light(nuclei, view, atlas), blur_um(optics, 0.0, atlas.sharp_um) / UM_PER_PX)
    electrons = 600 * light + 60
    noise = random_stream(0, "frame").standard_normal(electrons.shape) * np.sqrt(electrons)
    return (100 + electrons + noise).astype(np.float32), draw_labels(nuclei, view, atlas)


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_the_shipped_networks_tell_dividing_nuclei_from_others(appearance: str) -> None:
    recognised = {bio.PROMETAPHASE: 0.7, bio.METAPHASE: 0.9, bio.ANAPHASE: 0.8}
    phases = [bio.G1] * 24 + [phase for phase in recognised for _ in range(12)]
    image, truth = seen(laid_out(phases, [0.6] * len(phases)), appearance)
    segmenter = NetworkSegmenter(model="nuclei-fast", engine=ONE_THREAD)
    labels = segmenter.label(segmenter.infer(image))
    classifier = NetworkClassifier(engine=ONE_THREAD)
    rows = np.arange(1, labels.max() + 1)
    middles = np.array(ndimage.center_of_mass(labels > 0, labels, rows))[:, ::-1]
    p_class = classifier.probabilities(normalised_crops(image, middles))
    given = np.array(classifier.class_names)[p_class.argmax(axis=1)]
    cell = np.array([np.bincount(truth[labels == row]).argmax() for row in rows])
    assert set(cell) >= set(range(1, len(phases) + 1)), "each is found"
    of_phase = {phase: given[np.isin(cell, 1 + np.flatnonzero(np.array(phases) == phase))] for phase in set(phases)}
    assert np.mean(of_phase[bio.G1] == "mitotic") <= 0.05
    for phase, share in recognised.items():
        assert np.mean(of_phase[phase] == "mitotic") >= share, bio.PHASES[phase]


@pytest.mark.parametrize("appearance", APPEARANCES)
@pytest.mark.parametrize("phase", range(len(bio.PHASES)), ids=bio.PHASES)
def test_labels_lie_where_the_light_is(appearance: str, phase: int) -> None:
    nuclei = laid_out([phase] * 16, np.linspace(0.0, 0.6, 16).tolist())
    image, labels = seen(nuclei, appearance)
    assert set(np.unique(labels)) == {0, *nuclei.id.tolist()}
    signal = image - 160
    assert signal[labels > 0].sum() > 0.7 * signal.sum()
    for cell, (x_um, y_um) in zip(nuclei.id.tolist(), nuclei.xy_um, strict=True):
        y_px, x_px = np.nonzero(labels == cell)
        assert np.hypot(x_px.mean() * UM_PER_PX - x_um, y_px.mean() * UM_PER_PX - y_um) < 0.35 * NUCLEUS_UM


def test_a_cell_keeps_its_picture_while_its_phase_lasts() -> None:
    atlas, cells = RealAtlas(0.0), laid_out([bio.METAPHASE] * 12 + [bio.G1] * 12, [0.1] * 24)
    later = laid_out([bio.METAPHASE] * 12 + [bio.S] * 12, [0.9] * 24)
    np.testing.assert_array_equal(atlas.stamps(cells).sprite, atlas.stamps(later).sprite)
    assert len(set(atlas.stamps(cells).sprite.tolist())) > 10


def test_the_shipped_sprites_are_whole_and_small() -> None:
    assert FILE.stat().st_size < 1_500_000
    with np.load(FILE, allow_pickle=False) as stored:
        light, masks = stored["light"], np.unpackbits(stored["mask"], axis=-1, count=SIDE_PX)
        assert 150 <= len(light) <= 300
    assert set(light.max(axis=(1, 2))) == {255}
    for rim in (light[:, 0], light[:, -1], light[:, :, 0], light[:, :, -1]):
        assert rim.max() == 0
    inside = [float(one[mask > 0].sum() / one.sum()) for one, mask in zip(light.astype(float), masks, strict=True)]
    assert min(inside) > 0.5
    assert np.median(inside) > 0.85
