"""Every setting with its type, range, default, meaning and unit; the sections of ``info.yaml``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lib import __version__


class Section(BaseModel):
    """A group of settings. Nothing is converted silently, and nothing unknown is accepted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


def _ascending(window: list[float]) -> list[float]:
    if window[0] >= window[1]:
        raise ValueError(f"must be [lower, upper] with the lower value first, not {window}")
    return window


def _different(values: dict[str, int]) -> dict[str, int]:
    if len(set(values.values())) < len(values):
        raise ValueError(f"must give each label a value of its own, not {values}")
    return values


Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
AtLeastOne = Annotated[int, Field(ge=1, le=1_000_000)]
Millimetres = Annotated[float, Field(ge=0, le=1000)]
Hounsfield = Annotated[float, Field(ge=-32768, le=32767)]
Window = Annotated[list[Hounsfield], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
Code = Annotated[list[str], Field(min_length=3, max_length=3)]
"""Value, coding scheme and meaning of a coded concept (PS3.3 section 8)."""


class InferenceOptions(Section):
    """Inference; every value may come with a request, too."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability from which a voxel is tumour."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Slices per forward pass."""
    views: Annotated[int, Field(ge=1, le=4)] = 4
    """Mirrored views of which the mean probability is taken."""
    attention: bool = False
    """Answer with the attention map instead of the mask."""
    min_diameter_mm: Millimetres = 3.0
    """Smaller findings are left out, mm."""
    min_confidence: Fraction = 0.96
    """Findings of which less than half reaches this probability are left out."""
    max_elongation: Annotated[float, Field(ge=0, le=1000)] = 3.0
    """Findings drawn out more than this are left out; 0 keeps all."""
    crf: bool = False
    """Refine the border of each finding by a CRF."""
    crf_margin_mm: Millimetres = 10.0
    """Box around each candidate lesion, mm."""
    crf_gaussian_mm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Reach of the smoothness term, mm."""
    crf_gaussian_weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Weight of the smoothness term."""
    crf_bilateral_mm: Annotated[float, Field(gt=0, le=1000)] = 4.0
    """Reach of the appearance term in space, mm."""
    crf_bilateral_hu: Annotated[float, Field(gt=0, le=65535)] = 150.0
    """Reach of the appearance term in intensity, HU."""
    crf_bilateral_weight: Annotated[float, Field(ge=0, le=1000)] = 2.0
    """Weight of the appearance term."""
    crf_iterations: Annotated[int, Field(ge=1, le=100)] = 5
    """Mean-field iterations."""
    crf_max_voxels: Annotated[int, Field(ge=0, le=100_000_000)] = 3_000_000
    """Voxels refined in one scan at most; about 2 s and 250 MB for each million."""


class Train(Section):
    """Training; every value may come with a request, too."""

    max_epochs: AtLeastOne = 50
    """Epochs at most."""
    retrain_after: Count = 0
    """Train automatically after so many new or changed labels; 0 never does."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.001
    """Highest learning rate of Adam."""
    val_split: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the patients that is never trained on; 0 holds out nobody."""
    hold_out_from_patients: AtLeastOne = 4
    """Labelled patients from which on some are held out."""
    loss_lambda: Fraction = 0.5
    """Weight of Dice against focal loss."""
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    """Exponent of the focal loss."""
    focal_alpha: Fraction = 0.75
    """Weight of tumour in the focal loss."""
    patch_size: Annotated[int, Field(ge=16, le=512, multiple_of=16)] = 96
    """Side of a patch, pixels."""
    patches_per_volume: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Patches of each volume in one epoch."""
    val_interval: AtLeastOne = 5
    """Epochs between two validations on whole volumes."""
    early_stop_patience: Count = 4
    """Validations without a better Dice until training stops; 0 never does."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Of the order and position of patches."""


class ActiveLearning(Section):
    """Which image is offered next."""

    lease_minutes: Annotated[float, Field(ge=0, le=7 * 24 * 60)] = 30.0
    """Minutes for which an image that was offered to one person is offered to nobody else."""
    scored_images: Count = 50
    """Images scored for uncertainty in the background; 0 scores none."""


class Export(Section):
    """What is written for viewers."""

    store_in_pacs: bool = False
    """Store a DICOM SEG of each submitted label in the PACS."""


class Cache(Section):
    """What may be deleted at any time."""

    volumes_gb: Annotated[float, Field(ge=0, le=1_000_000)] = 20.0
    """Disk space for the volumes made of series, GiB; those used least recently make room."""


class Server(Section):
    """Who can reach the server, and with how much."""

    allow_network: bool = False
    """Listen beyond this machine, where everybody can then read and change everything."""
    allowed_hosts: str = ""
    """Further names or addresses that the server is reached by, separated by commas."""
    max_upload_mb: Annotated[int, Field(ge=1, le=65_536)] = 2048
    """Size of an image, a label or weights in one request, MiB."""
    max_stow_mb: Annotated[int, Field(ge=1, le=16_384)] = 256
    """Size of the DICOM objects that a viewer stores in one request, MiB."""
    head_seconds: Annotated[float, Field(ge=1, le=3600)] = 20.0
    """Seconds in which the head of a request must have come."""
    body_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds that the body of a request may take longer than at 4 KiB a second."""
    max_connections: Annotated[int, Field(ge=8, le=60_000)] = 512
    """Connections at one time."""


class Config(Section):
    """What ``--conf NAME VALUE`` may change. A name occurs in one section only."""

    infer: InferenceOptions = InferenceOptions()
    train: Train = Train()
    activelearning: ActiveLearning = ActiveLearning()
    cache: Cache = Cache()
    export: Export = Export()
    server: Server = Server()


class Segment(Section):
    """What DICOM objects call a label."""

    category: Code
    """Of PS3.16 CID 7150."""
    type: Code
    """Of PS3.16 CID 7151."""
    region: Code
    """Of PS3.16 CID 4."""


class Network(Section):
    """The network of the paper; other values than the defaults need other weights."""

    in_channels: Annotated[int, Field(ge=1, le=64)] = 9
    """One for each of preprocessing.slice_offsets_mm."""
    channels: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=2, max_length=8)] = [
        16, 32, 64, 128, 256,
    ]  # fmt: skip
    """Width of each level, finest first."""
    attention: bool = True
    """Gate the skips."""
    residual: bool = True
    """Shortcut around the two convolutions of a block."""


class Preprocessing(Section):
    """From a volume to what the network sees, for training and inference alike."""

    hu_window: Window = [-1000.0, 400.0]
    """Values are clipped to it, HU."""
    field: Literal["lungs", "slice"] = "lungs"
    """Part of each slice that is seen."""
    field_mm: Annotated[float, Field(ge=10, le=1000)] = 320.0
    """Smallest width of the field, mm."""
    normalise: Literal["dataset", "scan"] = "dataset"
    """With hu_mean and hu_std, or with the scan's own mean and deviation."""
    hu_mean: Hounsfield = -635.0
    """HU."""
    hu_std: Annotated[float, Field(gt=0, le=65535)] = 369.0
    """HU."""
    size: Annotated[list[Annotated[int, Field(ge=16, le=2048)]], Field(min_length=2, max_length=2)] = [256, 256]
    """Of each slice given to the network, pixels."""
    slice_offsets_mm: Annotated[
        list[Annotated[float, Field(ge=-100, le=100)]], Field(min_length=1, max_length=64)
    ] = [-10.0, -5.0, -2.5, -1.25, 0.0, 1.25, 2.5, 5.0, 10.0]  # fmt: skip
    """Where the slices below and above lie that the network sees with each slice, mm."""


class Imports(Section):
    """Which regions of a DICOM SEG or RTSTRUCT that others made are the label."""

    names: list[str] = [
        "lung tumor*", "lung tumour*", "tumor*", "tumour*", "neoplasm*", "*nodule*", "lesion*", "lung lesion*",
        "lung cancer*", "mass", "mass [0-9]*", "gtv", "gtv [0-9]*", "gtvp*", "gtv p*", "gtv t*", "gtv lung*",
        "gtv primary*",
    ]  # fmt: skip
    """Patterns of names that are accepted."""
    codes: list[Code] = [
        ["108369006", "SCT", "Neoplasm"],
        ["86049000", "SCT", "Neoplasm, Primary"],
        ["27925004", "SCT", "Nodule"],
        ["4147007", "SCT", "Mass"],
    ]
    """Codes that are accepted."""
    join: list[str] = [
        "*nodule*", "lesion*", "lung lesion*", "tumor [0-9]*", "tumour [0-9]*", "lung tumor [0-9]*", "neoplasm*",
    ]  # fmt: skip
    """Patterns of names of regions that are findings of one label."""


class Publish(Section):
    """When a trained model may replace the one in use."""

    dice_margin: Fraction = 0.01
    """Its mean Dice may be lower by this much."""
    false_positive_margin: Annotated[float, Field(ge=0, le=1000)] = 0.5
    """It may have so many more false positives per scan."""


class Info(Section):
    """All of ``info.yaml``."""

    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)] = __version__
    """Release of the app, written into DICOM objects."""
    description: str
    dimension: Literal[3] = 3
    labels: Annotated[dict[str, Annotated[int, Field(ge=1, le=255)]], Field(min_length=1), AfterValidator(_different)]
    """Value of each label in a mask."""
    segments: dict[str, Segment]
    network: Network = Network()
    preprocessing: Preprocessing = Preprocessing()
    config: Config = Config()
    imports: Imports = Imports()
    publish: Publish = Publish()

    @model_validator(mode="after")
    def _fit_together(self) -> Info:
        """Values that are right by themselves but not together."""
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
    """What only ``--conf`` says, not ``info.yaml``."""

    workspace: str | None = None
    """Folder for labels, DICOM SEG and cache; by default one of the user's, named after the studies."""
    model_dir: str | None = None
    """Folder of the weights that the app begins with; only read."""
    rescan_seconds: Annotated[float, Field(ge=0.1, le=86400)] = 10.0
    """Pause between two looks for new series, seconds."""
