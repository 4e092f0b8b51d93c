"""HostSettings: the host's options as pydantic-settings reads them from outside."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, create_model, field_validator
from pydantic.fields import FieldInfo
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
    HostOptions,
    WrongSettingsError,
    default_dump_signal,
    main_module_name,
)

S = TypeVar("S", bound="HostSettings")


class HostSettings(BaseSettings):
    """The fields of `HostOptions`, read from outside: flags, then arguments, environment, ``.env``, secrets folder.

    The host's own fields are read from ``HOSTKIT_…`` variables, whatever ``env_prefix`` a subclass sets for the fields
    that it adds. ``none`` stands for None. Durations are in seconds. A variable that looks like one of the host's,
    misspelt, is a `UserWarning`.

    Raises:
        pydantic.ValidationError: Values are wrong; it tells of all of them.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_parse_none_str="none", cli_kebab_case=True)

    application_name: str = Field(default_factory=main_module_name, description="shown in log lines and in the status")
    environment: str = Field(default="production", description="free text, for example development")
    startup_timeout: float | None = Field(default=60.0, description="seconds for the start of all services, or none")
    shutdown_timeout: float = Field(default=20.0, description="seconds for services to end by themselves")
    cancellation_timeout: float = Field(default=5.0, description="seconds for cancelled services to end")
    hang_timeout: float | None = Field(
        default=None, description="leave when the event loop stands still so many seconds"
    )
    lag_warning: float | None = Field(
        default=None, description="name the line that blocks the event loop so many seconds"
    )
    dump_signal: str | None = Field(
        default_factory=default_dump_signal, description="signal that prints the status, or none"
    )
    terminate_on_failure: bool = Field(default=False, description="embedded: SIGTERM to the own process on failure")
    log_level: str = Field(default="INFO", description="TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR or CRITICAL")
    log_format: str = Field(default="text", description="text or json")
    backend: str = Field(default="asyncio", description="asyncio, uvloop or trio")

    @field_validator(
        "startup_timeout", "shutdown_timeout", "cancellation_timeout", "hang_timeout", "lag_warning", mode="before"
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
        _warn_of_slips([*environment.env_vars, *dotenv.env_vars], settings_cls)
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


def _warn_of_slips(variables: Iterable[str], kind: type[BaseSettings]) -> None:
    """Warn of variables that say nothing to the host, but nearly."""
    own = {f"{kind.model_config.get('env_prefix') or ''}{name}".upper() for name in kind.model_fields}
    known = [name.upper() for name in OPTION_NAMES]
    for variable in dict.fromkeys(map(str.upper, variables)):
        name = variable.removeprefix(PREFIX)
        if name == variable or variable in own or name in known:
            continue
        from difflib import get_close_matches

        # Others have such variables too: Kubernetes gives HOSTKIT_SERVICE_HOST to the neighbours of a service so named.
        for meant in get_close_matches(name, known, n=1, cutoff=0.8):
            message = f"{variable} is no variable of the host and is ignored: did you mean {PREFIX}{meant}?"
            warnings.warn(message, UserWarning, stacklevel=2)


class _FlagsOnly(HostSettings):
    """Flags of the host itself. They win over what its program and the environment say."""

    # Read from nowhere else; this docstring is shown by --help.

    @classmethod
    def settings_customise_sources(cls, *_args: object, **_kwargs: object) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read no source but the command line, which is not among these."""
        return ()


def read_settings() -> HostOptions:
    """Return the options as they are outside.

    Raises:
        WrongSettingsError: Values are wrong.
    """
    return to_options(parse(HostSettings, None))


def to_options(settings: HostSettings) -> HostOptions:
    """Return the host's own fields of *settings*."""
    return HostOptions(**{name: getattr(settings, name) for name in OPTION_NAMES})


def read_flags(options: HostOptions, arguments: Sequence[str], program: str) -> HostOptions:
    """Return *options* with what *arguments* give.

    Raises:
        WrongSettingsError: A flag is unknown, or a value is wrong.
    """
    asks_for_help = "-h" in arguments or "--help" in arguments
    settings = parse(_with_defaults(options) if asks_for_help else _FlagsOnly, arguments, program)
    given: dict[str, Any] = {name: getattr(settings, name) for name in settings.model_fields_set}
    return replace(options, **given)


def _with_defaults(options: HostOptions) -> type[_FlagsOnly]:
    """Return a class that shows *options* as what holds without flags."""
    fields: dict[str, Any] = {
        name: (field.annotation, Field(default=getattr(options, name), description=field.description))
        for name, field in HostSettings.model_fields.items()
    }
    return create_model("_WithDefaults", __base__=_FlagsOnly, __doc__=_FlagsOnly.__doc__, **fields)


def parse(kind: type[S], arguments: Sequence[str] | None, program: str | None = None) -> S:
    """Return settings of *kind* from outside, with *arguments* as flags.

    Raises:
        WrongSettingsError: Values are wrong; all of them are named, with where they come from.
    """
    flags: CliSettingsSource[Any] | None = None
    try:
        if arguments is None:
            return kind()
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
        raise WrongSettingsError(str(error)) from None


def _problem(kind: type[HostSettings], problem: Mapping[str, Any], flags: set[str]) -> str:
    words = str(problem["msg"]).removeprefix("Value error, ").partition(", got ")[0]
    if not problem["loc"]:
        return words
    name, *inside = map(str, problem["loc"])
    field = kind.model_fields.get(name)
    flag = "--" + name.replace("_", "-")
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
