"""Machines onto servers: vector bin packing in two dimensions, number of machines and churn. Pure.

Each machine counts as one, so this is bin packing by churn with a limit on the number of items. The heuristics are
worst-fit decreasing (good where the number decides), first-fit decreasing (good where churn decides) and the same by
churn left per free place (where both do); up to EXACT_ITEMS machines a search finds a packing whenever there is one.
Lower bounds: area, number, and the dual feasible functions of Fekete and Schepers, "New classes of fast lower bounds
for bin packing problems" (Mathematical Programming 91, 2001).
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

EXACT_ITEMS = 12
"""Up to this many machines the result is exact."""
_SEARCH_STEPS = 50_000
_BALANCED_WORK = 50_000
_BOUND_FUNCTIONS = 12

Assignment = list[int]
"""The slot of each item, in the order of the items."""


class Slot(NamedTuple):
    """A server that takes machines: the most of them, the most churn, and the site whose limit it shares, if any."""

    machines: int
    churn: int
    site: int | None = None


def place(churns: Sequence[int], slots: Sequence[Slot], site_limit: int) -> Assignment | None:
    """A slot for each item, none above its limits and no site above `site_limit` items; None where none is found.

    `churns` falls. Within EXACT_ITEMS items None means that there is no such packing.
    """
    if len(churns) > sum(slot.machines for slot in slots) or sum(churns) > sum(slot.churn for slot in slots):
        return None
    found = _worst_fit(churns, slots, site_limit) or _first_fit(churns, slots, site_limit)
    if found is None and len(churns) * len(slots) <= _BALANCED_WORK:
        found = _balanced(churns, slots, site_limit)
    if found is None and len(churns) <= EXACT_ITEMS:
        found = _Search(churns, slots, site_limit).run()
    return found


def fewest(churns: Sequence[int], machines: int, churn: int) -> int:
    """A lower bound on the servers of one kind, with these limits, that `churns` needs. `churns` fits them singly."""
    if not churns:
        return 0
    bound = max(-(-len(churns) // machines), -(-sum(churns) // churn))
    for k in range(1, _BOUND_FUNCTIONS + 1):
        # u(x) = x where (k + 1) x is whole, else floor((k + 1) x) / k, with x the item's share of a server.
        weight = 0
        for item in churns:
            whole, rest = divmod((k + 1) * item, churn)
            weight += whole * churn if rest else k * item
        bound = max(bound, -(-weight // (k * churn)))
    return bound


def first_fit_count(churns: Sequence[int], machines: int, churn: int) -> int:
    """How many servers of one kind, with these limits, first-fit decreasing takes. `churns` falls and fits singly."""
    # It leaves no two servers half empty, in either dimension.
    enough = 2 * fewest(churns, machines, churn) + 1
    found = _first_fit(churns, [Slot(machines, churn)] * min(enough, len(churns)), len(churns))
    return len(set(found)) if found is not None else len(churns)


def _worst_fit(churns: Sequence[int], slots: Sequence[Slot], site_limit: int) -> Assignment | None:
    """Each item onto the server with the most churn left: spreads the load evenly."""
    heap = [(-slot.churn, index) for index, slot in enumerate(slots)]
    heapq.heapify(heap)
    room = _Room(slots, site_limit)
    chosen: Assignment = []
    for churn in churns:
        while heap and not room.has_place(heap[0][1]):
            heapq.heappop(heap)
        if not heap or -heap[0][0] < churn:
            return None
        left, index = heap[0]
        heapq.heapreplace(heap, (left + churn, index))
        room.take(index)
        chosen.append(index)
    return chosen


def _first_fit(churns: Sequence[int], slots: Sequence[Slot], site_limit: int) -> Assignment | None:
    """Each item onto the first server that takes it, smaller servers first. A tree of maxima finds that one."""
    order = _smaller_first(slots)
    width = 1 << max(0, len(order) - 1).bit_length()
    tree = [-1] * (2 * width)
    tree[width : width + len(order)] = [slots[index].churn for index in order]
    for node in range(width - 1, 0, -1):
        tree[node] = max(tree[2 * node], tree[2 * node + 1])
    room = _Room(slots, site_limit)
    chosen: Assignment = []
    for churn in churns:
        while True:
            if tree[1] < churn:
                return None
            node = 1
            while node < width:
                node = 2 * node if tree[2 * node] >= churn else 2 * node + 1
            index = order[node - width]
            has_place = room.has_place(index)
            tree[node] = tree[node] - churn if has_place else -1
            while node > 1:
                node //= 2
                most = max(tree[2 * node], tree[2 * node + 1])
                if tree[node] == most:
                    break
                tree[node] = most
            if has_place:
                break
        room.take(index)
        chosen.append(index)
    return chosen


def _smaller_first(slots: Sequence[Slot]) -> list[int]:
    """By size; among servers alike the sites take turns, so that none is full while its servers are not."""
    earlier: Counter[int | None] = Counter()
    turns = []
    for slot in slots:
        turns.append(earlier[slot.site])
        earlier[slot.site] += 1
    return sorted(range(len(slots)), key=lambda index: (slots[index].churn, turns[index]))


def _balanced(churns: Sequence[int], slots: Sequence[Slot], site_limit: int) -> Assignment | None:
    """Each item onto the server with the most churn left for each place that is still free."""
    room = _Room(slots, site_limit)
    left = [slot.churn for slot in slots]
    chosen: Assignment = []
    for churn in churns:
        open_slots = [index for index in range(len(slots)) if left[index] >= churn and room.has_place(index)]
        if not open_slots:
            return None
        index = max(open_slots, key=lambda index: left[index] / room.places[index])
        left[index] -= churn
        room.take(index)
        chosen.append(index)
    return chosen


class _Room:
    """Places that are still free, on each server and in each site."""

    def __init__(self, slots: Sequence[Slot], site_limit: int) -> None:
        self.places = [slot.machines for slot in slots]
        self._site_of = [slot.site for slot in slots]
        self._sites = {site: site_limit for site in self._site_of if site is not None}

    def has_place(self, index: int) -> bool:
        """Whether the server and its site take one more item."""
        site = self._site_of[index]
        return self.places[index] > 0 and (site is None or self._sites[site] > 0)

    def take(self, index: int, places: int = 1) -> None:
        """Use a place; -1 gives one back."""
        site = self._site_of[index]
        self.places[index] -= places
        if site is not None:
            self._sites[site] -= places


class _Search:
    """Depth first through all packings, passing over servers that are alike."""

    def __init__(self, churns: Sequence[int], slots: Sequence[Slot], site_limit: int) -> None:
        self._churns = churns
        self._slots = slots
        self._room = _Room(slots, site_limit)
        self._left = [slot.churn for slot in slots]
        self._chosen: Assignment = []
        self._steps = 0

    def run(self) -> Assignment | None:
        """A packing; None where there is none, or where it takes too long to know."""
        return self._chosen if self._place_from(0) else None

    def _place_from(self, item: int) -> bool:
        if item == len(self._churns):
            return True
        churn, tried = self._churns[item], set()
        for index, slot in enumerate(self._slots):
            alike = (self._left[index], self._room.places[index], slot.site)
            if self._left[index] < churn or not self._room.has_place(index) or alike in tried:
                continue
            tried.add(alike)
            self._steps += 1
            if self._steps > _SEARCH_STEPS:
                return False
            self._left[index] -= churn
            self._room.take(index)
            self._chosen.append(index)
            if self._place_from(item + 1):
                return True
            self._chosen.pop()
            self._room.take(index, -1)
            self._left[index] += churn
        return False
