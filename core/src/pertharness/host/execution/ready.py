"""Which jobs are ready; computed again only when a job that others wait for has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from pertharness.host.execution.nodes import Node


class Ready:
    """Nodes in the given order, and for each the number of its needs that have not ended."""

    def __init__(self, nodes: Iterable[Node], ended: Iterable[str]) -> None:
        self._nodes = {node.key: node for node in nodes}
        self._rank = {key: rank for rank, key in enumerate(self._nodes)}
        before = set(ended)
        self._open: dict[str, int] = {}
        self._waiting_for: dict[str, list[str]] = defaultdict(list)
        self._new: list[str] = []
        for key, node in self._nodes.items():
            needs = {need for need in node.needs if need not in before}
            self._open[key] = len(needs)
            for need in needs:
                self._waiting_for[need].append(key)
            if not needs:
                self._new.append(key)
        self._kinds: dict[tuple[object, ...], dict[str, Node]] = defaultdict(dict)

    def __len__(self) -> int:
        """Return the number of nodes that have not been taken."""
        return len(self._nodes)

    def end(self, key: str) -> None:
        """Register that a job has ended."""
        for waiting in self._waiting_for.pop(key, ()):
            self._open[waiting] -= 1
            if self._open[waiting] == 0:
                self._new.append(waiting)

    def pop_new(self) -> list[Node]:
        """Return the nodes that became ready since the last call, in order; each must be put or dropped."""
        new = sorted(self._new, key=self._rank.__getitem__)
        self._new = []
        return [self._nodes[key] for key in new]

    def put(self, node: Node, kind: tuple[object, ...]) -> None:
        """Add a ready node to those of its kind."""
        self._kinds[kind][node.key] = node

    def put_back(self, node: Node, kind: tuple[object, ...]) -> None:
        """Put a node back that was taken and not done, before the others of its kind."""
        self._nodes[node.key] = node
        self._kinds[kind] = {node.key: node, **self._kinds[kind]}

    def drop(self, node: Node) -> None:
        """Remove a node that needs no worker, or was taken."""
        self._nodes.pop(node.key, None)

    def kinds(self) -> Iterator[tuple[tuple[object, ...], list[Node]]]:
        """Yield the kinds with ready nodes, starting with the kind of the first node."""
        filled = [(kind, nodes) for kind, nodes in self._kinds.items() if nodes]
        filled.sort(key=lambda pair: self._rank[next(iter(pair[1]))])
        for kind, nodes in filled:
            yield kind, list(nodes.values())

    def take(self, kind: tuple[object, ...], nodes: Iterable[Node]) -> None:
        """Take ready nodes."""
        for node in nodes:
            self._kinds[kind].pop(node.key, None)
            self._nodes.pop(node.key, None)
