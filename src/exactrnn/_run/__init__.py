"""A checked call on the kernels: stacks of layers, grids, episodes, dropout."""
