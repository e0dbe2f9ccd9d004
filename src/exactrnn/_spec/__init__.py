"""What a layer is, without its weights: sizes, options, names and shapes of weights."""
