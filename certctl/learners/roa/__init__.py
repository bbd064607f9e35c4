"""Regions of attraction: a controller and a Lyapunov function learned together, or the function alone for a given controller."""
