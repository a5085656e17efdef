"""Last-seen objects: what the watches, the relists and the operator's own writes said last, whichever came last in truth.

Three sources tell of the same objects in any order: a watch event may be older than the answer to a write, and a watch
that was interrupted never tells of a deletion. `resourceVersion` settles each case: it rises with every write to a kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from haldane.control.ports import FIELD_MANAGER, MODEL_DEPLOYMENTS, OWNED, Kind, Listing, Manifest
from haldane.plan.names import MODEL_LABEL, controller_of, owner_of

_VERB = f"f:{MODEL_DEPLOYMENTS.group}/"
_OWNED_KINDS = frozenset(kind.kind for kind in OWNED)


class Key(NamedTuple):
    """Names a ModelDeployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class _Id(NamedTuple):
    kind: str
    namespace: str
    name: str


def version_of(obj: Manifest) -> int:
    """The object's `resourceVersion`, a number that rises with every write to its kind."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def concerned(obj: Manifest) -> Key | None:
    """The ModelDeployment that an object is, or belongs to: by its controller, or by the label of what that made."""
    metadata = obj["metadata"]
    if obj["kind"] == MODEL_DEPLOYMENTS.kind:
        return Key(metadata["namespace"], metadata["name"])
    model = owner_of(obj) or (metadata.get("labels") or {}).get(MODEL_LABEL)
    return Key(metadata["namespace"], model) if model else None


class Store:
    """Objects by kind, namespace and name, and the children of each ModelDeployment."""

    def __init__(self) -> None:
        self._objects: dict[_Id, Manifest] = {}
        self._children: dict[Key, set[_Id]] = {}
        self._removed: dict[_Id, int] = {}  # versions at which objects went: a late event must not bring them back

    def put(self, obj: Manifest) -> Key | None:
        """Take note of an object; the ModelDeployment that it concerns if this is news, None if it was known."""
        identity = _id(obj)
        known = self._objects.get(identity)
        newest = max(version_of(known) if known else 0, self._removed.get(identity, 0))
        if version_of(obj) <= newest:
            return None
        self._removed.pop(identity, None)
        self._unlink(identity, known)
        self._objects[identity] = _trimmed(obj)
        key = concerned(obj)
        if key and obj["kind"] != MODEL_DEPLOYMENTS.kind:
            self._children.setdefault(key, set()).add(identity)
        return key

    def remove(self, obj: Manifest) -> Key | None:
        """Take note that an object went, at its `resourceVersion`; the ModelDeployment that this concerns, if it is news."""
        identity = _id(obj)
        known = self._objects.get(identity)
        if known and known["metadata"]["uid"] != obj["metadata"]["uid"] and version_of(known) > version_of(obj):
            return None  # another object of that name is there by now
        self._removed[identity] = max(version_of(obj), version_of(known) if known else 0)
        return self._drop(identity)

    def found(self, obj: Manifest) -> None:
        """Take note of an object that the API server gave when asked for it by name.

        A watch by labels tells of one that lost its label as if it had been deleted, and at the version that it has now.
        """
        identity = _id(obj)
        if version_of(obj) >= self._removed.get(identity, 0):
            self._removed.pop(identity, None)
        self.put(obj)

    def replace(self, kind: Kind, namespace: str | None, listing: Listing) -> set[Key]:
        """Take over a relist (of one namespace, or of all): objects missing in it are dropped. What the news concerns."""
        news = {key for obj in listing.items if (key := self.put(obj))}
        listed = {_id(obj) for obj in listing.items}
        ghosts = [
            identity
            for identity, obj in self._objects.items()
            if identity.kind == kind.kind
            and namespace in (None, identity.namespace)
            and identity not in listed
            and version_of(obj) <= listing.version
        ]
        for identity in ghosts:
            self._removed[identity] = listing.version
            if key := self._drop(identity):
                news.add(key)
        # What went before the last list is remembered no longer: events that old are not under way any more.
        outdated = [i for i, version in self._removed.items() if i.kind == kind.kind and version < listing.version]
        for identity in outdated:
            del self._removed[identity]
        return news

    def parent(self, key: Key) -> Manifest | None:
        """The ModelDeployment, None when there is none."""
        return self._objects.get(_Id(MODEL_DEPLOYMENTS.kind, key.namespace, key.name))

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object as last seen, None when there is none."""
        return self._objects.get(_Id(kind.kind, namespace, name))

    def children(self, parent: Manifest) -> list[Manifest]:
        """What `parent` controls, and what was made of that (pods, endpoint slices), in a stable order.

        An object that carries the label but has another controller is not among them: a name that a deleted
        ModelDeployment used, or a copy that somebody made.
        """
        key = Key(parent["metadata"]["namespace"], parent["metadata"]["name"])
        uid = parent["metadata"]["uid"]
        found = (self._objects[identity] for identity in sorted(self._children.get(key, ())))
        return [obj for obj in found if obj["kind"] not in _OWNED_KINDS or (controller_of(obj) or {}).get("uid") == uid]

    def _drop(self, identity: _Id) -> Key | None:
        known = self._objects.pop(identity, None)
        if known is None:
            return None
        self._unlink(identity, known)
        return concerned(known)

    def _unlink(self, identity: _Id, known: Manifest | None) -> None:
        key = concerned(known) if known else None
        if key and identity in (children := self._children.get(key, set())):
            children.discard(identity)
            if not children:
                del self._children[key]


def _id(obj: Manifest) -> _Id:
    return _Id(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])


def _trimmed(obj: Manifest) -> Manifest:
    """The object without the field lists that nobody looks at: half of its size.

    Of a child our own counts; of a ModelDeployment, who set which of the verbs' annotations.
    """
    fields = obj["metadata"].get("managedFields")
    if not fields:
        return obj
    kept = _verbs(fields) if obj["kind"] == MODEL_DEPLOYMENTS.kind else _ours(fields)
    return {**obj, "metadata": {**obj["metadata"], "managedFields": kept}}


def _verbs(fields: Iterable[Manifest]) -> list[Manifest]:
    kept = []
    for entry in fields:
        annotations = ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:annotations") or {}
        ours: Manifest = {name: {} for name in annotations if name.startswith(_VERB)}
        if ours:
            kept.append({**entry, "fieldsV1": {"f:metadata": {"f:annotations": ours}}})
    return kept


def _ours(fields: Iterable[Manifest]) -> list[Manifest]:
    return [
        entry
        for entry in fields
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
    ]
