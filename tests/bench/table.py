# SPDX-License-Identifier: MIT OR 0BSD
"""The final table, as text and for the page."""

HEAD = ('what', 'ours', 'limit or peer', 'ratio', 'target', 'met')


def cells(row):
    if row.missing:
        return [row.what, '', 'missing: ' + row.missing, '', target(row),
                'missing']
    met = row.is_met()
    return [row.what, row.ours, row.peer,
            '' if row.unit else '{:.2f}'.format(row.value), target(row),
            '' if met is None else 'yes' if met else 'NO']


def target(row):
    if row.target is None:
        return ''
    return ' '.join(word for word in (
        '<=' if row.at_most else '>=', '{:g}'.format(row.target), row.unit)
        if word)


def summary(rows):
    asked = [row for row in rows if row.target is not None]
    met = sum(bool(row.is_met()) for row in asked)
    missing = sum(bool(row.missing) for row in asked)
    return '{} of {} targets met, {} missed, {} missing'.format(
        met, len(asked), len(asked) - met - missing, missing)


def in_text(head, rows):
    widths = [max(len(row[index]) for row in [head, *rows])
              for index in range(len(head))]
    return '\n'.join('  '.join(
        cell.ljust(width) for (cell, width) in zip(row, widths)).rstrip()
        for row in [head, *rows])


def in_markdown(head, rows):
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
