"""YAML that comes from outside: plain values alone.

Anchors let a few lines unfold to billions of values, and a name that comes twice is read one way here and
another way elsewhere; neither is taken.
"""

from typing import Any

import yaml


def load_plain(text: str) -> Any:
    """The document in a text.

    Raises:
        ValueError: it is no YAML, or not plain.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds aliases, which are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.YAMLError(f"{str(twice)[:100]!r} stands there twice")
        return super().construct_mapping(node, deep)
