"""One module for each optional neighbour; none of them is imported by hostkit itself."""

__all__ = ()
