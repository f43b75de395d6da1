"""Outlines from clicks: geometry in every storage order, and the rules of what is marked."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from lib.clicks.cube import Cube, sample
from lib.clicks.open_images import OpenImage
from lib.clicks.prompts import Prompts
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from tests.support.click_models import (
    AIR,
    TISSUE,
    asymmetric_lesion,
    bright_predictor,
    dice,
    grid_in_order,
    on_grid,
    painted,
)

AXIAL = ((0, 1, 2), (False, False, False))


@pytest.fixture(scope="module")
def predictor():
    return bright_predictor()


def balls(*centres_and_radii):
    """Return the body made of balls."""

    def body(points):
        return np.any([np.linalg.norm(points - centre, axis=-1) < radius for centre, radius in centres_and_radii], 0)

    return body


def clicked(predictor, image, request):
    return on_grid(predictor.outline(image, Prompts.from_request(request, image.grid)).region, image.grid)


def voxel_at(grid, point):
    return np.rint(grid.to_index(np.array(point, float))).astype(int).tolist()


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
def test_lesion_is_outlined_where_it_is_in_every_storage_order(predictor, axes, flips):
    image, truth = painted(grid_in_order(axes, flips))
    found = clicked(predictor, image, {"foreground": [voxel_at(image.grid, (0, 0, 0))]})
    assert dice(found, truth) > 0.93
    mirrored = [dice(np.flip(found, axis), truth) for axis in range(3)]
    assert max(mirrored) < 0.85, "the body has no symmetry, so a mirrored outline would be noticed"


def test_tilted_gantry(predictor):
    image, truth = painted(grid_in_order(*AXIAL, tilt=0.3))
    assert image.grid.is_sheared
    assert dice(clicked(predictor, image, {"foreground": [voxel_at(image.grid, (0, 0, 0))]}), truth) > 0.93


def test_unevenly_spaced_slices(predictor):
    regular = grid_in_order(*AXIAL)
    heights = np.cumsum(np.resize([0.8, 1.7, 1.25], 40)) - 25
    positions = np.stack([np.full(40, regular.affine[0, 3]), np.full(40, regular.affine[1, 3]), heights], axis=1)
    image, truth = painted(grid_in_order(*AXIAL, positions=positions))
    click = voxel_at(image.grid, (0, 0, 0))
    assert abs(heights[click[2]]) < 1
    assert dice(clicked(predictor, image, {"foreground": [click]}), truth) > 0.9


def test_indices_of_an_uneven_grid_are_those_of_its_positions():
    positions = np.array([[0.0, 0, 0], [0.5, 0, 3], [0.5, 0, 4], [1.0, 0, 9]])
    grid = VoxelGrid.from_geometry((5, 6, 4), (0, 0, 0), (2, 2, 3), np.eye(3), positions)
    index = np.stack(np.meshgrid(range(5), range(6), range(4), indexing="ij"), axis=-1)
    np.testing.assert_allclose(grid.to_index(grid.to_mm(index)), index, atol=1e-9)
    beyond = grid.to_index(np.array([[0.75, 0, 6.5], [2, 0, 19]]))
    np.testing.assert_allclose(beyond, [[0, 0, 2.5], [0, 0, 5]], atol=1e-9)


@pytest.mark.parametrize("diameter", [6, 20, 45, 90])
@pytest.mark.parametrize("place", [0.0, 0.8])
def test_cube_grows_with_the_lesion(predictor, diameter, place):
    radius = diameter / 2
    side = int(2.2 * diameter) + 20
    grid = grid_in_order(*AXIAL, size=(side, side, side // 2), spacing=(1.0, 1.0, 2.0))
    image, truth = painted(grid, balls(((0, 0, 0), radius)))
    found = clicked(predictor, image, {"foreground": [voxel_at(grid, (place * radius, 0, 0))]})
    assert dice(found, truth) > 0.93


def test_only_the_component_under_the_click_is_marked(predictor):
    image, truth = painted(grid_in_order(*AXIAL), balls(((-8, 0, 0), 4), ((8, 0, 0), 4)))
    left = clicked(predictor, image, {"foreground": [voxel_at(image.grid, (8, 0, 0))]})
    components, _ = ndimage.label(truth)
    assert dice(left, components == components[tuple(voxel_at(image.grid, (8, 0, 0))[::-1])]) > 0.93
    both = clicked(predictor, image, {"foreground": [voxel_at(image.grid, (x, 0, 0)) for x in (8, -8)]})
    assert dice(both, truth) > 0.93


def test_something_is_outlined_even_where_the_network_sees_no_lesion(predictor):
    hu = np.full((40, 56, 60), AIR, np.int16)
    hu[14:27, 21:37, 22:38] = -410  # darker than what the network marks
    image = OpenImage(hu, grid_in_order(*AXIAL))
    found = clicked(predictor, image, {"foreground": [[30, 28, 20]]})
    assert dice(found, hu > AIR) > 0.6


@pytest.mark.parametrize("beside", [(0, 0, 7.2), (7.2, 0, 0), (0, -7.2, 0)])
def test_click_beside_a_lesion_means_that_lesion(predictor, beside):
    image, truth = painted(grid_in_order(*AXIAL, spacing=(0.8, 0.8, 0.8)), balls(((0, 0, 0), 5)))
    click, tissue = voxel_at(image.grid, beside), voxel_at(image.grid, (0, 3.2, 0))
    assert dice(clicked(predictor, image, {"foreground": [click]}), truth) > 0.9
    corrected = clicked(predictor, image, {"foreground": [click], "background": [tissue]})
    assert not corrected[tuple(tissue[::-1])]
    assert dice(corrected, truth) > 0.9, "the point still means the lesion, not its own voxel alone"


def test_negative_click_takes_away(predictor):
    image, _ = painted(grid_in_order(*AXIAL))
    middle, arm = voxel_at(image.grid, (0, 0, 0)), voxel_at(image.grid, (8, 1, 0))
    assert clicked(predictor, image, {"foreground": [middle]})[tuple(arm[::-1])]
    assert not clicked(predictor, image, {"foreground": [middle], "background": [arm]})[tuple(arm[::-1])]


def test_corrections_are_followed_whatever_the_network_says(predictor):
    image, truth = painted(grid_in_order(*AXIAL, spacing=(0.8, 0.8, 0.8)), balls(((0, 0, 0), 5)))
    middle, air, tissue = (voxel_at(image.grid, place) for place in ((0, 0, 0), (0, 0, 6.4), (0, 3.2, 0)))
    former = predictor.outline(image, Prompts.from_request({"foreground": [middle]}, image.grid)).region
    corrected = {"foreground": [middle, air], "background": [tissue], "former": former.to_json()}
    found = clicked(predictor, image, corrected)
    assert found[tuple(air[::-1])], "the network sees no lesion in air"
    assert not found[tuple(tissue[::-1])], "the network sees lesion there"
    assert dice(found, truth) > 0.9, "the rest stays"


def test_correction_far_from_the_lesion_is_followed(predictor):
    """The cube that would fit what the network sees ends before it."""
    image, truth = painted(grid_in_order(*AXIAL), balls(((-12, 0, 0), 5)))
    middle, far = (voxel_at(image.grid, place) for place in ((-12, 0, 0), (12, 0, 0)))
    former = predictor.outline(image, Prompts.from_request({"foreground": [middle]}, image.grid)).region
    found = clicked(predictor, image, {"foreground": [middle, far], "former": former.to_json()})
    assert found[tuple(far[::-1])]
    assert dice(found, truth) > 0.9


def test_nothing_is_marked_outside_the_box(predictor):
    image, truth = painted(grid_in_order(*AXIAL))
    low, high = voxel_at(image.grid, (-4, -4, -4)), voxel_at(image.grid, (4, 4, 4))
    found = clicked(predictor, image, {"box": [high, low]})
    column, row, slice_ = (slice(a, b + 1) for a, b in zip(low, high, strict=True))
    inside = np.zeros_like(truth)
    inside[slice_, row, column] = True
    assert not (found & ~inside).any()
    assert dice(found, truth & inside) > 0.9


def test_scribble_counts_as_points_on_the_lesion(predictor):
    image, truth = painted(grid_in_order(*AXIAL))
    scribble = [voxel_at(image.grid, (x, 1, 0)) for x in range(9)]
    assert dice(clicked(predictor, image, {"scribble": scribble}), truth) > 0.93


def test_former_mask_is_seen_and_replaced(predictor):
    """The answer's box contains the former mask, so that a client can clear what is no longer marked."""
    image, truth = painted(grid_in_order(*AXIAL))
    middle = voxel_at(image.grid, (0, 0, 0))
    first = predictor.outline(image, Prompts.from_request({"foreground": [middle]}, image.grid)).region
    painted_too = truth.copy()
    painted_too[5:9, 10:14, 20:24] = True
    former = {"offset": [0, 0, 0], "size": list(image.grid.size), "runs": runs_of(painted_too)}
    request = {"foreground": [middle], "former": former}
    second = predictor.outline(image, Prompts.from_request(request, image.grid)).region
    assert second.mask.shape[0] > first.mask.shape[0]
    assert second.window[0].start <= 5
    found = on_grid(second, image.grid)
    assert dice(found, truth) > 0.9
    assert not found[5:9, 10:14, 20:24].any(), "it does not touch the point"
    kept = clicked(predictor, image, {"former": former})
    assert kept[6, 12, 22], "without a point, the former mask shows what is the lesion"


def runs_of(mask):
    flat = mask.ravel().tolist()
    runs, value, length = [], False, 0
    for voxel in flat:
        if voxel != value:
            runs.append(length)
            value, length = voxel, 0
        length += 1
    return [*runs, length]


def test_nothing_changes_outside_the_cube(predictor):
    image = OpenImage(np.full((60, 200, 200), TISSUE, np.int16), grid_in_order(*AXIAL, size=(200, 200, 60)))
    outline = predictor.outline(image, Prompts.from_request({"foreground": [[100, 100, 30]]}, image.grid))
    assert np.prod(outline.region.mask.shape) < image.hu.size
    assert max(np.array(outline.region.mask.shape[::-1]) * image.grid.spacing) < 40 * 5


def test_former_mask_beyond_the_cube_stays(predictor):
    grid = grid_in_order(*AXIAL, size=(30, 30, 400))
    image, truth = painted(grid)
    former = truth.copy()
    former[3:6, 3:6, 3:6] = True  # more than 200 mm away
    request = {"foreground": [voxel_at(grid, (0, 0, 0))]}
    request["former"] = {"offset": [0, 0, 0], "size": list(grid.size), "runs": runs_of(former)}
    found = clicked(predictor, image, request)
    assert found[3:6, 3:6, 3:6].all()
    assert dice(found & truth, truth) > 0.8
    with pytest.raises(UserError, match="one lesion at a time"):
        clicked(predictor, image, {"former": request["former"]})


def test_points_too_far_apart_are_refused(predictor):
    image = OpenImage(np.full((400, 20, 20), TISSUE, np.int16), grid_in_order(*AXIAL, size=(20, 20, 400)))
    with pytest.raises(UserError, match="one lesion at a time"):
        clicked(predictor, image, {"foreground": [[10, 10, 5], [10, 10, 395]]})


def test_click_at_the_corner_of_the_image(predictor):
    image, truth = painted(grid_in_order(*AXIAL), balls(((-24, -22, -24), 9)))
    found = clicked(predictor, image, {"foreground": [[0, 0, 0]]})
    assert truth[0, 0, 0]
    assert dice(found, truth) > 0.9


def test_cube_averages_voxels_smaller_than_its_own():
    grid = grid_in_order(*AXIAL, size=(64, 64, 64), spacing=(0.5, 0.5, 0.5))
    noise = np.random.default_rng(0).normal(0, 100, grid.shape).astype(np.float32)
    coarse = sample(noise, grid, Cube(np.zeros(3), 2.0, 12), outside=0)
    assert coarse.std() < 25


def test_cube_beyond_the_image_is_filled():
    grid = grid_in_order(*AXIAL)
    cube = sample(np.zeros(grid.shape, np.int16), grid, Cube(np.array([500.0, 0, 0]), 1.0, 16), outside=-1000)
    assert (cube == -1000).all()
    assert asymmetric_lesion(np.zeros(3))
