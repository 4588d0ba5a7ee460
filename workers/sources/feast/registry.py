"""What a Feast registry says of feature views: their join keys, features and types, and what is computed on demand."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from app.errors import SourceRefused, bounded
from app.spec.data import FeatureStoreSource
from workers.context import ConnectionRef, Context
from workers.sources.feast.wire import call, not_feast

DUMMY_KEY = "__dummy_id"
"""What Feast joins a view by that has no entity."""


@dataclass(frozen=True)
class Key:
    """A value that Feast needs: how Feast calls it, the column of the entity table that holds it, and its value type."""

    name: str
    column: str
    type: str


@dataclass(frozen=True)
class View:
    """A feature view as one job uses it.

    Attributes:
        label: What the result calls it: its name, or the alias that the feature service gives.
        keys: Join keys; a row without one of them has no features of this view.
        features: The wanted ones by name, and their value types.
        request: What an on-demand view needs from the row itself.
        sources: The stored views that an on-demand view is computed from.
    """

    name: str
    label: str
    keys: tuple[Key, ...]
    features: Mapping[str, str]
    request: tuple[Key, ...] = ()
    sources: tuple["View", ...] = ()

    @property
    def refs(self) -> list[str]:
        """The wanted features as Feast writes them."""
        return [f"{self.name}:{feature}" for feature in self.features]

    @property
    def answers(self) -> dict[str, str]:
        """The columns of Feast's answer that hold the wanted features, and their value types."""
        return {f"{self.name}__{feature}": kind for feature, kind in self.features.items()}


class Registry:
    """A Feast project's registry, as far as one job asks for it."""

    def __init__(self, found: ConnectionRef, ctx: Context) -> None:
        self._found, self._ctx = found, ctx
        self._url = str(found.config.get("registry", "")).rstrip("/") + "/api/v1"
        self._seen: dict[str, Mapping[str, Any]] = {}

    def views(self, source: FeatureStoreSource) -> list[View]:
        """The views of the source's feature service, or of its features; wanted features in the order of the source.

        Raises:
            SourceRefused: `unknown_feature_service`, `unknown_feature_view`, `unknown_feature`, or no Feast answers.
            SourceUnavailable: the registry does not answer.
        """
        try:
            if source.feature_service is not None:
                spec = self._spec("feature_services", source.feature_service)
                return [self._projected(one) for one in spec["features"]]
            wanted: dict[str, list[str]] = {}
            for ref in source.features:
                name, _, feature = ref.partition(":")
                wanted.setdefault(name, []).append(feature)
            return [self._view(name, features) for name, features in wanted.items()]
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise not_feast(self._found, f"the registry says something else ({type(error).__name__})") from None

    def _projected(self, projection: Mapping[str, Any]) -> View:
        """The view that a feature service shows under other names; Feast itself is asked under the view's own."""
        features = [str(column["name"]) for column in projection.get("featureColumns", [])]
        view = self._view(str(projection["featureViewName"]), features)
        renamed = projection.get("joinKeyMap") or {}
        keys = tuple(replace(key, column=str(renamed.get(key.name, key.column))) for key in view.keys)
        return replace(view, label=str(projection.get("featureViewNameAlias") or view.name), keys=keys)

    def _view(self, name: str, features: Iterable[str]) -> View:
        spec = self._spec("feature_views", name)
        known = {str(column["name"]): str(column.get("valueType", "")) for column in spec.get("features", [])}
        for feature in features:
            if feature not in known:
                near = difflib.get_close_matches(feature, known, n=3, cutoff=0.5) or list(known)[:10]
                raise SourceRefused(f"The feature view {bounded(name)!r} has no feature {bounded(feature)!r}.",
                                    code="unknown_feature", hint=f"It has {', '.join(bounded(one) for one in near)}.")  # fmt: skip
        wanted = {feature: known[feature] for feature in features}
        if isinstance(spec.get("sources"), dict):
            return self._on_demand(name, spec, wanted)
        keys = tuple(_key(column) for column in spec.get("entityColumns", []) if column["name"] != DUMMY_KEY)
        return View(name, name, keys, wanted)

    def _on_demand(self, name: str, spec: Mapping[str, Any], wanted: Mapping[str, str]) -> View:
        """A view that Feast computes from other views and from the row.

        Raises:
            SourceRefused: `unsupported_view`, where one join key would have to stand for two columns.
        """
        request: dict[str, Key] = {}
        stored: list[View] = []
        for one in spec["sources"].values():
            if "requestDataSource" in one:
                columns = one["requestDataSource"]["requestDataOptions"]["schema"]
                request |= {key.name: key for key in map(_key, columns)}
                continue
            view = self._projected(one["featureViewProjection"])
            stored += view.sources or ([] if view.request else [view])
            request |= {key.name: key for key in view.request}
        keys = dict.fromkeys(key for view in stored for key in view.keys)
        if len({key.name for key in keys}) != len(keys):
            raise SourceRefused(f"The on-demand view {bounded(name)!r} uses one join key in two ways.", code="unsupported_view",
                                hint="Ask for the features of the views that it is computed from.")  # fmt: skip
        return View(name, name, tuple(keys), wanted, tuple(request.values()), tuple(stored))

    def _spec(self, kind: str, name: str) -> Mapping[str, Any]:
        """The registered thing's `spec`; asked for once."""
        path = f"/{kind}/{quote(name, safe='')}?project={quote(str(self._found.config.get('project', '')), safe='')}"
        if path not in self._seen:
            said = call("GET", self._url + path, self._found, self._ctx)
            spec = said.get("spec") if isinstance(said, dict) else None
            if not isinstance(spec, dict) or spec.get("name") != name:
                raise not_feast(self._found, f"the registry says no `spec` of {name}")
            self._seen[path] = spec
        return self._seen[path]


def _key(column: Mapping[str, Any]) -> Key:
    return Key(str(column["name"]), str(column["name"]), str(column.get("valueType", "")))
