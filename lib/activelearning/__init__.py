"""Active learning: strategies for the next image to label, and the scores they use."""

from lib.activelearning.first import First
from lib.activelearning.foreground_random import ForegroundRandom
from lib.activelearning.last import Last
from lib.activelearning.leases import Leases
from lib.activelearning.next_sample import NextSample
from lib.activelearning.random_image import Random
from lib.activelearning.review import Review
from lib.activelearning.stratified_entropy import StratifiedEntropy
from lib.activelearning.uncertainty_sampling import UncertaintySampling

__all__ = [
    "First",
    "ForegroundRandom",
    "Last",
    "Leases",
    "NextSample",
    "Random",
    "Review",
    "StratifiedEntropy",
    "UncertaintySampling",
]
