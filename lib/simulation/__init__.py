"""Simulation of active learning: labelled data replayed as if users labelled it, to compare strategies."""
