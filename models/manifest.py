"""What travels beside a network: a folder with `model.onnx`, `manifest.toml`, `parity.npz` and `card.md`.

model = find_model("nuclei")          shipped, or the path of a folder like it
model.manifest.um_per_px, model.onnx_bytes()
"""

import hashlib
import tomllib
import zipfile
import zlib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from models.label_rules import LabelRules
from models.normalise import LevelRules

SHIPPED = Path(__file__).parent / "shipped"
FORMAT = 1
PARITY_INPUT = "input"
"""Name of the input in parity.npz; the other arrays are the outputs by name, computed by torch in float32."""
Parity = dict[str, npt.NDArray[np.float32]]


class ModelError(ValueError):
    """A model that cannot be found, read or trusted; the message says which and why."""


class DataSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data set that a network was trained on."""

    name: str
    licence: str
    source: str
    """Where it comes from, and whom to cite."""


class _Common(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    name: str
    summary: str
    """One line for lists."""
    sha256: str
    """Of model.onnx."""
    um_per_px: tuple[float, float] | None
    """From … to: scales of the training images; None if the data do not tell."""
    recipe: str
    """The recipe that trains it again."""
    data: tuple[DataSource, ...]


class SegmenterManifest(
    _Common, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="segmenter"
):
    """Input `image[1, 1, H, W]`, normalised by `levels`; one output `[1, C, H, W]` a method, named like it."""

    levels: LevelRules
    multiple_px: Annotated[int, Meta(ge=1)]
    """H and W must be multiples of this."""
    methods: dict[str, LabelRules]
    """Output name → how its maps become labels, chosen on validation data."""
    network: dict[str, Any]
    """Settings of the torch network (models/networks/unet.py) that holds the same weights."""


class LookRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a classifier of cells in flow, which are looked at several times."""

    class_prior: tuple[Annotated[float, Meta(gt=0, lt=1)], ...]
    """Share of each class for which the probabilities are calibrated."""
    correlation: Annotated[float, Meta(ge=0, le=1)]
    """n looks at one cell tell as much as n / (1 + (n − 1) · correlation) looks at different cells of its kind."""


class ClassifierManifest(
    _Common, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="classifier"
):
    """Input `crops[N, 1, S, S]`, normalised one by one; output `logits[N, K]`.

    With `looks`, crops are of cells in flow and hold contrast: |background − pixel| / background.
    """

    side_px: Annotated[int, Meta(ge=8)]
    classes: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    """Name → classes whose probabilities add up to it; together they name every class once."""
    temperature: Annotated[float, Meta(gt=0)]
    """Logits are divided by it: then probabilities are calibrated."""
    looks: LookRules | None = None
    network: dict[str, Any]

    def __post_init__(self) -> None:
        if self.looks is not None and len(self.looks.class_prior) != len(self.classes):
            raise ValueError("looks.class_prior must have one share for every class")
        named = [name for members in self.groups.values() for name in members]
        if sorted(named) != sorted(self.classes):
            raise ValueError("groups must name every class exactly once")


Manifest = SegmenterManifest | ClassifierManifest


@dataclass(frozen=True)
class Model:
    """A network on disk."""

    folder: Path
    manifest: Manifest

    @property
    def words(self) -> str:
        """Name and the beginning of the hash, for journals: the same name may be trained again."""
        return f"{self.manifest.name} ({self.manifest.sha256[:8]})"

    @property
    def onnx_path(self) -> Path:
        return self.folder / "model.onnx"

    def onnx_bytes(self) -> bytes:
        """The network; raises ModelError if it is not the one that the manifest describes."""
        try:
            content = self.onnx_path.read_bytes()
        except OSError as error:
            raise ModelError(f"{self.onnx_path} cannot be read: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.manifest.sha256:
            raise ModelError(
                f"{self.onnx_path} has SHA-256 {found[:12]}…, its manifest says {self.manifest.sha256[:12]}…: "
                "the file is damaged or was exchanged; install or export the model again"
            )
        return content

    def parity(self) -> Parity:
        """A fixed input and what the network must answer: `input` and the outputs by name."""
        try:
            with (self.folder / "parity.npz").open("rb") as content, np.load(content, allow_pickle=False) as file:
                return {name: np.asarray(file[name], np.float32) for name in file.files}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ModelError(
                f"{self.folder / 'parity.npz'} cannot be read ({error}); export the model again"
            ) from error


def find_model(name: str) -> Model:
    """A shipped model by its name, or one of yours by its folder. Raises ModelError."""
    folder = SHIPPED / name if name in shipped_names() else Path(name).expanduser()
    if not (folder / "manifest.toml").is_file():
        near = get_close_matches(name, shipped_names(), n=1)
        hint = f'; did you mean "{near[0]}"?' if near else "."
        raise ModelError(
            f'model "{name}" is neither shipped nor a folder with a manifest.toml{hint} '
            f"Shipped are {', '.join(shipped_names()) or 'none'}"
        )
    return Model(folder, read_manifest(folder / "manifest.toml"))


def find_segmenter(name: str) -> tuple[Model, SegmenterManifest]:
    """A model that makes maps. Raises ModelError for any other."""
    model = find_model(name)
    if not isinstance(model.manifest, SegmenterManifest):
        raise ModelError(f'model "{name}" classifies cells; a segmenter is needed: {", ".join(_of(SegmenterManifest))}')
    return model, model.manifest


def find_flow_classifier(name: str) -> tuple[Model, ClassifierManifest, LookRules]:
    """A model that names cells in flow. Raises ModelError for any other."""
    model, manifest = find_classifier(name)
    if manifest.looks is None:
        raise ModelError(
            f'model "{name}" classifies crops of images; a sort needs one of cells in flow: {", ".join(_of_flow())}'
        )
    return model, manifest, manifest.looks


def find_classifier(name: str) -> tuple[Model, ClassifierManifest]:
    """A model that names cells. Raises ModelError for any other."""
    model = find_model(name)
    if not isinstance(model.manifest, ClassifierManifest):
        raise ModelError(
            f'model "{name}" segments images; a classifier is needed: {", ".join(_of(ClassifierManifest))}'
        )
    return model, model.manifest


def shipped_names() -> list[str]:
    """Names of the models in the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/manifest.toml"))


def read_manifest(path: Path) -> Manifest:
    """Strictly checked. Raises ModelError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if tables.get("format") != FORMAT:
        raise ModelError(f"{path} has format {tables.get('format')!r}; this version reads format {FORMAT}")
    try:
        manifest: Manifest = msgspec.convert({"um_per_px": None} | tables, Manifest)  # TOML has no null
        return manifest
    except msgspec.ValidationError as error:
        raise ModelError(f"{path}: {error}") from error


def _of_flow() -> list[str]:
    return [name for name in _of(ClassifierManifest) if find_classifier(name)[1].looks is not None]


def _of(kind: type) -> list[str]:
    return [name for name in shipped_names() if isinstance(read_manifest(SHIPPED / name / "manifest.toml"), kind)]
