"""Numbers with defined bits outside of kernels: random ones, and linear algebra."""
