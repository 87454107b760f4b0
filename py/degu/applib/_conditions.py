# SPDX-License-Identifier: MIT OR 0BSD
"""What a request says about validators and ranges: RFC 9110 8.8, 13 and 14."""

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

# RFC 9110 8.8.3 and 14.1.  19 digits are enough for the size of any file.
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e]*")')
_RANGE = re.compile(r'(?i:bytes)=([0-9]{0,19})-([0-9]{0,19})')

_MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()
_DAY = '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)'
_LONG_DAY = '(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day'
_MONTH = f'(?P<month>{"|".join(_MONTHS)})'
_TIME = '(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})'
_DATES = [re.compile(form) for form in (
    f'{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT',
    f'{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) '
    f'{_TIME} GMT',
    f'{_DAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})',
)]


def parse_date(text: str | None) -> int | None:
    """Seconds since 1970 of an HTTP-date, None if it is not one."""
    for form in _DATES:
        match = form.fullmatch(text or '')
        if match:
            break
    else:
        return None
    year = int(match['year'])
    if len(match['year']) == 2:
        this = datetime.now(timezone.utc).year
        year += this - this % 100
        if year > this + 50:
            year -= 100
    second = int(match['second'])
    try:
        date = datetime(
            year,
            _MONTHS.index(match['month']) + 1,
            int(match['day']),
            int(match['hour']),
            int(match['minute']),
            tzinfo=timezone.utc,
        )
    except ValueError:
        return None
    # 60 is a leap second.
    return int(date.timestamp()) + second if second <= 60 else None


def _has_tag(text: str, etag: str, weak: bool) -> bool:
    """Is etag, a strong one, in the list?  weak: how tags are compared."""
    return text == '*' or any(
        tag == etag and (weak or not mark) for (mark, tag) in _TAG.findall(text)
    )


def check_conditions(
    headers: Mapping[str, Any], etag: str, modified: int
) -> int:
    """The status that a GET's or HEAD's conditions lead to: 200, 304 or 412.

    modified: seconds since 1970, as in last-modified.
    """
    tags = headers.get('if-match')
    if tags is not None:
        if not _has_tag(tags, etag, weak=False):
            return 412
    else:
        date = parse_date(headers.get('if-unmodified-since'))
        if date is not None and modified > date:
            return 412
    tags = headers.get('if-none-match')
    if tags is not None:
        return 304 if _has_tag(tags, etag, weak=True) else 200
    date = parse_date(headers.get('if-modified-since'))
    return 304 if date is not None and modified <= date else 200


def find_range(
    headers: Mapping[str, Any], etag: str, modified: int, size: int
) -> tuple[int, int] | None:
    """Start and stop of the bytes asked for, None for all of them.

    If start >= size, there is nothing at that place.
    """
    match = _RANGE.fullmatch(str(headers.get('range', '')))
    if not match or match[1] == match[2] == '':
        return None
    condition = headers.get('if-range')
    if condition not in (None, etag) and parse_date(condition) != modified:
        return None
    if match[1] == '':
        return (max(0, size - int(match[2])), size)
    start = int(match[1])
    if match[2] == '':
        return (start, size)
    stop = int(match[2]) + 1
    return (start, min(stop, size)) if start < stop else None
