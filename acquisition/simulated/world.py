"""What lies under the simulated camera: a living specimen, the optics above it, and the light that falls on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from acquisition.clock import NS_PER_S
from acquisition.dose_map import j_cm2
from acquisition.frame import FrameHeader
from acquisition.simulated.drawn import DrawnAtlas
from acquisition.simulated.history import TrueEvent
from acquisition.simulated.light import Light
from acquisition.simulated.nuclei import Nuclei
from acquisition.simulated.optics import Focus, blur_um, blurred, reach_px, vignette
from acquisition.simulated.random_streams import random_stream
from acquisition.simulated.rendering import BODY, REACH, View, draw_bodies, draw_light
from acquisition.simulated.settings import MicroscopeSettings, Optics
from acquisition.simulated.specimen import Culture, Illumination, Specimen
from acquisition.simulated.sprites import RealAtlas
from acquisition.simulated.stamping import Atlas, Image

CHANNELS = ("nuclei", "cytoplasm", "reporter")
BODY_BRIGHTNESS = 0.3
"""Of cytoplasm and of a reporter at rest, in nuclei."""


@cache
def atlas_of(optics: Optics) -> Atlas:
    """What nuclei look like; made once in a process."""
    return DrawnAtlas() if optics.appearance == "drawn" else RealAtlas(optics.blur_um)


@dataclass(frozen=True)
class World:
    """One specimen under one lens. On a real clock the camera's thread uses it, one call at a time."""

    specimen: Specimen
    optics: Optics
    focus: Focus
    atlas: Atlas
    opened_ns: int
    """When the specimen's life began, on the run's clock."""
    time_factor: float
    field_um: tuple[float, float]
    """Width and height of what the lamp lights: the whole sensor's view, whatever part of it is read."""
    brightness: float
    """Photo-electrons per pixel, mW and ms in an average nucleus."""
    background: float
    """The same everywhere."""

    @classmethod
    def grown(cls, settings: MicroscopeSettings, opened_ns: int) -> "World":
        """A new one, as at the beginning of a run."""
        (width_um, height_um), (dish_width_um, dish_height_um) = settings.view_um, settings.specimen_um
        culture = Culture(
            n_cells=round(settings.n_cells * dish_width_um * dish_height_um / (width_um * height_um)),
            size_um=settings.specimen_um, nucleus_um=settings.nucleus_um, speed_um_min=settings.speed_um_min,
            persistence_min=settings.persistence_min, cycle_min=settings.cycle_min, mitosis_min=settings.mitosis_min,
        )  # fmt: skip
        optics = settings.optics
        return cls(
            specimen=Specimen(culture, random_stream(settings.seed, "specimen"), settings.biology), optics=optics,
            focus=Focus(optics, settings.seed), atlas=atlas_of(optics), opened_ns=opened_ns,
            time_factor=settings.time_factor, field_um=settings.view_um, brightness=settings.brightness,
            background=settings.background,
        )  # fmt: skip

    @property
    def ns_per_min(self) -> float:
        """Of the clock, for a minute of the specimen's life."""
        return 60 * NS_PER_S / self.time_factor

    def life_min(self, t_ns: int) -> float:
        """The specimen's age."""
        return (t_ns - self.opened_ns) / self.ns_per_min

    def illuminate(self, lights: Sequence[Light]) -> None:
        """Light on the specimen, in order, before a frame is asked for that was exposed after it."""
        self.specimen.illuminate(self._illumination(light) for light in lights)

    def electrons(self, header: FrameHeader) -> tuple[Image, Nuclei]:
        """Photo-electrons expected in each pixel of a frame, `[H, W]`, and the nuclei as they are when its exposure ends."""
        nuclei = self.specimen.nuclei_at(self.life_min(header.t_ns))
        view = View.of(header)
        sigma_px = blur_um(self.optics, self.defocus_um(header), self.atlas.sharp_um) / view.um_per_px
        margin_px = reach_px(sigma_px)
        light = blurred(self._light(nuclei, view.widened(margin_px), header.channel), sigma_px)
        height_px, width_px = view.shape
        image = light[margin_px : margin_px + height_px, margin_px : margin_px + width_px] * self.brightness
        image += self.background
        image *= self._lit(view, header)
        return image, nuclei

    def _light(self, nuclei: Nuclei, view: View, channel: str) -> Image:
        if channel == "nuclei":
            return draw_light(nuclei, view, self.atlas)
        seen = view.touched(nuclei, REACH * BODY)
        response = seen.reporter if channel == "reporter" else 1.0
        return draw_bodies(seen, view, BODY_BRIGHTNESS * seen.unbleached * response)

    def _lit(self, view: View, header: FrameHeader) -> Image | float:
        """mW and ms that tell in each pixel; fewer towards the corners of the whole field."""
        light = header.light_mw * header.exposure_ms
        if not self.optics.vignetting:
            return light
        middle = ((header.stage.x_um, header.stage.y_um) - np.array(view.corner_um)) / view.um_per_px
        corner_px = math.hypot(*self.field_um) / 2 / view.um_per_px
        return light * vignette(view.shape, (float(middle[0]), float(middle[1])), corner_px, self.optics.vignetting)

    def defocus_um(self, header: FrameHeader) -> float:
        """How far the stage is above the plane in which the specimen was sharp, when a frame was exposed."""
        return header.stage.z_um - self.focus.plane_um((header.t_ns - self.opened_ns) / NS_PER_S)

    def history(self) -> list[TrueEvent]:
        """What has happened until the exposure of the latest frame."""
        return self.specimen.history(self.opened_ns, self.ns_per_min)

    def _illumination(self, light: Light) -> Illumination:
        (width_um, height_um), stage = self.field_um, light.stage
        return Illumination(
            self.life_min(light.ends_ns),
            (stage.x_um - width_um / 2, stage.y_um - height_um / 2),
            (stage.x_um + width_um / 2, stage.y_um + height_um / 2),
            j_cm2(light.energy_mj, width_um * height_um),
        )
