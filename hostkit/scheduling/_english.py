"""Schedules in English: lists, ordinals, durations, days and the fields of a cron expression."""

from collections.abc import Callable, Sequence

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
LAST = -1
"""Stands for the last day of a month, or the last of its Fridays."""
LAST_WEEKDAY = -2
"""Stands for the last day of a month from Monday to Friday."""

_TEENS = range(11, 14)
_HOURS = 24
_MINUTES = 60
_LONGEST_MONTH = 31
_MOST_NAMED = 4


def in_words(items: Sequence[str], conjunction: str = "and") -> str:
    """Join *items* as in a sentence: ``a, b and c``."""
    *most, last = items
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def ordinal(number: int) -> str:
    """Return ``1st`` for 1, ``112th`` for 112, ``last`` for -1."""
    if number == LAST:
        return "last"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in _TEENS else suffix}"


def weekdays_english(days: tuple[int, ...], *, plural: bool = True) -> str:
    """Name weekdays: ``weekdays``, ``Mondays and Fridays``; ``Monday and Friday`` if not *plural*."""
    whole = {(0, 1, 2, 3, 4): "weekdays", (5, 6): "weekends", (0, 1, 2, 3, 4, 5, 6): "every day"}
    return whole.get(days) or in_words([WEEKDAYS[day] + ("s" if plural else "") for day in days])


def day_of_month_english(day: int | tuple[int, int]) -> str:
    """Name the day: ``the 31st``, ``the last day``, ``the 2nd Tuesday``."""
    if isinstance(day, tuple):
        nth, weekday = day
        return f"the {ordinal(nth)} {WEEKDAYS[weekday]}"
    return {LAST: "the last day", LAST_WEEKDAY: "the last weekday"}.get(day) or f"the {ordinal(day)}"


def cron_times_english(minutes: Sequence[int], hours: Sequence[int], minute_step: int | None) -> str:
    """Name the times of a cron expression: ``at 09:00 and 17:00``, ``every 15 minutes from 09:00 to 16:45``.

    Args:
        minutes: The minutes, ascending.
        hours: The hours, ascending.
        minute_step: n if the minutes are written ``*/n``.
    """
    all_hours = len(hours) == _HOURS
    if len(minutes) * len(hours) <= _MOST_NAMED:
        return f"at {in_words([f'{hour:02}:{minute:02}' for hour in hours for minute in minutes])}"
    if len(minutes) == _MINUTES:
        text = "every minute"
    elif minute_step is not None and _MINUTES % minute_step == 0:
        text = f"every {minute_step} minutes"
    elif len(minutes) == 1 and (not all_hours or minutes[0] == 0):
        text = "every hour"
    else:
        text = ""
    runs = [] if all_hours else _runs(hours, _HOURS)
    if text and not runs:
        return text
    if text and len(runs) == 1:
        (first, last) = runs[0]
        return f"{text} from {first:02}:{minutes[0]:02} to {last:02}:{minutes[-1]:02}"
    if len(minutes) == _MINUTES:
        which = "every minute"
    elif minute_step is not None:
        which = f"every {ordinal(minute_step)} minute"
    else:
        which = f"at minute{'s' if len(minutes) > 1 else ''} {in_words(_listed(minutes, str, _MINUTES))}"
    if all_hours:
        return f"{which} of every hour"
    return f"{which} of hour{'s' if len(hours) > 1 else ''} {in_words(_listed(hours, str, _HOURS))}"


def cron_dates_english(
    days: Sequence[int],
    weekdays: Sequence[int | tuple[int, int]],
    months: Sequence[int],
    *,
    day_step: int | None,
    either: bool,
) -> str:
    """Name the dates of a cron expression: ``on the 31st``, ``on the 1st or on Friday``; nothing for every day.

    Args:
        days: The days of the month, `LAST` and `LAST_WEEKDAY` among them.
        weekdays: The days of the week, 0 for Monday, and pairs: which of them in the month.
        months: The months.
        day_step: n if the days of the month are written ``*/n``.
        either: Whether one of the two is enough where both are limited.
    """
    months_named = [] if len(months) == len(MONTHS) else _listed([each - 1 for each in months], MONTHS.__getitem__, 12)
    all_days, all_weekdays = len(days) >= _LONGEST_MONTH, set(range(len(WEEKDAYS))) <= set(weekdays)
    if either and (all_days or all_weekdays):
        all_days = all_weekdays = True
    dates = [] if all_days else _days_named(days, day_step)
    plain = [each for each in weekdays if isinstance(each, int)]
    which = [each for each in weekdays if isinstance(each, tuple)]
    in_week = [] if all_weekdays else _listed(plain, WEEKDAYS.__getitem__, len(WEEKDAYS))
    in_week += [] if all_weekdays else [day_of_month_english(each) for each in which]
    if dates and in_week and either:
        text = f"{_prefixed('on', dates)} or {_prefixed('on', in_week)}"
        return f"{text}, {_prefixed('in', months_named)}" if months_named else text
    in_months = f" {_prefixed('of', months_named)}" if months_named else ""
    if dates:
        if not in_months and any("day" in each for each in dates):
            in_months = " of the month"
        text = _prefixed("on", dates) + in_months
        return f"{text} if it is {in_words(in_week, 'or')}" if in_week else text
    if in_week and which:
        return _prefixed("on", in_week) + (in_months or " of the month")
    return " ".join(_prefixed(*part) for part in (("on", in_week), ("in", months_named)) if part[1])


def _days_named(days: Sequence[int], step: int | None) -> list[str]:
    if step is not None and len(days) > _MOST_NAMED:
        return [f"every {ordinal(step)} day"]
    numbers = [day for day in days if day > 0]
    named = [day_of_month_english(day) for day in days if day < 0]
    return _listed(numbers, day_of_month_english, 2 * _LONGEST_MONTH) + named


def _prefixed(preposition: str, items: Sequence[str]) -> str:
    is_range = len(items) == 1 and " to " in items[0]
    return f"{'from' if is_range else preposition} {in_words(items)}"


def _listed(numbers: Sequence[int], name: Callable[[int], str], size: int) -> list[str]:
    """Name *numbers*, three and more that follow each other as a range."""
    items = []
    for first, last in _runs(numbers, size):
        if (last - first) % size > 1:
            items.append(f"{name(first)} to {name(last)}")
        else:
            items += [name(each) for each in dict.fromkeys((first, last))]
    return items


def _runs(numbers: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Return the first and the last of those *numbers* that follow each other, where 0 follows *size* - 1."""
    ends = [number for number in numbers if (number + 1) % size not in numbers]
    starts = [number for number in numbers if (number - 1) % size not in numbers]
    # The run over the end of the circle begins with the last start and has the first end.
    return list(zip(starts, ends if ends[0] >= starts[0] else ends[1:] + ends[:1], strict=True)) if starts else []
