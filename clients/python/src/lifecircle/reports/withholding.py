"""Which lines of a table are withheld: those of few people, and as many more as keep these from being worked out.

The rule of portrait's own reports (complementary suppression: Hundepool et al., Statistical Disclosure Control, 2012,
chapter 4): wherever a total is known, the lines withheld from it are two or more and stand together for as many people
as the smallest group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence


def withheld(
    keys: Sequence[tuple[str, ...]], people: Sequence[int], within: Sequence[Sequence[int]], smallest: int
) -> list[bool]:
    """For each line whether it is withheld. `within` names sets of dimensions, by position, whose totals are known."""
    hidden = [0 < count < smallest for count in people]
    changed = True
    while changed:
        changed = False
        for kept in within:
            parts: dict[tuple[str, ...], list[int]] = defaultdict(list)
            for line, key in enumerate(keys):
                parts[tuple(key[place] for place in kept)].append(line)
            for part in parts.values():
                gone = [line for line in part if hidden[line]]
                shown = sorted((line for line in part if not hidden[line] and people[line]), key=lambda at: people[at])
                while gone and shown and (len(gone) < 2 or sum(people[line] for line in gone) < smallest):
                    gone.append(shown.pop(0))
                    hidden[gone[-1]] = changed = True
    return hidden
