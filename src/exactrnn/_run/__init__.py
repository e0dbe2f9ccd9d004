"""A checked call on the kernels: layouts, stacks of layers, grids, episodes."""
