"""Trains the weights of the pack `dlib-distilled`: a development tool, the one place that imports PyTorch."""
