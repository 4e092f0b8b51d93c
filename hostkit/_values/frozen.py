"""What small frozen classes have in common.

`dataclass` would compile these methods anew for each class: a third of the time that hostkit takes to be imported.
"""


class Value:
    """Equality, hash and repr by type and fields, for what sets its fields once and in their order."""

    def __eq__(self, other: object) -> bool:
        """Compare type and values."""
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        """Hash type and values."""
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        """Show the value as its constructor call."""
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"
