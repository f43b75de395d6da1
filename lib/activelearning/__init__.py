"""Which image is offered next, and to whom."""

from lib.activelearning.last import Last
from lib.activelearning.leases import Leases
from lib.activelearning.most_uncertain import MostDoubtful
from lib.activelearning.random_image import Random
from lib.activelearning.review import Review

__all__ = ["Last", "Leases", "MostDoubtful", "Random", "Review"]
