"""Lets Pydantic, and so FastAPI, validate and serialize the models.

Imported when Pydantic requests the schema of a model, because this package does not depend on Pydantic.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
from pydantic_core import CoreSchema, core_schema

from customers_async.checks import UUID_PATTERN
from customers_async.models import Customer, CustomerWithExtra

__all__ = ["make_core_schema"]


def make_core_schema(model: type[Any], make_schema: Callable[[Any], CoreSchema]) -> CoreSchema:
    """Return how Pydantic validates and serializes a model.

    An instance is valid as it is, and is not copied. An object with valid fields becomes an instance. JSON has a
    model's fields under their own names, with times in ISO 8601, and a customer's unknown fields beside them.

    Args:
        model: `Customer`, one of its subclasses, or `TokenOwner`.
        make_schema: Pydantic's function that returns the schema of a type.
    """
    fields = [field for field in attrs.fields(model) if field.name != "extra"]
    names = [field.name for field in fields]
    keeps_unknown = model is Customer or issubclass(model, CustomerWithExtra)
    values = core_schema.typed_dict_schema(
        {field.name: _make_field(field, make_schema) for field in fields},
        extra_behavior="allow" if keeps_unknown else "ignore",
        config=core_schema.CoreConfig(),  # that of an enclosing model, such as str_to_lower, would change the values
    )

    def validate(value: Any, validate_values: Callable[[Any], dict[str, Any]]) -> Any:
        return value if isinstance(value, model) else _create(model, names, validate_values(value))

    def serialize(instance: Any, serialize_values: Callable[[dict[str, Any]], Any]) -> Any:
        known = {name: getattr(instance, name) for name in names}
        return serialize_values({**known, **getattr(instance, "extra", {})})

    return core_schema.no_info_wrap_validator_function(
        validate,
        values,
        ref=f"{model.__module__}.{model.__qualname__}:{id(model)}",
        serialization=core_schema.wrap_serializer_function_ser_schema(serialize, schema=values),
    )


def _make_field(field: "attrs.Attribute[Any]", make_schema: Callable[[Any], CoreSchema]) -> core_schema.TypedDictField:
    is_required = field.default is attrs.NOTHING
    if is_required and field.name == "uuid":
        schema: CoreSchema = core_schema.str_schema(pattern=f"^{UUID_PATTERN}$")
    elif field.type == datetime | None:
        time = core_schema.datetime_schema(tz_constraint="aware")
        schema = core_schema.nullable_schema(core_schema.no_info_after_validator_function(_in_utc, time))
    else:
        schema = make_schema(field.type)
    return core_schema.typed_dict_field(schema, required=is_required)


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time must be from year 1 to 9999 in UTC") from None


def _create(model: type[Any], names: list[str], values: dict[str, Any]) -> Any:
    """Create an instance; what is left of the values are the unknown fields."""
    known = {name: values.pop(name) for name in names if name in values}
    if issubclass(model, CustomerWithExtra):
        return model(**known, extra=values)
    return CustomerWithExtra(**known, extra=values) if values else model(**known)
