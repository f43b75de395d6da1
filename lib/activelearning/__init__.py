"""Which image is offered next, and to whom."""

from lib.activelearning.last import Last
from lib.activelearning.leases import Leases

__all__ = ["Last", "Leases"]
