"""A checked call on the kernels: from the caller's layout to time-major and back."""
