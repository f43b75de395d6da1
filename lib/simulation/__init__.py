"""Labelled data played back as if people labelled it: what a strategy is worth, measured."""
