"""Stripe's form encoding with nested brackets, and the strict reading of parameters.

`a[b]=1&a[c][0]=2` becomes `{"a": {"b": "1", "c": {"0": "2"}}}`; a reader that wants a list makes one. What an endpoint
takes is declared as a `Shape`; anything else is refused before execution begins, as Stripe does (parameter_unknown,
parameter_missing, ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from .errors import invalid_request, refused_parameter

Params = dict[str, Any]
Reader = Callable[[Any, str], Any]

_BRACKETED = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")


def parse(encoded: str) -> Params:
    tree: Params = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        match = _BRACKETED.match(name)
        if match is None:
            raise refused_parameter(f"Invalid parameter name: {name}", name)
        parts = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        _place(tree, parts, value, name)
    return tree


def _place(tree: Params, parts: list[str], value: str, name: str) -> None:
    node = tree
    for position, part in enumerate(parts):
        part = part or str(len(node))  # `a[]=1&a[]=2`
        if position == len(parts) - 1:
            node[part] = value
        else:
            below = node.setdefault(part, {})
            if not isinstance(below, dict):
                raise refused_parameter(f"Invalid parameter: {name}", name)
            node = below


# Readers: one per kind of value. Each takes the raw value and the parameter's full name.


def text(limit: int = 5000, clearable: bool = False) -> Reader:
    def read(value: Any, name: str) -> str | None:
        if not isinstance(value, str):
            raise refused_parameter(f"Invalid string: {value}", name)
        if value == "":
            if clearable:
                return None
            raise _empty(name)
        if len(value) > limit:
            raise refused_parameter(
                f"Invalid string: {value[:6]}...{value[-6:]}; must be at most {limit} characters",
                name,
                "parameter_invalid_string_too_long" if limit == 5000 else None,
            )
        return value

    return read


def integer(least: int | None = None, most: int | None = None) -> Reader:
    def read(value: Any, name: str) -> int:
        if value == "":
            raise _empty(name)
        if not isinstance(value, str) or not re.fullmatch(r"-?\d{1,18}", value):
            raise refused_parameter(f"Invalid integer: {value}", name, "parameter_invalid_integer")
        number = int(value)
        if least is not None and number < least:
            raise refused_parameter(
                f"This value must be greater than or equal to {least}.", name, "parameter_invalid_integer"
            )
        if most is not None and number > most:
            raise refused_parameter(
                f"This value must be less than or equal to {most} (it currently is '{number}').",
                name,
                "parameter_invalid_integer",
            )
        return number

    return read


def boolean() -> Reader:
    def read(value: Any, name: str) -> bool:
        if value not in ("true", "false"):
            raise refused_parameter(f"Invalid boolean: {value}", name)
        return bool(value == "true")

    return read


def one_of(*choices: str) -> Reader:
    def read(value: Any, name: str) -> str:
        if value not in choices:
            listed = ", ".join(choices[:-1]) + f", or {choices[-1]}" if len(choices) > 1 else choices[0]
            raise refused_parameter(f"Invalid {name}: must be one of {listed}", name)
        return str(value)

    return read


def list_of(item: Reader, most: int | None = None) -> Reader:
    def read(value: Any, name: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, dict) or not all(key.isdigit() for key in value):
            raise refused_parameter("Invalid array", name)
        value = [value[key] for key in sorted(value, key=int)]
        if most is not None and len(value) > most:
            raise refused_parameter(f"Array {name} exceeded maximum {most} allowed elements.", name)
        return [item(each, f"{name}[{index}]") for index, each in enumerate(value)]

    return read


def hash_of(clearable: bool = False, **readers: Reader) -> Reader:
    return Shape(readers, clearable=clearable).read_nested


def anything(value: Any, name: str) -> Any:
    """Accepted and ignored: the sandbox does not simulate it."""
    return value


def metadata(value: Any, name: str) -> dict[str, str]:
    """Stripe: metadata: up to 50 keys, names up to 40 characters, values up to 500. Empty unsets."""
    if value == "":
        return {"": ""}
    if not isinstance(value, dict):
        raise refused_parameter("Invalid hash", name)
    for key, each in value.items():
        if len(key) > 40:
            raise refused_parameter(f"Invalid metadata key: {key[:40]}...; keys can be up to 40 characters", name)
        if not isinstance(each, str):
            raise refused_parameter(f"Metadata values must be strings: {key}", f"{name}[{key}]")
        if len(each) > 500:
            raise refused_parameter(f"Metadata values can have up to 500 characters: {key}", f"{name}[{key}]")
    _check_count(value)
    return dict(value)


def merged_metadata(old: Mapping[str, str], new: Mapping[str, str] | None) -> dict[str, str]:
    """Stripe: an empty value removes its key; an empty hash removes all."""
    if new is None:
        return dict(old)
    if "" in new:
        return {}
    merged = {key: value for key, value in {**old, **new}.items() if value != ""}
    _check_count(merged)
    return merged


def _check_count(value: Mapping[str, str]) -> None:
    if len(value) > 50:
        raise refused_parameter("Metadata can have up to 50 keys", "metadata")


def created_range(value: Any, name: str) -> dict[str, int]:
    whole = integer(least=0)
    if isinstance(value, str):
        moment = whole(value, name)
        return {"gte": moment, "lte": moment}
    return Shape(dict.fromkeys(("gt", "gte", "lt", "lte"), whole)).read_nested(value, name) or {}


@dataclass(frozen=True)
class Shape:
    """The parameters that something takes."""

    readers: Mapping[str, Reader]
    required: tuple[str, ...] = ()
    clearable: bool = False
    gone: Mapping[str, str] = field(default_factory=dict)  # name -> why

    def read(self, params: Params) -> Params:
        return self._read(params, "")

    def read_nested(self, value: Any, name: str) -> Params | None:
        if value == "":
            if self.clearable:
                return None
            raise _empty(name)
        if not isinstance(value, dict):
            raise refused_parameter("Invalid object", name)
        return self._read(value, name)

    def _read(self, params: Params, prefix: str) -> Params:
        names = {key: f"{prefix}[{key}]" if prefix else key for key in params}
        unknown = [names[key] for key in params if key not in self.readers]
        if unknown:
            plural = "s" if len(unknown) > 1 else ""
            why = "".join(f" {self.gone[key]}" for key in params if key in self.gone)
            raise refused_parameter(
                f"Received unknown parameter{plural}: {', '.join(unknown)}.{why}".removesuffix("."),
                unknown[0],
                "parameter_unknown",
            )
        for key in self.required:
            if key not in params:
                name = f"{prefix}[{key}]" if prefix else key
                raise refused_parameter(f"Missing required param: {name}.", name, "parameter_missing")
        return {key: self.readers[key](value, names[key]) for key, value in params.items()}


def _empty(name: str) -> Exception:
    return refused_parameter(
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; however "
        f"'{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty value.",
        name,
        "parameter_invalid_empty",
    )


def decode(body: bytes, content_type: str) -> Params:
    """API v1 takes form encoding and nothing else."""
    if not body:
        return {}
    if content_type.split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise invalid_request(
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded).", stored=False
        )
    try:
        return parse(body.decode())
    except UnicodeDecodeError:
        raise invalid_request("Invalid request (the body is not UTF-8).", stored=False) from None
