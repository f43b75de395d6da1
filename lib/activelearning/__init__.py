"""Active learning: which image is offered next, and to whom."""

from lib.activelearning.last import Last
from lib.activelearning.leases import Leases
from lib.activelearning.most_uncertain import MostUncertain
from lib.activelearning.random_image import Random
from lib.activelearning.review import Review

__all__ = ["Last", "Leases", "MostUncertain", "Random", "Review"]
