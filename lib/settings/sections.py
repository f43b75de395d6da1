"""Schema of ``info.yaml``: every setting with its type, range, default, meaning and unit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from lib import __version__
from lib.settings.daily_hours import checked_hours
from lib.settings.section import (
    AtLeastOne,
    Code,
    Count,
    Fraction,
    Hounsfield,
    Millimetres,
    Section,
    Window,
    different,
)
from lib.settings.server_sections import OpenIdConnect, Server


class InferenceOptions(Section):
    """Inference; a request can override every value."""

    WITHOUT_EFFECT_ON_MASKS: ClassVar = frozenset({"attention", "batch_size"})

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Probability above which a voxel is labelled as tumour."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Slices per forward pass."""
    views: Annotated[int, Field(ge=1, le=4)] = 4
    """Number of mirrored views whose probabilities are averaged (test-time augmentation)."""
    attention: bool = False
    """Return the attention map instead of the mask."""
    min_diameter_mm: Millimetres = 3.0
    """Smallest diameter of a finding, mm; smaller ones are removed."""
    false_findings_per_scan: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Accepted false findings per scan, as measured on patients not trained on; more also finds more lesions."""
    crf: bool = False
    """Refine the border of each finding with a CRF."""
    crf_margin_mm: Millimetres = 10.0
    """Margin of the bounding box around each candidate lesion, mm."""
    crf_gaussian_mm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Standard deviation of the smoothness kernel, mm."""
    crf_gaussian_weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Weight of the smoothness term."""
    crf_bilateral_mm: Annotated[float, Field(gt=0, le=1000)] = 4.0
    """Spatial standard deviation of the appearance kernel, mm."""
    crf_bilateral_hu: Annotated[float, Field(gt=0, le=65535)] = 150.0
    """Intensity standard deviation of the appearance kernel, HU."""
    crf_bilateral_weight: Annotated[float, Field(ge=0, le=1000)] = 2.0
    """Weight of the appearance term."""
    crf_iterations: Annotated[int, Field(ge=1, le=100)] = 5
    """Mean-field iterations."""
    crf_max_voxels: Annotated[int, Field(ge=0, le=100_000_000)] = 3_000_000
    """Largest number of voxels refined in one scan; a million takes about 2 s and 250 MB."""


class Train(Section):
    """Training; a request can override every value."""

    max_epochs: AtLeastOne = 20
    """Largest number of epochs."""
    retrain_after: Count = 0
    """Number of new or changed labels after which training starts automatically; 0 disables it."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.0003
    """Peak learning rate of Adam."""
    prior_patients: Annotated[float, Field(ge=0, le=10_000)] = 4.0
    """Number of patients that the weights before count as in the mean with the trained weights, which count as many as
    they learned; 0 keeps the trained ones as they are."""
    folds: Annotated[int, Field(ge=0, le=20)] = 5
    """Groups of patients, each left out of a training of its own that is measured on it; 0 disables the measurement."""
    second_stage_steps: Count = 40
    """Optimiser steps of the second stage after each training of the network; 0 keeps the second stage in use."""
    loss_lambda: Fraction = 0.5
    """Weight of the Dice loss against the focal loss."""
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    """Exponent of the focal loss."""
    focal_alpha: Fraction = 0.75
    """Weight of the tumour class in the focal loss."""
    patch_size: Annotated[int, Field(ge=16, le=512, multiple_of=16)] = 64
    """Side length of a patch, pixels."""
    patches_per_volume: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Patches per volume and epoch."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Random seed for the order and position of patches."""
    readers_mean: bool = False
    """Learn the share of the readers of the study who marked a voxel, in cases that no reviewer has decided on."""


class ClickTraining(Section):
    """Training of the model for clicks on submitted labels; a request can override every value."""

    click_steps: AtLeastOne = 100
    """Number of optimiser steps of each training."""
    click_learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.0003
    """Peak learning rate of Adam."""
    click_trained_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the trained weights in the new ones; the rest are those before."""


class ActiveLearning(Section):
    """Selection of the next image to label."""

    lease_minutes: Annotated[float, Field(ge=0, le=7 * 24 * 60)] = 30.0
    """Minutes during which an image offered to one user is not offered to another."""
    scored_images: Count = 50
    """Number of images scored for uncertainty in the background; 0 disables scoring."""
    review: bool = False
    """Train only on labels that a reviewer has approved, never the one who submitted them; log-in is required."""


class Ahead(Section):
    """Inference on new images before somebody asks for it."""

    infer_ahead: Annotated[str, AfterValidator(checked_hours)] = "never"
    """When masks are computed before somebody asks: never, idle, or hours of the day such as 20-6."""
    infer_ahead_images: Count = 50
    """Number of images without a label, the newest ones, whose masks are computed before somebody asks."""


class Export(Section):
    """Export for viewers."""

    store_in_pacs: bool = False
    """Store a DICOM SEG of each submitted label in the PACS."""


class Cache(Section):
    """Data that can be deleted at any time."""

    volumes_gb: Annotated[float, Field(ge=0, le=1_000_000)] = 20.0
    """Disk space for cached volumes, GiB; the least recently used ones are evicted."""


class Config(Section):
    """Settings that ``--conf NAME VALUE`` can change. A name occurs in one section only."""

    infer: InferenceOptions = InferenceOptions()
    train: Train = Train()
    train_clicks: ClickTraining = ClickTraining()
    activelearning: ActiveLearning = ActiveLearning()
    ahead: Ahead = Ahead()
    cache: Cache = Cache()
    export: Export = Export()
    server: Server = Server()
    oidc: OpenIdConnect = OpenIdConnect()


class Segment(Section):
    """Codes of a label in DICOM objects."""

    category: Code
    """Segmented Property Category (PS3.16 CID 7150)."""
    type: Code
    """Segmented Property Type (PS3.16 CID 7151)."""
    region: Code
    """Anatomic Region (PS3.16 CID 4)."""


class Network(Section):
    """Network of the paper; values other than the defaults need other weights."""

    in_channels: Annotated[int, Field(ge=1, le=64)] = 9
    """Input channels, one per value of preprocessing.slice_offsets_mm."""
    channels: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=2, max_length=8)] = [
        16, 32, 64, 128, 256,
    ]  # fmt: skip
    """Channels of each level, finest first."""
    attention: bool = True
    """Use attention gates on the skip connections."""
    residual: bool = True
    """Use a residual connection around the two convolutions of a block."""


class Preprocessing(Section):
    """Conversion of a volume to the network's input, for both training and inference."""

    hu_window: Window = [-1000.0, 400.0]
    """Range that values are clipped to, HU."""
    field: Literal["lungs", "slice"] = "lungs"
    """Part of each slice used as the field of view."""
    field_mm: Annotated[float, Field(ge=10, le=1000)] = 320.0
    """Smallest width of the field of view, mm."""
    normalise: Literal["dataset", "scan"] = "dataset"
    """Normalisation with hu_mean and hu_std, or with mean and standard deviation of the scan."""
    hu_mean: Hounsfield = -635.0
    """Mean of the data set, HU."""
    hu_std: Annotated[float, Field(gt=0, le=65535)] = 369.0
    """Standard deviation of the data set, HU."""
    size: Annotated[list[Annotated[int, Field(ge=16, le=2048)]], Field(min_length=2, max_length=2)] = [256, 256]
    """Size of each slice given to the network, pixels."""
    slice_offsets_mm: Annotated[
        list[Annotated[float, Field(ge=-100, le=100)]], Field(min_length=1, max_length=64)
    ] = [-10.0, -5.0, -2.5, -1.25, 0.0, 1.25, 2.5, 5.0, 10.0]  # fmt: skip
    """Offsets of the slices that form the input channels of each slice, mm."""


class Clicks(Section):
    """Model that outlines the lesion that a user points at; values other than the defaults need other weights."""

    channels: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=2, max_length=8)] = [
        16, 32, 64, 128,
    ]  # fmt: skip
    """Channels of each level of its three-dimensional network, finest first."""
    cube_voxels: Annotated[int, Field(ge=16, le=256)] = 32
    """Voxels along each axis of the cube around the lesion."""
    cube_voxel_mm: Annotated[float, Field(ge=0.1, le=5)] = 0.75
    """Smallest side of a voxel of the cube, mm."""


class Imports(Section):
    """Selection of the regions of an imported DICOM SEG or RTSTRUCT that become the label."""

    names: list[str] = [
        "lung tumor*", "lung tumour*", "tumor*", "tumour*", "neoplasm*", "*nodule*", "lesion*", "lung lesion*",
        "lung cancer*", "mass", "mass [0-9]*", "gtv", "gtv [0-9]*", "gtvp*", "gtv p*", "gtv t*", "gtv lung*",
        "gtv primary*",
    ]  # fmt: skip
    """Patterns of accepted region names."""
    codes: list[Code] = [
        ["108369006", "SCT", "Neoplasm"],
        ["86049000", "SCT", "Neoplasm, Primary"],
        ["27925004", "SCT", "Nodule"],
        ["4147007", "SCT", "Mass"],
    ]
    """Accepted codes."""
    join: list[str] = [
        "*nodule*", "lesion*", "lung lesion*", "tumor [0-9]*", "tumour [0-9]*", "lung tumor [0-9]*", "neoplasm*",
    ]  # fmt: skip
    """Patterns of names of regions that are merged into one label."""


class Publish(Section):
    """Conditions for a trained model to replace the one in use."""

    error: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Probability of publishing a model that is not better."""
    false_finding_weight: Fraction = 0.02
    """Increase of the lesion Dice that outweighs one false finding per scan."""
    dice_margin: Fraction = 0.005
    """Largest accepted decrease of the mean lesion Dice."""
    collapse: Fraction = 0.2
    """Decrease of the lesion Dice of a single patient that refuses the model."""


class Info(Section):
    """The whole of ``info.yaml``."""

    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)] = __version__
    """Release of the app, written into DICOM objects."""
    description: str
    dimension: Literal[3] = 3
    labels: Annotated[dict[str, Annotated[int, Field(ge=1, le=255)]], Field(min_length=1), AfterValidator(different)]
    """Value of each label in a mask."""
    segments: dict[str, Segment]
    network: Network = Network()
    preprocessing: Preprocessing = Preprocessing()
    clicks: Clicks = Clicks()
    config: Config = Config()
    imports: Imports = Imports()
    publish: Publish = Publish()

    @model_validator(mode="after")
    def _fit_together(self) -> Info:
        """Raise a ValueError with a line for each inconsistency between settings."""
        offsets, size, train = self.preprocessing.slice_offsets_mm, self.preprocessing.size, self.config.train
        halvings = len(self.network.channels) - 1
        stride, problems = 2**halvings, []
        if missing := self.labels.keys() - self.segments.keys():
            problems.append(f"segments must describe every label; {', '.join(sorted(missing))} is missing.")
        if self.network.in_channels != len(offsets):
            problems.append(
                f"network.in_channels is {self.network.in_channels}, but preprocessing.slice_offsets_mm has "
                f"{len(offsets)} values; the two must agree."
            )
        if any(side % stride for side in size):
            problems.append(
                f"preprocessing.size must be multiples of {stride}, because the network halves them {halvings} times, "
                f"not {size}."
            )
        if train.patch_size % stride or train.patch_size > min(size):
            problems.append(
                f"patch_size must be a multiple of {stride} and at most {min(size)}, the preprocessing.size of a "
                f"slice, not {train.patch_size}."
            )
        if self.clicks.cube_voxels % 2 ** (len(self.clicks.channels) - 1):
            problems.append(
                f"clicks.cube_voxels must be a multiple of {2 ** (len(self.clicks.channels) - 1)}, because the network "
                f"halves them {len(self.clicks.channels) - 1} times, not {self.clicks.cube_voxels}."
            )
        if train.patch_size == stride and train.patches_per_volume == 1:
            problems.append(f"patches_per_volume must be at least 2 where patch_size is {stride}, not 1.")
        if self.config.infer.views > 1 and offsets != [-offset for offset in reversed(offsets)]:
            problems.append(
                f"views must be 1, not {self.config.infer.views}: views are mirrored, but "
                "preprocessing.slice_offsets_mm are not the same above as below."
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Start(Section):
    """Settings of ``--conf`` that are not in ``info.yaml``."""

    workspace: str | None = None
    """Folder for labels, DICOM SEG and cache; default: a folder in the user's home, named after the studies."""
    model_dir: str | None = None
    """Folder of the initial weights; read-only."""
    study: str | None = None
    """File of a reader study: its readers see only their own cases and labels (docs/studies.md)."""
    scheduler: Annotated[str, Field(pattern=r"^(tcp|tls)://[^/@]+:\d+$")] | None = None
    """Address of a Dask scheduler, tls://host:8786, to whose workers background work is sent (docs/cohorts.md)."""
    rescan_seconds: Annotated[float, Field(ge=0.1, le=86400)] = 10.0
    """Interval between two scans for new series, seconds."""
