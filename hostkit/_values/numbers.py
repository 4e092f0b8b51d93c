"""Whole numbers that are given as arguments."""


def check_int(name: str, number: object, least: int) -> None:
    """Refuse a *number* that is none, or that is less than *least*.

    Raises:
        TypeError: It is not an int; True and False are none.
        ValueError: It is less than *least*.
    """
    if type(number) is not int:
        message = f"{name} must be an int, got {number!r}"
        raise TypeError(message)
    if number < least:
        message = f"{name} must be {least} or more, got {number!r}"
        raise ValueError(message)
