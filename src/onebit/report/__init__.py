"""Plots of run records and profiles; never imports torch."""
