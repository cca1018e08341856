"""Parameters of an offer from a pydantic model: one model has their defaults, types, bounds and help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pertharness.contract.errors import ContractError, DataError

Settings = TypeVar("Settings", bound=BaseModel)

_TYPES = {
    "integer": "integer", "number": "number", "boolean": "true or false", "string": "text", "array": "list",
    "object": "table", "null": "none",
}  # fmt: skip
"""Types of JSON Schema, in the words of a recipe."""
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def settings_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return ``params`` and ``params_help`` of an offer: ``ModelOffer(name="mine", **settings_of(MySettings))``.

    The help of a parameter is the ``description`` of its field. A field that is itself a pydantic model groups
    parameters: they stand in the card without the name of the group, and where one has no description, the first line
    of the group's docstring is its help. Names that a parameter had before are
    ``Field(..., json_schema_extra={"formerly": ["old_name"]})``.

    Parameters
    ----------
    model
        A pydantic model whose fields all have defaults that JSON can hold.

    Returns
    -------
    dict
        ``params``: name -> default; ``params_help``: name -> ``type``, ``help`` and, where it has any, ``formerly``.

    Raises
    ------
    ContractError
        If a field has no default, or two groups have a parameter of the same name.
    """
    try:
        defaults = model().model_dump()
    except ValidationError as error:
        name = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
        raise ContractError(f"{model.__name__}: {name!r} has no valid default; every parameter needs one") from None
    groups = _groups(model)
    params: dict[str, Any] = {}
    texts: dict[str, dict[str, Any]] = {}
    for field, described in _described(model).items():
        group = groups.get(field)
        inner = {field: described} if group is None else _described(group)
        fields = (model if group is None else group).model_fields
        for name, (type_, text) in inner.items():
            if name in params:
                raise ContractError(f"{model.__name__}: two parameters are called {name!r}; rename one of them")
            params[name] = defaults[field] if group is None else defaults[field][name]
            texts[name] = {"type": type_, "help": text or ("" if group is None else _first_line(group))}
            if names := _former_names(fields[name]):
                texts[name]["formerly"] = names
    return {"params": params, "params_help": texts}


def read_settings(model: type[Settings], params: Mapping[str, Any], *, what: str) -> Settings:
    """Return the parameters of a recipe, checked, as an instance of the model that `settings_of` was given.

    Parameters
    ----------
    model
        The pydantic model.
    params
        As a hook gets them; what is absent has its default.
    what
        Whose parameters they are, for messages: the name of the offer.

    Raises
    ------
    DataError
        If a parameter is unknown or has a value that it cannot have; the message names both.
    """
    groups = _groups(model)
    homes: dict[str, str | None] = {}
    for field in model.model_fields:
        homes |= dict.fromkeys(groups[field].model_fields, field) if field in groups else {field: None}
    unknown = [name for name in params if name not in homes]
    if unknown:
        raise DataError(f"{what}: there is no parameter {unknown[0]!r}; expected one of {', '.join(homes)}")
    values: dict[str, Any] = {group: {} for group in groups}
    for name, value in params.items():
        home = homes[name]
        (values if home is None else values[home])[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")  # what pydantic puts before words of a validator
        named = [str(part) for part in first["loc"] if part in params]
        where = f"parameter {named[0]} is {params[named[0]]!r}: " if named else "parameters: "
        raise DataError(f"{what}: {where}{reason}") from None


def _groups(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the fields of a model that are themselves models, which group parameters."""
    fields = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in fields.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def _described(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Return type and description of each field."""
    schema = model.model_json_schema(by_alias=False)
    return {
        name: (_type(schema["properties"][name]), field.description or "") for name, field in model.model_fields.items()
    }


def _former_names(field: FieldInfo) -> list[str]:
    """Return the names that a field had before."""
    extra = field.json_schema_extra
    names = extra.get("formerly", []) if isinstance(extra, Mapping) else []
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _type(schema: Mapping[str, Any]) -> str:
    """Return a type of JSON Schema in words: ``integer >= 1``."""
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    if "const" in schema:
        return repr(schema["const"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    kind = _TYPES.get(schema.get("type", ""), "table" if "$ref" in schema or "allOf" in schema else "any value")
    if kind == "list" and isinstance(schema.get("items"), Mapping):
        kind = f"list of {_type(schema['items'])}"
    bounds = " and ".join(f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema)
    return f"{kind} {bounds}".rstrip()


def _first_line(model: type[BaseModel]) -> str:
    """Return the first line of a model's own docstring."""
    return (vars(model).get("__doc__") or "").strip().partition("\n")[0]
