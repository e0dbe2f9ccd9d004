"""What a layer drops inside its time loop."""

from __future__ import annotations

from exactrnn._system.locks import cached_property

ZONES = ("h", "cells")
"""Of which zoneout has a share each: the output, and the other states but gates."""


class Dropping:
    """Facts about two options that a config has."""

    recurrent_dropout: float
    zoneout: float | tuple[float, float]

    @cached_property
    def zone_shares(self) -> tuple[float, float]:
        """The shares of `ZONES` that stay as they were."""
        zoneout = self.zoneout
        return zoneout if isinstance(zoneout, tuple) else (zoneout, zoneout)

    @cached_property
    def has_zones(self) -> bool:
        """Whether there is zoneout."""
        return self.zone_shares != (0.0, 0.0)

    @cached_property
    def drops_in_time(self) -> bool:
        """Whether training draws masks for the steps of each layer."""
        return self.has_zones or self.recurrent_dropout != 0.0
