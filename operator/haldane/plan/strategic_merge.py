"""Strategic merge of a user's pod template over the generated one, as `kubectl patch` does it, on plain JSON.

Plain JSON on purpose: a field that this version of Haldane has never heard of goes to the API server as it is.
The merge keys are those of the Kubernetes API (`x-kubernetes-patch-merge-key` of `io.k8s.api.core.v1.*`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
"""Lists that merge by item, and the field that names an item. Every other list is replaced as a whole."""

UNIONS = (
    frozenset({"httpGet", "exec", "tcpSocket", "grpc", "sleep"}),
    frozenset({"value", "valueFrom"}),
)
"""Fields of which an object may carry one only: writing another takes the place of the generated one.

Plain strategic merge would leave both and the API server would refuse the result. A volume's source is treated the same.
"""

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"


class PodTemplateError(ValueError):
    """A `spec.runtime.podTemplate` that cannot be merged. The text names the field and what to write instead."""


def merge(base: Mapping[str, Any], patch: Mapping[str, Any], path: str = "podTemplate") -> dict[str, Any]:
    """Merge `patch` over `base`; neither is changed.

    null deletes a field, `$patch: delete` a list item or an object, `$patch: replace` replaces instead of merging.
    Raises PodTemplateError when a list that merges by item holds something else, or for an unknown directive.
    """
    if patch.get(_DIRECTIVE) == "replace":
        base = {}
    made = {key: deepcopy(value) for key, value in base.items() if not _is_displaced(key, patch)}
    for key, value in patch.items():
        where = f"{path}.{key}"
        if key.startswith("$"):
            _check_directive(key, value, path)
        elif value is None or _is_deletion(value):
            made.pop(key, None)
        elif key in MERGE_KEYS and _merges_by_item(made.get(key), value, where):
            made[key] = _merge_items(made.get(key, []), value, MERGE_KEYS[key], key == "volumes", where)
        elif isinstance(value, Mapping):
            before = made.get(key)
            if before is not None and not isinstance(before, Mapping):
                raise PodTemplateError(f"{where} must not be an object")
            made[key] = merge(before or {}, value, where)
        elif isinstance(made.get(key), Mapping):
            raise PodTemplateError(f"{where} must be an object")
        else:
            made[key] = deepcopy(value)
    retained = patch.get(_RETAIN)
    if isinstance(retained, Sequence):
        made = {key: value for key, value in made.items() if key in retained}
    return made


def _is_displaced(key: str, patch: Mapping[str, Any]) -> bool:
    return any(key in union and patch.get(other) is not None for union in UNIONS for other in union - {key})


def _is_deletion(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(_DIRECTIVE) == "delete"


def _check_directive(key: str, value: Any, path: str) -> None:
    if key.startswith(_ORDER) or key == _RETAIN:
        return
    if key != _DIRECTIVE or value not in ("merge", "replace", "delete"):
        raise PodTemplateError(
            f"{path} has the directive {key}: {value}, which is not known here: "
            "write $patch: delete, $patch: replace, $patch: merge or $retainKeys"
        )


def _merges_by_item(before: Any, value: Any, where: str) -> bool:
    """Whether both sides are lists. A field of the same name elsewhere (say, an annotation) is left alone."""
    if isinstance(value, list):
        return True
    if isinstance(before, list):
        raise PodTemplateError(f"{where} must be a list")
    return False


def _merge_items(
    before: list[Any], patch: list[Any], merge_key: str, exclusive: bool, where: str
) -> list[dict[str, Any]]:
    """Merge two lists by item: the order of `before` stays, new items follow in their own order."""
    if any(isinstance(item, Mapping) and set(item) == {_DIRECTIVE} and item[_DIRECTIVE] == "replace" for item in patch):
        before, patch = [], [item for item in patch if set(item) != {_DIRECTIVE}]
    made = {item[merge_key]: item for item in before}
    for index, item in enumerate(patch):
        here = f"{where}[{index}]"
        if not isinstance(item, Mapping):
            raise PodTemplateError(f"{here} must be an object")
        if item.get(merge_key) is None:
            raise PodTemplateError(f"{here} needs {merge_key}: it says which item of the list it is merged with")
        name = item[merge_key]
        if _is_deletion(item):
            made.pop(name, None)
            continue
        merged = merge(made.get(name, {}), item, here)
        if exclusive and {key for key, value in item.items() if value is not None} - set(made.get(name, item)):
            # A volume has one source: another one takes the place of the one before.
            merged = {key: value for key, value in merged.items() if key in item}
        made[name] = merged
    return list(made.values())
