"""Everybody a node knows of: their faces and phones at rest, the keys these lie under, and how they are forgotten."""
