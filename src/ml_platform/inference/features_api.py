"""What the data plane needs of an online feature store, and nothing of how it is read.

`ml_platform.inference.features` implements it: `open_online_features(store, request)` returns an
`OnlineFeatures` for one revision (a team's store as in the snapshot, and the columns that the revision's
bundle asks for).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ml_platform.contracts.bundles import FeatureRequest
from ml_platform.contracts.serving import FeatureStore

Columns = Mapping[str, Sequence[Any]]
"""Model column -> one value for each key, in the order of the keys; None where the feature has no value."""


class FeatureError(Exception):
    """Base of what a look-up may raise."""


class FeatureNotFound(FeatureError):  # noqa: N818 - a finding
    """The store holds nothing at all for an entity; `entity` is its key, `{name: value}`."""

    def __init__(self, entity: Mapping[str, Any]) -> None:
        self.entity = dict(entity)
        names = ", ".join(f"{name}={value!r}" for name, value in self.entity.items())
        super().__init__(f"no features are stored for {names}")


class FeatureStoreUnavailable(FeatureError):  # noqa: N818 - a state, named as the answer names it
    """The store is missing, locked, broken or too slow; `str()` says what happened."""


class OnlineFeatures(Protocol):
    """Looks features up. Called from one worker thread at a time, never from the event loop's."""

    def lookup(self, keys: Sequence[Mapping[str, Any]]) -> Columns:
        """The columns of `FeatureRequest.columns` for each entity key `{entity name: value}`.

        Raises:
            FeatureNotFound: for the first key of which the store knows nothing.
            FeatureStoreUnavailable: when no answer can be given.
        """
        ...

    def close(self) -> None:
        """Releases files and connections; called once, when the revision is gone."""
        ...


OpenOnlineFeatures = Callable[[FeatureStore, FeatureRequest, float], OnlineFeatures]
"""Opens the reader, whose look-ups end after so many milliseconds; raises FeatureStoreUnavailable, or
ValueError for a feature that does not exist."""
