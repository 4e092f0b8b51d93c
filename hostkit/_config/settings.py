"""HostSettings: the host's options as pydantic-settings reads them from outside."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import AliasChoices, BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from hostkit._config.options import (
    CHECKS,
    OPTION_NAMES,
    PREFIX,
    FoundName,
    HostOptions,
    WrongSettingsError,
    default_dump_signal,
    main_module_name,
)
from hostkit._config.outside import (
    DESCRIPTIONS,
    Flag,
    asks_for_help,
    flag_of,
    help_text,
    unrecognized,
    warn_of_slips,
)

S = TypeVar("S", bound="HostSettings")

LISTS = (list, tuple, set, frozenset)


def _words(name: str) -> str:
    value, description = DESCRIPTIONS[name]
    return f"{value}: {description}" if value else description


class HostSettings(BaseSettings):
    """The fields of `HostOptions`, read from outside: flags, then arguments, environment, ``.env``, secrets folder.

    The host's own fields are read from ``HOSTKIT_…`` variables, whatever ``env_prefix`` a subclass sets for the fields
    that it adds. ``none`` stands for None. Durations are in seconds. A variable that looks like one of the host's,
    misspelt, is a `UserWarning`.

    Raises:
        pydantic.ValidationError: Values are wrong; it names all of them.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_parse_none_str="none", cli_kebab_case=True)

    application_name: str = Field(default_factory=main_module_name, description=_words("application_name"))
    environment: str = Field(default="production", description=_words("environment"))
    startup_timeout: float | None = Field(default=60.0, description=_words("startup_timeout"))
    stop_delay: float = Field(default=0.0, description=_words("stop_delay"))
    shutdown_timeout: float = Field(default=20.0, description=_words("shutdown_timeout"))
    cancellation_timeout: float = Field(default=5.0, description=_words("cancellation_timeout"))
    hang_timeout: float | None = Field(default=None, description=_words("hang_timeout"))
    lag_warning: float | None = Field(default=None, description=_words("lag_warning"))
    dump_signal: str | None = Field(default_factory=default_dump_signal, description=_words("dump_signal"))
    terminate_on_failure: bool = Field(default=False, description=_words("terminate_on_failure"))
    log_level: str = Field(default="INFO", description=_words("log_level"))
    log_format: str = Field(default="text", description=_words("log_format"))
    logging: str = Field(default="auto", description=_words("logging"))
    backend: str = Field(default="asyncio", description=_words("backend"))

    @field_validator(
        "startup_timeout",
        "stop_delay",
        "shutdown_timeout",
        "cancellation_timeout",
        "hang_timeout",
        "lag_warning",
        mode="before",
    )
    @classmethod
    def _take_duration(cls, value: object) -> object:
        if isinstance(value, bool):
            message = f"must be a number of seconds, got {value!r}"
            raise ValueError(message)  # noqa: TRY004  # pydantic takes no TypeError
        return value.total_seconds() if isinstance(value, timedelta) else value

    @field_validator(*OPTION_NAMES)
    @classmethod
    def _check(cls, value: object, info: ValidationInfo) -> Any:  # noqa: ANN401  # a validator for fields of all types
        return CHECKS[str(info.field_name)](value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read each source twice: the host's fields with the host's prefix, the others with the subclass's own."""
        env_file = getattr(dotenv_settings, "env_file", None)
        encoding = getattr(dotenv_settings, "env_file_encoding", None)
        secrets = getattr(file_secret_settings, "secrets_dir", None)
        # Whatever a subclass sets for its own fields.
        host: dict[str, Any] = {"case_sensitive": False, "env_prefix": PREFIX}
        environment = EnvSettingsSource(settings_cls, **host)
        dotenv = DotEnvSettingsSource(settings_cls, env_file, encoding, **host)
        _warn([*environment.env_vars, *dotenv.env_vars], settings_cls)
        for source in (environment, dotenv, env_settings, dotenv_settings, file_secret_settings):
            decode = partial(_decode, source.decode_complex_value)
            source.decode_complex_value = decode  # type: ignore[method-assign]  # the sources are pydantic's own
        return (
            init_settings,
            _HostFields(environment, host=True),
            _HostFields(env_settings, host=False),
            _HostFields(dotenv, host=True),
            _HostFields(dotenv_settings, host=False),
            _HostFields(SecretsSettingsSource(settings_cls, secrets, **host), host=True),
            _HostFields(file_secret_settings, host=False),
        )


class _HostFields(PydanticBaseSettingsSource):
    """Another source, of which only the host's own fields are taken, or only the others."""

    def __init__(self, source: PydanticBaseSettingsSource, *, host: bool) -> None:
        super().__init__(source.settings_cls)
        self._source = source
        self._host = host

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Leave that to the source."""
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Return the values of the source that are wanted."""
        return {name: value for name, value in self._source().items() if self._is_wanted(name)}

    def _is_wanted(self, name: str) -> bool:
        if self._host:
            return name in OPTION_NAMES
        # A `.env` file gives the host's variables to a subclass with another prefix as unknown ones, in full.
        return name not in OPTION_NAMES and not name.upper().startswith(PREFIX)


def _warn(variables: Sequence[str], kind: type[BaseSettings]) -> None:
    """Warn of variables that are nearly the host's, or nearly one of the prefix of *kind*."""
    prefix = str(kind.model_config.get("env_prefix") or "")
    own = [name for name in kind.model_fields if name not in OPTION_NAMES]
    known = [*(f"{prefix}{name}" for name in own), *(f"{PREFIX}{name}" for name in OPTION_NAMES)]
    known += [alias for field in kind.model_fields.values() for alias in _aliases(field)]
    delimiter = kind.model_config.get("env_nested_delimiter")
    if delimiter:  # SHOP_DATABASE__ID is part of the field database
        read = tuple(f"{name}{delimiter}".upper() for name in known)
        variables = [name for name in variables if not name.upper().startswith(read)]
    warn_of_slips(variables, PREFIX, OPTION_NAMES, known)
    if prefix:  # without one, every variable of the process would be looked at
        warn_of_slips(variables, prefix, own, known)


def _aliases(field: FieldInfo) -> Iterator[str]:
    for alias in (field.alias, field.validation_alias):
        for choice in alias.choices if isinstance(alias, AliasChoices) else (alias,):
            if isinstance(choice, str):
                yield choice


def _decode(decode: Callable[..., Any], field_name: str, field: FieldInfo | None, value: Any) -> Any:  # noqa: ANN401  # pydantic's signature
    """Return what a variable has for a field that is a list, a mapping or a model: JSON, or a list with commas.

    What is neither comes out as it is, so that it is reported as a wrong value, together with all others. *decode* is
    pydantic's own, which returns the text for a field that the class decodes itself.
    """
    if isinstance(decode(field_name, field, "[]"), str):
        return value
    annotation = None if field is None else field.annotation
    kinds = {get_origin(part) or part for part in (annotation, *get_args(annotation))}
    if kinds & {*LISTS} and not value.lstrip().startswith(("[", "{")):
        return [item.strip() for item in value.split(",")] if value.strip() else []
    try:
        return decode(field_name, field, value)
    except ValueError:
        return value


def to_options(settings: HostSettings) -> HostOptions:
    """Return the host's own fields of *settings*."""
    values = {name: getattr(settings, name) for name in OPTION_NAMES}
    if "application_name" not in settings.model_fields_set:
        values["application_name"] = FoundName(values["application_name"])
    return HostOptions(**values)


def parse(kind: type[S], arguments: Sequence[str] | None, program: str | None = None) -> S:
    """Return settings of *kind* from outside, with *arguments* as flags.

    Raises:
        WrongSettingsError: Values are wrong; all of them are named, with where they come from.
    """
    flags: CliSettingsSource[Any] | None = None
    try:
        if arguments is None:
            return kind()
        if asks_for_help(arguments):
            sys.stdout.write(help_text(program or "", tuple(_own_flags(kind)), HostOptions(**_defaults(kind))))
            raise SystemExit(0)
        flags = CliSettingsSource(
            kind,
            cli_prog_name=program,
            cli_parse_args=list(arguments),
            cli_kebab_case=True,
            cli_implicit_flags=True,
            cli_parse_none_str="none",
            cli_exit_on_error=False,
        )
        return kind(_cli_settings_source=flags)  # type: ignore[call-arg]  # a keyword of pydantic-settings, not a field
    except ValidationError as error:
        given = set() if flags is None else set(flags())
        lines = [_problem(kind, problem, given) for problem in error.errors()]
        raise WrongSettingsError("\n".join(lines)) from None
    except SettingsError as error:
        words = str(error).removeprefix("error parsing CLI: ")
        start, found, unknown = words.partition("unrecognized arguments: ")
        if found and not start:
            names = (next(_aliases(field), name) for name, field in kind.model_fields.items())
            words = unrecognized(unknown.split(" "), map(flag_of, names))
        raise WrongSettingsError(words) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"settings cannot be read: {error}"
        raise WrongSettingsError(message) from None


def _defaults(kind: type[HostSettings]) -> dict[str, Any]:
    """Return what *kind* has for the host's options where nothing is given, and none has to be."""
    fields = {name: kind.model_fields[name] for name in OPTION_NAMES if not kind.model_fields[name].is_required()}
    return {name: field.get_default(call_default_factory=True) for name, field in fields.items()}


def _own_flags(kind: type[BaseModel], prefix: str = "", outer: tuple[type[BaseModel], ...] = ()) -> Iterator[Flag]:
    """Yield the flags of the fields that *kind* adds; those of a model in it, each by the path to it."""
    for name, field in kind.model_fields.items():
        if name in OPTION_NAMES and not prefix:
            continue
        kinds = [part for part in (field.annotation, *get_args(field.annotation)) if isinstance(part, type)]
        models = [part for part in kinds if issubclass(part, BaseModel)]
        default = None
        if not field.is_required():
            default = "…" if field.default is PydanticUndefined else _shown_default(field.default)
        flag = f"{prefix}{next(_aliases(field), name)}"
        yield Flag(flag, _metavar(field, kinds, models), field.description or "", default)
        for model in models:
            # Of a list of models, and of one that holds itself, there are none.
            if get_origin(field.annotation) not in (*LISTS, dict) and model not in (*outer, kind):
                yield from _own_flags(model, f"{flag}.", (*outer, kind))


def _metavar(field: FieldInfo, kinds: Sequence[type], models: Sequence[type]) -> str:
    annotation = field.annotation
    if annotation is bool:
        return ""
    optional = "|none" if type(None) in get_args(annotation) else ""
    choices = [part for part in get_args(annotation) if isinstance(part, str)]
    for part in kinds:
        if issubclass(part, Enum):
            choices = [str(member.value) for member in part]
    if choices:
        return "|".join(choices) + optional
    origin = get_origin(annotation) or annotation
    if models or dict in (origin, *kinds):
        return "JSON" + optional
    if origin in LISTS:
        return "VALUE,…"
    known = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH", bool: "true|false"}
    return next((words for part, words in known.items() if part in kinds), "VALUE") + optional


def _shown_default(default: object) -> str:
    if default is None:
        return "none"
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, LISTS):
        return ",".join(map(_shown_default, default)) or "empty"
    if isinstance(default, dict):
        return json.dumps(default, default=str)
    return str(default)


def _problem(kind: type[HostSettings], problem: Mapping[str, Any], flags: set[str]) -> str:
    words = str(problem["msg"]).removeprefix("Value error, ").partition(", got ")[0]
    if not problem["loc"]:
        return words
    name, *inside = map(str, problem["loc"])
    field = kind.model_fields.get(name)
    flag = flag_of(name)
    variable = ((PREFIX if name in OPTION_NAMES else kind.model_config.get("env_prefix") or "") + name).upper()
    if field is None:  # found by its alias, which is the whole name of the variable
        variable = name
    if problem["type"] == "missing" and not inside:
        return f"{flag} (or {variable}) is required"
    words = ": ".join([*inside, words[:1].lower() + words[1:]])
    # What is, or may be in, a secret is not shown.
    shown = field is not None and not inside and "Secret" not in repr(field.annotation)
    value = ("none" if problem["input"] is None else problem["input"]) if shown else "…"
    return f"{flag} {value}: {words}" if name in flags else f"{variable}={value}: {words}"
