"""Who owns weights: first weights, the store that lends them, their packed copies."""
