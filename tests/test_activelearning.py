"""Strategies that select the next image, and leases that keep users apart."""

import pytest
import torch
from monailabel.tasks.activelearning.first import First

from lib.activelearning import (
    ForegroundRandom,
    Last,
    Leases,
    Random,
    Review,
    StratifiedEntropy,
    UncertaintySampling,
)
from lib.activelearning.asker import Asker
from lib.activelearning.uncertainty import MEASURES, probability_maps, uncertainty


class Images:
    """The datastore methods used by strategies."""

    def __init__(self, *names: str, labelled: tuple[str, ...] = ()) -> None:
        self.names = list(names)
        self.labelled = list(labelled)

    def get_unlabeled_images(self, label_tag=None, labels=None):
        return list(self.names)

    def get_labeled_images(self, label_tag=None, labels=None):
        return list(self.labelled)


def test_last_selects_the_opposite_of_first():
    images = Images("b", "c", "a")
    assert First()({}, images)["id"] == "a"
    assert Last()({}, images)["id"] == "c"
    assert Last()({}, Images()) is None


def test_random_offers_every_image():
    images = Images("a", "b", "c")
    assert {Random()({}, images)["id"] for _ in range(200)} == {"a", "b", "c"}
    assert Random()({}, Images()) is None


def test_random_is_reproducible_with_a_seed():
    images = Images(*"abcdefgh")

    def draw(seed: int) -> list[str]:
        strategy = Random(seed)
        return [strategy({}, images)["id"] for _ in range(20)]

    assert draw(1) == draw(1) != draw(2)


def test_two_users_get_different_images_until_the_lease_expires():
    now = [0.0]
    leases = Leases(60, clock=lambda: now[0])
    images = Images("a", "b")

    def ask(user: str) -> str | None:
        chosen = leases.choose(First(), {"client_id": user}, images)
        return chosen["id"] if chosen else None

    assert ask("ada") == "a"
    assert ask("ada") == "a"
    assert ask("bob") == "b"
    assert ask("eve") is None
    assert leases.images() == {"a", "b"}
    now[0] = 61
    assert leases.images() == set()
    assert ask("eve") == "a"


def test_users_with_the_same_or_no_client_id_do_not_share_a_lease():
    """C11 and the low row on leases: all Slicer clients use the same id, other clients send none."""
    for client in ({}, {"client_id": "user-xyz"}):
        leases, images = Leases(60), Images("a", "b")
        readers = [{**client, "asker": Asker(address=f"10.0.0.{number}")} for number in (1, 2)]
        assert [leases.choose(First(), reader, images)["id"] for reader in readers] == ["a", "b"]
        assert leases.choose(First(), readers[0], images)["id"] == "a"


def test_leases_are_released_on_expiry_and_on_submission():
    """C11: they were kept forever."""
    now = [0.0]
    leases = Leases(60, clock=lambda: now[0])
    images = Images("a", "b")
    leases.choose(First(), {"client_id": "ada"}, images)
    leases.release("a")
    assert len(leases) == 0
    assert leases.choose(First(), {"client_id": "bob"}, images)["id"] == "a"
    leases.release("never offered")
    assert leases.user_of("a") == "" == leases.user_of("never offered")
    now[0] = 61
    assert leases.choose(First(), {"client_id": "eve"}, Images("z"))["id"] == "z"
    assert len(leases) == 1


def test_leases_end_with_the_session():
    ended = set()
    leases, images = Leases(60, has_ended=ended.__contains__), Images("a")
    leases.choose(First(), Asker("ada", session="s").named_in({}), images)
    assert leases.choose(First(), Asker("bob", session="t").named_in({}), images) is None
    assert leases.user_of("a") == "ada"
    ended.add("s")
    assert (leases.user_of("a"), leases.images()) == ("", set())
    assert leases.choose(First(), Asker("bob", session="t").named_in({}), images)["id"] == "a"


def test_number_of_leases_per_user_is_bounded():
    """C11: skipped cases become available to others."""
    leases = Leases(60)
    names = [f"{number:03}" for number in range(100)]
    for name in names:
        leases.choose(First(), {"client_id": "ada"}, Images(name))
    assert len(leases) == 8
    assert leases.choose(First(), {"client_id": "bob"}, Images(*names[90:]))["id"] == "090"
    assert leases.choose(First(), {"client_id": "bob"}, Images(*names[92:])) is None


def test_labelled_image_is_not_offered_again():
    leases = Leases(60)
    images = Images("a", "b")
    assert leases.choose(First(), {"client_id": "ada"}, images)["id"] == "a"
    images.names.remove("a")
    assert leases.choose(First(), {"client_id": "ada"}, images)["id"] == "b"


def test_most_uncertain_image_comes_first_and_unscored_images_last():
    scores = {"a": 0.2, "b": 0.71234, "labelled": 0.9}
    strategy = UncertaintySampling("", lambda: scores)
    images = Images("a", "b", "unscored")
    assert strategy({}, images) == {"id": "b", "score": 0.7123}
    scores["unscored"] = 0.8
    assert strategy({}, images)["id"] == "unscored"
    assert strategy({}, Images()) is None


def test_without_scores_any_image_is_offered():
    images = Images("a", "b", "c")
    assert {UncertaintySampling("", dict)({}, images)["id"] for _ in range(200)} == {"a", "b", "c"}


def test_second_user_gets_the_second_most_uncertain_image():
    leases = Leases(60)
    strategy = UncertaintySampling("", lambda: {"a": 0.1, "b": 0.9, "c": 0.5})
    images = Images("a", "b", "c")
    assert [leases.choose(strategy, {"client_id": user}, images)["id"] for user in ("ada", "bob", "eve")] == [*"bca"]


def test_two_of_three_images_are_random_ones_with_a_mark():
    strategy = ForegroundRandom(lambda: {"marked": 1.0, "a little": 0.4}, seed=0)
    images = Images("marked", "a little", *(f"empty {number}" for number in range(8)))
    chosen = [strategy({}, images)["id"] for _ in range(600)]
    assert 0.65 < chosen.count("marked") / 600 < 0.75  # 2/3, and a tenth of the rest
    assert set(chosen) == set(images.names)
    assert ForegroundRandom(dict)({}, Images("a"))["id"] == "a"
    assert ForegroundRandom(dict)({}, Images()) is None


def test_strata_take_turns_and_chance_fades():
    scores = {
        "tumour_entropy": {"tumour": 0.6, "other": 0.3},
        "background_entropy": {"background": 0.5, "tumour": 0.25},
        "entropy": {"all": 0.9, "other": 0.3, "background": 0.6},
    }
    names = ("tumour", "background", "all", "other")

    def draw(labelled: int) -> list[str]:
        strategy = StratifiedEntropy(scores.__getitem__, (2, 10), seed=0)
        images = Images(*names, labelled=tuple(f"labelled {number}" for number in range(labelled)))
        return [strategy({}, images)["id"] for _ in range(900)]

    assert draw(10) == draw(30) == ["tumour", "background", "all"] * 300
    first = draw(2)
    shares = [first[turn::3].count(name) / 300 for turn, name in enumerate(names[:3])]
    assert shares == pytest.approx([2 / 3, 2 / 3, 1 / 2], abs=0.08)  # proportional to the scores


def test_strata_without_scores_are_random():
    strategy = StratifiedEntropy(lambda measure: {"a": 0.0}, (0, 10))
    assert {strategy({}, Images("a", "b"))["id"] for _ in range(100)} == {"a", "b"}
    assert strategy({}, Images()) is None


def test_review_cycles_through_labels_by_descending_disagreement():
    review = Review(lambda: {"a": 0.1, "b": 0.91239})
    images = Images(labelled=("a", "b", "never compared"))
    assert review({}, images) == {"id": "b", "review": True, "disagreement": 0.9124}
    assert [review({}, images)["id"] for _ in range(3)] == ["a", "never compared", "b"]
    assert review({}, Images()) is None


def test_two_users_review_different_labels():
    leases = Leases(60)
    review = Review(dict)
    images = Images(labelled=("a", "b"))
    offers = [leases.choose(review, {"client_id": user}, images) for user in ("ada", "bob", "eve")]
    assert [offer and offer["id"] for offer in offers] == ["a", "b", None]


def lesion(confidence: float) -> torch.Tensor:
    """Return a probability map with a lesion of 1000 mm³ in voxels of 1 mm³."""
    probability = torch.full((32, 32, 16), 0.001)
    probability[8:18, 8:18, 3:13] = confidence
    return probability


@pytest.mark.parametrize("measure", ["uncertainty", "entropy"])
def test_uncertainty_depends_on_confidence_and_not_on_size(measure):
    sure, likely, torn = (uncertainty(measure, [lesion(confidence)], 1.0) for confidence in (0.999, 0.8, 0.55))
    assert 0 <= sure < 0.05 < likely < torn <= 1
    twice = torch.cat([lesion(0.55), lesion(0.55)])
    assert uncertainty(measure, [twice], 1.0) == pytest.approx(torn, abs=0.02)


@pytest.mark.parametrize("measure", MEASURES)
def test_uncertainty_without_findings_is_zero(measure):
    maps = probability_maps(measure, lambda volume: volume[0], lesion(0.04)[None])
    assert uncertainty(measure, maps, 1.0) == pytest.approx(0, abs=1e-6)


def test_expected_dice_matches_manual_calculation():
    # Mask 1000 voxels of 0.8: expected overlap 2 * 800 / (800 + 1000), smoothed by a ball of 4 mm, 33.5 voxels.
    expected = 1 - (1600 + 33.51) / (1800 + 33.51)
    assert uncertainty("uncertainty", [lesion(0.8)], 1.0) == pytest.approx(expected, abs=1e-4)


def test_one_torn_lesion_among_sure_ones_decides():
    torn, sure = lesion(0.5), lesion(0.999)
    maps = [torch.cat([torn, *[sure] * 5])]
    assert uncertainty("entropy", maps, 1.0) < 0.2
    assert uncertainty("lesion", maps, 1.0) == pytest.approx(uncertainty("entropy", [torn], 1.0))
    assert uncertainty("lesion", [torch.cat([sure, sure])], 1.0) < 0.02


def test_entropy_in_the_mask_and_beside_it():
    # Binary entropy of 0.8 is 0.7219 bits, of 0.2 as much, of 0.3 0.8813; smoothed by a ball of 4 mm, 33.5 voxels.
    maps = [torch.cat([lesion(0.8), lesion(0.3)])]
    smoothed = 1000 / 1033.51
    assert uncertainty("tumour_entropy", maps, 1.0) == pytest.approx(0.7219 * smoothed, abs=1e-3)
    assert uncertainty("background_entropy", maps, 1.0) == pytest.approx(0.8813 * smoothed, abs=1e-3)
    assert uncertainty("tumour_entropy", [lesion(0.3)], 1.0) == 0


def test_marked_is_one_from_a_small_lesion_on():
    probability = torch.zeros(32, 32, 16)
    probability[:16, 0, 0] = 0.6
    assert uncertainty("marked", [probability], 1.0) == pytest.approx(16 / 33.51, abs=1e-3)
    assert uncertainty("marked", [lesion(0.6)], 1.0) == 1


def test_disagreement_compares_mirrored_predictions():
    def same_everywhere(volume):
        return volume[0]

    def left_half_only(volume):
        found = volume[0].clone()
        found[16:] = 0
        return found

    volume = lesion(0.9)[None]
    for predict, low, high in ((same_everywhere, -1e-6, 1e-6), (left_half_only, 0.05, 1)):
        maps = probability_maps("disagreement", predict, volume)
        assert len(maps) == 3
        assert low <= uncertainty("disagreement", maps, 1.0) <= high
    assert len(probability_maps("uncertainty", same_everywhere, volume)) == 1


def test_rejects_an_unknown_measure():
    with pytest.raises(ValueError, match="no measure 'x'"):
        uncertainty("x", [lesion(0.5)], 1.0)
