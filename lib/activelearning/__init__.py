"""Which image is offered next, and to whom."""

from lib.activelearning.last import Last
from lib.activelearning.leases import Leases
from lib.activelearning.random_image import Random

__all__ = ["Last", "Leases", "Random"]
