"""Cells from their equations: symbols, definitions, gradients, programs."""
