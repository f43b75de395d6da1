"""Which image is offered next: nobody gets what another one was just offered."""

from monailabel.tasks.activelearning.first import First

from lib.activelearning import Last, Leases, Random


class Images:
    """The part of a datastore that strategies ask for."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)

    def get_unlabeled_images(self, label_tag=None, labels=None):
        return list(self.names)


def test_last_is_the_other_end_of_first():
    images = Images("b", "c", "a")
    assert First()({}, images)["id"] == "a"
    assert Last()({}, images)["id"] == "c"
    assert Last()({}, Images()) is None


def test_random_offers_every_image_and_asks_for_no_pause():
    images = Images("a", "b", "c")
    assert {Random()({}, images)["id"] for _ in range(200)} == {"a", "b", "c"}
    assert Random()({}, Images()) is None


def test_two_people_get_different_images_until_the_lease_ends():
    now = [0.0]
    leases = Leases(60, clock=lambda: now[0])
    images = Images("a", "b")

    def ask(who: str) -> str | None:
        chosen = leases.choose(First(), {"client_id": who}, images)
        return chosen["id"] if chosen else None

    assert ask("ada") == "a"
    assert ask("ada") == "a"
    assert ask("bob") == "b"
    assert ask("eve") is None
    now[0] = 61
    assert ask("eve") == "a"


def test_a_labelled_image_is_not_offered_again():
    leases = Leases(60)
    images = Images("a", "b")
    assert leases.choose(First(), {"client_id": "ada"}, images)["id"] == "a"
    images.names.remove("a")
    assert leases.choose(First(), {"client_id": "ada"}, images)["id"] == "b"
