"""Models of other libraries: a file or a package for each, imported when asked for."""
