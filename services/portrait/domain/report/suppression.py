"""Cell suppression: no figure of fewer than k customers, and none that could be had by taking others from a total.

Primary: a line is withheld when one of its counts of people is above 0 and below k. Secondary (complementary), for each
set of dimensions whose totals are known: the withheld lines of a part must together stand for at least k customers and
be two or more, or the smallest line still shown is withheld as well; repeated until nothing changes. Source: A.
Hundepool et al., Statistical Disclosure Control, Wiley 2012, chapter 4 (the hypercube rule for k-anonymous tables).
"""

from collections import defaultdict
from collections.abc import Sequence

Key = tuple[object, ...]


def suppressed(
    keys: Sequence[Key], people: Sequence[Sequence[int]], within: Sequence[Sequence[int]], smallest: int
) -> list[bool]:
    """For each line whether it is withheld; `people` are its counts, the first one what it stands for.

    `within` names sets of dimensions by position: lines that agree in these belong to one part with a known total.
    """
    hidden = [any(0 < count < smallest for count in counts) for counts in people]
    changed = True
    while changed:
        changed = False
        for kept in within:
            parts: dict[Key, list[int]] = defaultdict(list)
            for line, key in enumerate(keys):
                parts[tuple(key[place] for place in kept)].append(line)
            for part in parts.values():
                changed = _protect(part, people, hidden, smallest) or changed
    return hidden


def _protect(part: Sequence[int], people: Sequence[Sequence[int]], hidden: list[bool], smallest: int) -> bool:
    """Withhold more lines of a part until its withheld lines protect each other; says whether any was."""
    gone = [line for line in part if hidden[line]]
    shown = sorted((line for line in part if not hidden[line] and people[line][0]), key=lambda line: people[line][0])
    changed = False
    while gone and shown and (len(gone) < 2 or sum(people[line][0] for line in gone) < smallest):
        line = shown.pop(0)
        hidden[line] = changed = True
        gone.append(line)
    return changed
