"""Models of other libraries: a file or a package for each, imported when asked for."""

from exactrnn._system import shown

__all__: list[str] = []
__dir__ = shown.lists(globals())
