"""Textures of lesions, as the readers rated them."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from statistics import median
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from lib.errors import UserError

Rating = Annotated[int, Field(ge=1, le=5)]


class Texture(Enum):
    """Texture of a lesion on CT."""

    SOLID = "solid"
    PART_SOLID = "part-solid"
    GROUND_GLASS = "ground glass"


class _Outline(BaseModel):
    texture: Rating


class _Lesion(BaseModel):
    name: str
    outlines: list[_Outline] = Field(min_length=1)


def read_textures(path: Path) -> dict[str, Texture]:
    """Read the texture of each lesion from a JSON file.

    The file holds a list of objects, each with ``name``, the file name of the image without its extension, and
    ``outlines``, a list with one object per reader with its rating ``texture``, from 1 (non-solid, ground glass) to 5
    (solid) as in LIDC-IDRI. Other members are ignored::

        [{"name": "LIDC-IDRI-0004_R_1", "outlines": [{"texture": 5}, {"texture": 4}, {"texture": 5}]}]

    Returns:
        The texture by name; see :func:`texture_of`.

    Raises:
        UserError: The file is missing or has another content.
    """
    try:
        lesions = TypeAdapter(list[_Lesion]).validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"The properties of the lesions cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"{path} is no list of lesions with the textures that the readers gave them: {place}: {first['msg']}."
        ) from error
    return {lesion.name: texture_of([outline.texture for outline in lesion.outlines]) for lesion in lesions}


def texture_of(ratings: Sequence[int]) -> Texture:
    """Return the texture by the median of the readers' ratings: up to 2 ground glass, from 4 solid, between part-solid.

    Args:
        ratings: Rating of each reader, 1 (ground glass) to 5 (solid), as in LIDC-IDRI (Armato et al. 2011).
    """
    rating = median(ratings)
    if rating <= 2:
        return Texture.GROUND_GLASS
    return Texture.SOLID if rating >= 4 else Texture.PART_SOLID
