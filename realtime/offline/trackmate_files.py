"""Lineages → the XML file of TrackMate (Fiji), which opens it as if the cells had been tracked there by hand.

The elements are those that TrackMate's own reader asks for (fiji.plugin.trackmate.io.TmXmlReader, version 7): a model of
spots, edges and tracks, and settings with an image and a detector and tracker that exist. A track of TrackMate is a whole
family, all that is connected; cells that were seen only once and have no family stay spots without a track.
"""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from acquisition.clock import NS_PER_S
from models.label_files import replaced
from realtime.offline.track_segments import edges_of, families_of
from tracking.lineages import Lineages

VERSION = "7.11.1"
SPOT_FEATURES = {
    "QUALITY": ("Quality", "QUALITY", False), "POSITION_X": ("X", "POSITION", False), "POSITION_Y": ("Y", "POSITION", False),
    "POSITION_Z": ("Z", "POSITION", False), "POSITION_T": ("T", "TIME", False), "FRAME": ("Frame", "NONE", True),
    "RADIUS": ("Radius", "LENGTH", False), "VISIBILITY": ("Visibility", "NONE", True), "AREA": ("Area", "AREA", False),
    "MEAN_INTENSITY_CH1": ("Mean intensity ch1", "INTENSITY", False), "REFLEXSCOPE_TRACK": ("Reflexscope track", "NONE", True),
    "REFLEXSCOPE_LABEL": ("Reflexscope label", "NONE", True),
}  # fmt: skip
EDGE_FEATURES = {"SPOT_SOURCE_ID": ("Source spot ID", "NONE", True), "SPOT_TARGET_ID": ("Target spot ID", "NONE", True)}
TRACK_FEATURES = {"TRACK_INDEX": ("Track index", "NONE", True), "TRACK_ID": ("Track ID", "NONE", True)}
Features = dict[str, tuple[str, str, bool]]
"""Key → name, dimension, whether it is a whole number."""


@dataclass(frozen=True)
class ImageInfo:
    """What TrackMate wants to know of the images; with a `file` it opens them, too."""

    shape: tuple[int, int]
    n_frames: int
    um_per_px: float
    interval_s: float
    file: Path | None = None
    origin_um: tuple[float, float] = (0.0, 0.0)
    """Stage position of the middle of the first pixel: TrackMate counts from there."""

    @classmethod
    def around(cls, lineages: Lineages) -> "ImageInfo":
        """Of an image that would show all tracks at 1 µm a pixel, where nothing is known of the real ones."""
        xy_um = lineages.xy_um if len(lineages) else np.zeros((1, 2))
        low, high = xy_um.min(axis=0), xy_um.max(axis=0)
        width, height = (np.ceil(high - low) + 1).astype(int).tolist()
        steps_s = np.diff(np.unique(lineages.t_ns)) / NS_PER_S
        interval_s = float(np.median(steps_s)) if steps_s.size else 1.0
        return cls((height, width), lineages.n_frames, 1.0, interval_s, origin_um=(float(low[0]), float(low[1])))


def write_trackmate(path: Path, lineages: Lineages, image: ImageInfo) -> None:
    """Positions in µm, times in seconds; a spot's name is its track."""
    root = Element("TrackMate", version=VERSION)
    SubElement(root, "Log").text = "Tracked by Reflexscope."
    model = SubElement(root, "Model", spatialunits="µm", timeunits="s")
    declared = SubElement(model, "FeatureDeclarations")
    _declare(declared, "SpotFeatures", SPOT_FEATURES)
    _declare(declared, "EdgeFeatures", EDGE_FEATURES)
    _declare(declared, "TrackFeatures", TRACK_FEATURES)
    _add_spots(model, lineages, image.origin_um)
    _add_tracks(model, lineages)
    _add_settings(root, lineages, image)
    SubElement(root, "GUIState", state="ConfigureViews")
    ElementTree.indent(root)
    with replaced(path) as part:
        ElementTree.ElementTree(root).write(part, encoding="UTF-8", xml_declaration=True)


def _declare(declared: Element, tag: str, features: Features) -> None:
    group = SubElement(declared, tag)
    for key, (name, dimension, whole) in features.items():
        names = {"feature": key, "name": name, "shortname": name, "dimension": dimension}
        SubElement(group, "Feature", names, isint=str(whole).lower())


def _add_spots(model: Element, lineages: Lineages, origin_um: tuple[float, float]) -> None:
    """The ID of a spot is the row of its sighting."""
    spots = SubElement(model, "AllSpots", nspots=str(len(lineages)))
    for frame, rows in groupby(range(len(lineages)), key=lambda row: int(lineages.frame[row])):
        in_frame = SubElement(spots, "SpotsInFrame", frame=str(frame))
        for row in rows:
            SubElement(in_frame, "Spot", _spot(lineages, row, origin_um))


def _spot(lineages: Lineages, row: int, origin_um: tuple[float, float]) -> dict[str, str]:
    x_um, y_um = (lineages.xy_um[row] - origin_um).tolist()
    area_um2, intensity = float(lineages.area_um2[row]), float(lineages.mean_intensity[row])
    found = {
        "ID": str(row), "name": f"{lineages.track[row]}", "QUALITY": "1.0", "VISIBILITY": "1",
        "FRAME": str(lineages.frame[row]), "POSITION_T": f"{lineages.t_ns[row] / NS_PER_S:.6f}",
        "POSITION_X": f"{x_um:.4f}", "POSITION_Y": f"{y_um:.4f}", "POSITION_Z": "0.0",
        "RADIUS": f"{np.sqrt(area_um2 / np.pi):.4f}", "AREA": f"{area_um2:.4f}",
        "REFLEXSCOPE_TRACK": str(lineages.track[row]), "REFLEXSCOPE_LABEL": str(lineages.label[row]),
    }  # fmt: skip
    return found if np.isnan(intensity) else found | {"MEAN_INTENSITY_CH1": f"{intensity:.4f}"}


def _add_tracks(model: Element, lineages: Lineages) -> None:
    edges = edges_of(lineages)
    family = families_of(lineages)[edges[:, 0]]
    order = np.argsort(family, kind="stable")
    everyone, chosen = SubElement(model, "AllTracks"), SubElement(model, "FilteredTracks")
    for index, (founder, rows) in enumerate(groupby(order.tolist(), key=lambda edge: int(family[edge]))):
        track = SubElement(everyone, "Track", name=f"Track_{founder}", TRACK_INDEX=str(index), TRACK_ID=str(founder))
        for source, target in edges[list(rows)].tolist():
            SubElement(track, "Edge", SPOT_SOURCE_ID=str(source), SPOT_TARGET_ID=str(target))
        SubElement(chosen, "TrackID", TRACK_ID=str(founder))


def _add_settings(root: Element, lineages: Lineages, image: ImageInfo) -> None:
    settings = SubElement(root, "Settings")
    height, width = map(str, image.shape)
    scale = str(image.um_per_px)
    SubElement(
        settings, "ImageData", filename=image.file.name if image.file else "",
        folder=f"{image.file.resolve().parent}/" if image.file else "", width=width, height=height, nslices="1",
        nframes=str(image.n_frames), pixelwidth=scale, pixelheight=scale, voxeldepth="1.0", timeinterval=str(image.interval_s),
    )  # fmt: skip
    last_x, last_y = str(image.shape[1] - 1), str(image.shape[0] - 1)
    SubElement(
        settings, "BasicSettings", xstart="0", xend=last_x, ystart="0", yend=last_y, zstart="0", zend="0", tstart="0",
        tend=str(image.n_frames - 1),
    )  # fmt: skip
    radius_um = float(np.sqrt(np.median(lineages.area_um2) / np.pi)) if len(lineages) else 1.0
    SubElement(settings, "DetectorSettings", DETECTOR_NAME="MANUAL_DETECTOR", RADIUS=f"{radius_um:.4f}")
    SubElement(settings, "InitialSpotFilter", feature="QUALITY", value="0.0", isabove="true")
    SubElement(settings, "SpotFilterCollection")
    SubElement(settings, "TrackerSettings", TRACKER_NAME="MANUAL_TRACKER")
    SubElement(settings, "TrackFilterCollection")
    analyzers = SubElement(settings, "AnalyzerCollection")
    for tag in ("SpotAnalyzers", "EdgeAnalyzers", "TrackAnalyzers"):
        SubElement(analyzers, tag)
