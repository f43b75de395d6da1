"""The recipe of the shipped weights: data, settings of each stage, and the patients that each fold leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from lib.errors import UserError
from lib.settings import Section
from lib.settings.section import AtLeastOne
from lib.settings.yaml_files import read_yaml
from lib.training.data_folders import DataFolders
from lib.training.run_settings import LoopSettings, RunSettings

_FOLDERS = frozenset({"candidates", "clicks", "volumes"})  # of the output that are no runs

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class DataSet(Section):
    """Images and masks; paths are relative to the data folder, see ``DataFolders``."""

    images: str
    masks: str


class Fold(Section):
    """Patients that one run of a stage leaves out, to be measured on by its weights."""

    leave_out: list[str] = Field(default_factory=list)
    seen_before: list[str] = Field(default_factory=list)
    """Those of ``leave_out`` that the initial weights were trained on. They are not measured on as never seen."""


class Stage(Section):
    """One training with the same data and settings, repeated for each fold; without folds, of all patients."""

    name: FolderName
    data: list[str]
    """Names of data sets of the recipe."""
    settings: RunSettings
    initial: str | None = None
    """Run whose weights are the initial ones."""
    folds: dict[FolderName, Fold] = Field(default_factory=dict)


class IgnoredBall(Section):
    """Region of a scan with unlabelled tumour; see ``Ball``."""

    voxel: Annotated[list[float], Field(min_length=3, max_length=3)]
    radius_mm: float


class CandidateScan(Section):
    """Whole scan whose candidates the second stage learns; paths are relative to the data folder."""

    image: str
    mask: str | None = None
    fold: str | None = None
    """Fold that leaves its patient out; None only learns its candidates."""
    ignored: list[IgnoredBall] = Field(default_factory=list)


class Copies(Section):
    """Copies of each whole scan with lesions set into its lungs."""

    with_nodules: NonNegativeInt
    """Number of copies with nodules of other patients."""
    nodules: NonNegativeInt
    """Nodules in each of them."""
    with_large_tumours: NonNegativeInt = 0
    """Number of copies with large tumours in the shape of such nodules."""
    large_tumours: NonNegativeInt = 0
    """Large tumours in each of them."""


class ClassifierSettings(Section):
    """See ``fit_classifier``."""

    steps: AtLeastOne
    learning_rate: Annotated[float, Field(gt=0)]
    seed: NonNegativeInt


class Candidates(Section):
    """The second stage, trained on the candidates of the first one."""

    networks: Annotated[dict[FolderName, str], Field(min_length=1)]
    """The run whose network finds the candidates of each fold."""
    also_learned: list[str] = Field(default_factory=list)
    """Runs whose candidates are learned too, but not judged."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probability from which a voxel belongs to a candidate that is learned; None: that of the server."""
    scans: list[CandidateScan]
    nodules: DataSet
    copies: Copies
    settings: ClassifierSettings


class ClickTraining(Section):
    """The training of the model for clicks, one run."""

    data: list[str]
    """Names of data sets of the recipe."""
    negatives: list[str] = Field(default_factory=list)
    leave_out: list[str] = Field(default_factory=list)
    """Patients of whole scans that its weights are to be measured on."""
    phantoms: NonNegativeInt = 0
    """Number of generated chests to train on as well."""
    settings: LoopSettings


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: ``<stage>`` or ``<stage>/<fold>``: its folder.
        folders: Its data.
        settings: Its settings.
        initial: Name of the run whose weights are the initial ones.
        leave_out: Patients it is not trained on.
        seen_before: Those of them that its initial weights were trained on.
    """

    name: str
    folders: DataFolders
    settings: RunSettings
    initial: str | None
    leave_out: frozenset[str]
    seen_before: frozenset[str]

    @property
    def unseen(self) -> frozenset[str]:
        """Patients that neither this run nor those before it are trained on, so that its weights can be measured."""
        return self.leave_out - self.seen_before


class Recipe(Section):
    """The stages in order. They may use the weights of earlier runs only."""

    data: dict[str, DataSet]
    negatives: list[str]
    """Scans without tumour, for all stages."""
    stages: list[Stage]
    candidates: Candidates | None = None
    clicks: ClickTraining | None = None
    ship: str
    """The run whose weights are shipped."""

    @model_validator(mode="after")
    def _names_exist(self) -> Recipe:
        earlier: set[str] = set()
        for stage in self.stages:
            if stage.name in _FOLDERS or any(stage.name == run.partition("/")[0] for run in earlier):
                raise ValueError(f"the name of stage {stage.name} is taken: each stage has a folder of its own")
            for name in sorted(set(stage.data) - self.data.keys()):
                raise ValueError(f"stage {stage.name} names the data set {name}, which is not under data")
            if stage.initial is not None and stage.initial not in earlier:
                raise ValueError(f"stage {stage.name} starts from {stage.initial}, which is no earlier run")
            earlier |= {_run_name(stage, fold) for fold in stage.folds or [""]}
        for name in sorted(set(self.clicks.data) - self.data.keys()) if self.clicks else []:
            raise ValueError(f"clicks names the data set {name}, which is not under data")
        for run in [*self.candidates.networks.values(), *self.candidates.also_learned] if self.candidates else []:
            if run not in earlier:
                raise ValueError(f"candidates names the network of {run}, which is no run")
        for scan in self.candidates.scans if self.candidates else []:
            if self.candidates and scan.fold is not None and scan.fold not in self.candidates.networks:
                raise ValueError(f"candidates names the fold {scan.fold} of {scan.image}, which is not under networks")
        if self.ship not in earlier:
            raise ValueError(f"ship names {self.ship}, which is no run; the runs are {', '.join(sorted(earlier))}")
        return self

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read a recipe.

        Raises:
            UserError: The file cannot be read, or its content is invalid.
        """
        try:
            return cls.model_validate(read_yaml(path, "data and stages"))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise UserError(f"The recipe {path} is invalid: {problems}") from error

    def runs(self, data: Path) -> list[Run]:
        """Return all runs in order.

        Args:
            data: Folder that the paths of the recipe are relative to.
        """
        return [run for stage in self.stages for run in self._runs_of(stage, data)]

    def folders(self, names: Sequence[str], negatives: Sequence[str], data: Path) -> DataFolders:
        """Return data sets of the recipe.

        Args:
            names: Their names.
            negatives: Scans without tumour.
            data: Folder that the paths of the recipe are relative to.
        """
        sets = [self.data[name] for name in names]
        return DataFolders(
            images=tuple(data / one.images for one in sets),
            masks=tuple(data / one.masks for one in sets),
            negatives=tuple(data / path for path in negatives),
        )

    def _runs_of(self, stage: Stage, data: Path) -> Iterator[Run]:
        folders = self.folders(stage.data, self.negatives, data)
        for name, fold in (stage.folds or {"": Fold()}).items():
            patients = frozenset(fold.leave_out), frozenset(fold.seen_before)
            yield Run(_run_name(stage, name), folders, stage.settings, stage.initial, *patients)


def _run_name(stage: Stage, fold: str) -> str:
    return f"{stage.name}/{fold}" if fold else stage.name
