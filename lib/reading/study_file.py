"""The study file: YAML that names readers, cases, and the rules of a reader study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from lib.settings import Section, SettingsError
from lib.settings.problems import messages
from lib.settings.yaml_files import read_yaml

_Item = TypeVar("_Item")


def _each_once(values: list[_Item]) -> list[_Item]:
    twice = [str(value) for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"must name each once; given twice: {', '.join(twice)}")
    return values


UserName = Annotated[str, Field(min_length=1, max_length=200)]
SeriesUid = Annotated[str, Field(min_length=1, max_length=64)]


Outlines = Annotated[str, Field(min_length=1, max_length=64)]


class Study(Section):
    """A reader study: readers label cases, or say which of two outlines of them is better."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """Name of the study, shown to readers and written into exports."""
    kind: Literal["labels", "preference"] = "labels"
    """What readers do: label the cases, or choose the better of two outlines without knowing whose they are."""
    compare: Annotated[list[Outlines], Field(min_length=0, max_length=2), AfterValidator(_each_once)] = Field(
        default_factory=list
    )
    """Of a preference study: two versions of the model, or one and ``label`` for the final labels."""
    per: Literal["lesion", "case"] = "lesion"
    """Whether readers of a preference study choose for each lesion or for each case."""
    readers: Annotated[list[UserName], Field(min_length=1, max_length=200), AfterValidator(_each_once)]
    """User names of the readers."""
    reviewers: Annotated[list[UserName], Field(min_length=0, max_length=200), AfterValidator(_each_once)] = Field(
        default_factory=list
    )
    """User names of the reviewers, who decide where readers differ; none of them is a reader."""
    cases: Annotated[list[SeriesUid], Field(min_length=1, max_length=100_000), AfterValidator(_each_once)]
    """SeriesInstanceUID of each image; new ones are added at the end."""
    readers_per_case: Annotated[int, Field(ge=1, le=200)] | None = None
    """Number of readers of each case; null: all of them."""
    order: Literal["random", "listed"] = "random"
    """Order in which each reader gets the cases: random, another one for each reader, or as listed."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Random seed of the order, and of who reads which case."""
    model_mask: Literal["with", "without", "crossover"] = "without"
    """Whether readers see the model's mask; crossover: every case is read twice, once with and once without it."""
    washout_days: Annotated[float, Field(ge=0, le=3650)] = 28.0
    """Days between the two readings of a case by the same reader in a crossover."""
    click_tool: bool = True
    """Whether readers may outline a lesion by clicks where they do not see the model's mask."""
    ask: Annotated[list[Literal["texture", "note"]], Field(min_length=0, max_length=2), AfterValidator(_each_once)] = (
        Field(default_factory=list)
    )
    """What readers must say about each lesion."""
    pause_seconds: Annotated[float, Field(ge=5, le=3600)] = 60.0
    """Seconds without any action after which a reader counts as absent; not part of the reading time."""
    consensus: Literal["majority", "staple"] = "majority"
    """How the labels of the readers of a case become one."""
    lowest_dice: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Dice of two readers of a lesion below which a reviewer decides."""

    @model_validator(mode="after")
    def _fit_together(self) -> Study:
        """Raise a ValueError with a line for each inconsistency."""
        problems = []
        if both := sorted({*self.readers} & {*self.reviewers}):
            problems.append(f"reviewers must not be readers of the same study: {', '.join(both)}.")
        if self.readers_per_case is not None and self.readers_per_case > len(self.readers):
            problems.append(
                f"readers_per_case must be at most {len(self.readers)}, the number of readers, not "
                f"{self.readers_per_case}."
            )
        if self.kind == "labels" and self.compare:
            problems.append("compare is for a study with kind: preference.")
        if self.kind == "preference":
            problems += self._problems_of_preference()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _problems_of_preference(self) -> Iterator[str]:
        if len(self.compare) != 2:
            yield f"compare must name the two outlines of a preference study, not {self.compare}."
        for name, given in (("reviewers", self.reviewers), ("ask", self.ask)):
            if given:
                yield f"{name} is for a study in which readers label; a preference study has none."
        if self.model_mask != "without":
            yield f"model_mask is for a study in which readers label; it must not be {self.model_mask} here."

    @property
    def sessions(self) -> tuple[int, ...]:
        """The sessions in which every case is read: 1, in a crossover 1 and 2."""
        return (1, 2) if self.model_mask == "crossover" else (1,)


def read_study(path: Path) -> Study:
    """Return the study of a file.

    Raises:
        SettingsError: The file cannot be read, or has invalid keys or values; the message lists all of them.
    """
    content = read_yaml(path, "readers and cases")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise SettingsError([f"{path.name}: {message}" for message in messages(error, Study).values()]) from None
