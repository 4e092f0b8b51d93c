"""`hostkit.HostSettings`: the options as they are outside."""

import math
import re
import sys
from datetime import timedelta
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pytest
from pydantic import AliasChoices, BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, CliApp, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from hostkit import HostBuilder, HostOptions, HostSettings
from hostkit._config.options import OPTION_NAMES, PREFIX, WrongSettingsError
from hostkit._config.outside import read_flags, read_variables
from hostkit._config.settings import parse, to_options

S = TypeVar("S", bound=HostSettings)
SETTINGS_PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"
SECRET = "hunter2"  # noqa: S105  # what must not be shown


class Shop(HostSettings):
    """Settings of a program, on top of the host's."""

    model_config = SettingsConfigDict(env_prefix="SHOP_")

    directory: str = "data"
    dry_run: bool = False


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that tells hostkit nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {"PATH": "/bin"})
    return tmp_path


def write_secrets(folder: Path, **secrets: str) -> Path:
    """Make a folder with a file for each secret."""
    folder.mkdir()
    for name, value in secrets.items():
        (folder / name).write_text(value, encoding="utf-8")
    return folder


def made(kind: type[S], **values: Any) -> S:  # noqa: ANN401  # what no type checker has looked at
    """Make settings with what pydantic takes and the fields' types do not tell."""
    return kind(**values)


def problems(kind: type[HostSettings], *arguments: str) -> list[str]:
    """Return what is wrong with the settings outside, line by line."""
    with pytest.raises(WrongSettingsError) as caught:
        parse(kind, arguments or None, "app")
    return str(caught.value).splitlines()


def test_has_the_fields_and_defaults_of_the_options() -> None:
    """`HostSettings` are `HostOptions` that are read from outside: the same fields, the same defaults."""
    assert tuple(HostSettings.model_fields) == OPTION_NAMES
    assert to_options(HostSettings()) == HostOptions()
    assert all(field.description for field in HostSettings.model_fields.values())


def test_the_table_of_the_page_is_complete() -> None:
    """The table of `docs/reference/settings.md` names every option, with its default."""
    page = SETTINGS_PAGE.read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", page.partition("Of services")[0], re.MULTILINE))
    defaults = {name: getattr(HostOptions(), name) for name in OPTION_NAMES}
    defaults["application_name"] = "the main module's name"
    if sys.platform == "win32":
        defaults["dump_signal"] = "SIGUSR1"

    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in defaults.items()}
    assert {name: value.lower() for name, value in shown.items()} == {
        name: value.strip().lower() for name, value in table.items()
    }


def test_reads_every_field_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field has its variable, `HOSTKIT_` and the field's name."""
    given = {
        "application_name": "shop",
        "environment": "staging",
        "startup_timeout": "90.5",
        "stop_delay": "3",
        "shutdown_timeout": "0",
        "cancellation_timeout": "1",
        "hang_timeout": "30",
        "lag_warning": "0.5",
        "dump_signal": "sigusr2",
        "terminate_on_failure": "yes",
        "log_level": "debug",
        "log_format": "JSON",
        "logging": "loguru",
        "backend": "trio",
    }
    for name, value in given.items():
        monkeypatch.setenv(PREFIX + name.upper(), value)

    assert given.keys() == set(OPTION_NAMES)
    assert read_variables() == HostOptions(
        application_name="shop",
        environment="staging",
        startup_timeout=90.5,
        stop_delay=3,
        shutdown_timeout=0,
        cancellation_timeout=1,
        hang_timeout=30,
        lag_warning=0.5,
        dump_signal="SIGUSR2",
        terminate_on_failure=True,
        log_level="DEBUG",
        log_format="json",
        logging="loguru",
        backend="trio",
    )


def test_none_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """`none` switches off what may be off."""
    monkeypatch.setenv("HOSTKIT_STARTUP_TIMEOUT", "none")
    monkeypatch.setenv("HOSTKIT_DUMP_SIGNAL", "none")

    settings = HostSettings()
    flags = parse(HostSettings, ["--hang-timeout", "none"])

    assert (settings.startup_timeout, settings.dump_signal, flags.hang_timeout) == (None, None, None)


def test_the_order_of_the_sources(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag wins over code, code over the environment, then come `.env`, the secrets folder and the default."""
    # Each source says something to all fields but those that are left for the sources after it.
    fields = ["LOG_LEVEL", "ENVIRONMENT", "APPLICATION_NAME", "SHUTDOWN_TIMEOUT", "CANCELLATION_TIMEOUT"]
    for name in fields[:3]:
        monkeypatch.setenv(f"HOSTKIT_{name}", "1")
    (outside / ".env").write_text("".join(f"HOSTKIT_{name}=2\n" for name in fields[:4]) + "SHOP_DRY_RUN=true\n")
    secrets = write_secrets(outside / "secrets", **{f"hostkit_{name}": "3" for name in fields}, shop_directory="3")

    class Coded(Shop):
        model_config = SettingsConfigDict(secrets_dir=secrets)

        def __init__(self, **values: Any) -> None:  # noqa: ANN401  # pydantic's own
            super().__init__(environment="code", log_level="ERROR", **values)

    settings = parse(Coded, ["--log-level", "TRACE"])

    assert settings.log_level == "TRACE"  # the flag
    assert settings.environment == "code"
    assert settings.application_name == "1"  # the environment
    assert (settings.shutdown_timeout, settings.dry_run) == (2, True)  # .env
    assert (settings.cancellation_timeout, settings.directory) == (3, "3")  # the secrets folder
    assert settings.startup_timeout == 60  # the default


def test_code_and_environment_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """What code does not say is read from outside: `HostSettings(application_name="x")`."""
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "3")
    monkeypatch.setenv("HOSTKIT_APPLICATION_NAME", "variable")

    options = HostBuilder(HostSettings(application_name="x")).options

    assert (options.application_name, options.shutdown_timeout) == ("x", 3)


def test_code_may_give_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    """In code a duration may be a timedelta."""
    settings = made(HostSettings, shutdown_timeout=timedelta(minutes=1), hang_timeout=timedelta(seconds=30))

    assert (settings.shutdown_timeout, settings.hang_timeout) == (60, 30)


@pytest.mark.parametrize("name", ["startup_timeout", "shutdown_timeout", "hang_timeout"])
@pytest.mark.parametrize("value", [True, False, -1, math.nan, math.inf, timedelta(seconds=-1), "soon"])
def test_refuses_wrong_durations_in_code(name: str, value: object) -> None:
    """A wrong duration is refused; a bool is none."""
    with pytest.raises(ValidationError, match=f"(?s)^1 validation error.*\n{name}\n"):
        made(HostSettings, **{name: value})


def test_refuses_wrong_values_in_code() -> None:
    """All wrong values are reported together, as pydantic does."""
    with pytest.raises(ValidationError) as caught:
        made(HostSettings, log_format="xml", backend="curio", environment="", terminate_on_failure="perhaps")

    assert [problem["loc"] for problem in caught.value.errors()] == [
        ("environment",),
        ("terminate_on_failure",),
        ("log_format",),
        ("backend",),
    ]


@pytest.mark.parametrize("prefix", ["", "SHOP_", "HOSTKIT_"])
def test_the_hosts_variables_keep_their_prefix(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's fields are `HOSTKIT_...`, whatever prefix a subclass has for its own."""

    class Own(HostSettings):
        model_config = SettingsConfigDict(env_prefix=prefix)

        directory: str = "data"

    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "3")
    monkeypatch.setenv(f"{prefix}DIRECTORY", "logs")
    if prefix != PREFIX:
        # Whatever these are, they are not for the host.
        for name, value in {"SHUTDOWN_TIMEOUT": "99", "ENVIRONMENT": "wrong", "LAG_WARNING": "wrong"}.items():
            monkeypatch.setenv(prefix + name, value)

    settings = Own()

    assert (settings.shutdown_timeout, settings.directory) == (3, "logs")
    assert (settings.environment, settings.lag_warning) == ("production", None)


def test_the_hosts_variables_are_found_in_any_case(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass whose own variables have a case does not hide the host's."""

    class Exact(HostSettings):
        model_config = SettingsConfigDict(case_sensitive=True, env_prefix="shop_")

        directory: str = "data"

    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "3")
    monkeypatch.setenv("shop_directory", "logs")
    (outside / ".env").write_text("HOSTKIT_LAG_WARNING=2\n")

    settings = Exact()

    assert (settings.shutdown_timeout, settings.directory, settings.lag_warning) == (3, "logs", 2)


@pytest.mark.parametrize("extra", ["ignore", "allow", "forbid"])
def test_the_hosts_lines_in_dotenv_are_no_strangers(extra: str, outside: Path) -> None:
    """Whatever a subclass does with unknown variables in `.env`, the host's are not among them."""

    class Strict(HostSettings):
        model_config = SettingsConfigDict(extra=extra, env_prefix="SHOP_")  # type: ignore[typeddict-item]

        directory: str = "data"

    (outside / ".env").write_text("HOSTKIT_LAG_WARNING=2\nSHOP_DIRECTORY=logs\n")

    settings = Strict()

    assert (settings.lag_warning, settings.directory) == (2, "logs")
    assert not settings.model_extra


@pytest.mark.parametrize(
    "name", ["HOSTKIT_SHUTDOWN_TIMOUT", "HOSTKIT_SHUTDOWN_TIMEOUT_SECONDS", "hostkit_Shutdown_Time"]
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_misspelt_variable_is_named(name: str, place: str, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ignored, but not silently."""
    if place == "environment":
        monkeypatch.setenv(name, "5")
    else:
        (outside / ".env").write_text(f"{name}=5\n")
    words = f"{name.upper()} is no variable of the host and is ignored: did you mean HOSTKIT_SHUTDOWN_TIMEOUT?"
    with pytest.warns(UserWarning, match=re.escape(words)) as caught:
        builder = HostBuilder()
    assert [warning.filename for warning in caught] == [__file__]
    assert builder.options.shutdown_timeout == 20.0


@pytest.mark.parametrize("name", ["HOSTKIT_SERVICE_HOST", "HOSTKIT_PORT", "HOSTKIT_PORT_80_TCP", "HOSTKIT_LOG_FILE"])
def test_a_variable_of_somebody_else_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not near to one of the host's is nobody's mistake."""
    monkeypatch.setenv(name, "5")
    assert read_variables() == HostOptions()  # and warnings are errors


def test_a_subclass_may_name_its_fields_like_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own fields are no mistakes, however near."""

    class Sibling(HostSettings):
        model_config = SettingsConfigDict(env_prefix="HOSTKIT_")

        log_levels: str = ""

    monkeypatch.setenv("HOSTKIT_LOG_LEVELS", "all")
    assert Sibling().log_levels == "all"


def test_another_dotenv_file(outside: Path) -> None:
    """A subclass, or the call, names another file and its encoding; both the host's fields and its own are in it."""
    (outside / ".env").write_text("HOSTKIT_ENVIRONMENT=wrong\n")
    (outside / "shop.env").write_bytes("HOSTKIT_ENVIRONMENT=Türkiye\nSHOP_DIRECTORY=günlük\n".encode("iso8859-9"))

    settings = made(Shop, _env_file="shop.env", _env_file_encoding="iso8859-9")

    assert (settings.environment, settings.directory) == ("Türkiye", "günlük")


def test_no_dotenv_file(outside: Path) -> None:
    """A subclass may read no file at all."""

    class Fileless(HostSettings):
        model_config = SettingsConfigDict(env_file=None)

    (outside / ".env").write_text("HOSTKIT_ENVIRONMENT=wrong\n")

    assert Fileless().environment == "production"


def test_a_subclass_may_change_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's field with another default is still the host's, and still checked."""

    class Patient(HostSettings):
        model_config = SettingsConfigDict(env_prefix="SHOP_")

        shutdown_timeout: float = 60

    assert Patient().shutdown_timeout == 60
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "-1")
    assert problems(Patient) == ["HOSTKIT_SHUTDOWN_TIMEOUT=-1: must be a number of seconds, 0 or more"]


def test_a_subclass_may_have_sources_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources that a subclass is given to choose from are ordinary ones of pydantic-settings."""
    found: list[object] = []

    class Choosy(HostSettings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *args: PydanticBaseSettingsSource,
            **kwargs: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            first, environment, *_ = super().settings_customise_sources(settings_cls, *args, **kwargs)
            found.append(environment.get_field_value(settings_cls.model_fields["environment"], "environment"))
            return first, environment

    monkeypatch.setenv("HOSTKIT_ENVIRONMENT", "staging")

    assert Choosy().environment == "staging"
    assert found == [("staging", "environment", False)]


def test_reports_all_wrong_values_together(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All wrong values are named on a line each, by variable and value, the subclass's own among them."""
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "-1")
    monkeypatch.setenv("HOSTKIT_LOG_FORMAT", "xml")
    monkeypatch.setenv("HOSTKIT_LAG_WARNING", "true")
    monkeypatch.setenv("HOSTKIT_CANCELLATION_TIMEOUT", "none")
    monkeypatch.setenv("SHOP_DRY_RUN", "perhaps")
    (outside / ".env").write_text("HOSTKIT_BACKEND=curio\n")

    assert problems(Shop) == [
        "HOSTKIT_SHUTDOWN_TIMEOUT=-1: must be a number of seconds, 0 or more",
        "HOSTKIT_CANCELLATION_TIMEOUT=none: input should be a valid number",
        "HOSTKIT_LAG_WARNING=true: input should be a valid number, unable to parse string as a number",
        "HOSTKIT_LOG_FORMAT=xml: must be one of text, json",
        "HOSTKIT_BACKEND=curio: must be one of asyncio, uvloop, trio",
        "SHOP_DRY_RUN=perhaps: input should be a valid boolean, unable to interpret input",
    ]


def test_the_builder_reports_what_is_wrong_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A builder without options reads the environment, and refuses it before any service is touched."""
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "-1")
    monkeypatch.setenv("HOSTKIT_LOG_FORMAT", "xml")

    with pytest.raises(WrongSettingsError) as caught:
        HostBuilder()

    assert str(caught.value) == (
        "HOSTKIT_SHUTDOWN_TIMEOUT=-1: must be a number of seconds, 0 or more\n"
        "HOSTKIT_LOG_FORMAT=xml: must be one of text, json"
    )


def test_wrong_flags_are_named_as_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came as a flag is told as one, what came from a variable as that."""
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "3")
    monkeypatch.setenv("HOSTKIT_LOG_FORMAT", "xml")

    assert problems(Shop, "--shutdown-timeout", "-1", "--cancellation-timeout", "none") == [
        "--shutdown-timeout -1: must be a number of seconds, 0 or more",
        "--cancellation-timeout none: input should be a valid number",
        "HOSTKIT_LOG_FORMAT=xml: must be one of text, json",
    ]


def test_what_is_required_is_named_both_ways() -> None:
    """A field without a default is asked for by flag and by variable."""

    class Required(Shop):
        keep_at_most: int

    assert problems(Required) == ["--keep-at-most (or SHOP_KEEP_AT_MOST) is required"]
    assert problems(Required, "--dry-run") == ["--keep-at-most (or SHOP_KEEP_AT_MOST) is required"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--wrong"], "unrecognized arguments: --wrong"),
        (["stray"], "unrecognized arguments: stray"),
        (["--directory"], "argument --directory: expected one argument"),
    ],
)
def test_flags_that_cannot_be_read(arguments: list[str], words: str) -> None:
    """An unknown or incomplete flag is an error, not an exit."""
    assert problems(Shop, *arguments) == [words]


def test_flags_of_the_hosts_and_of_its_own() -> None:
    """Every field is a flag, in kebab case; a bool needs no value."""
    settings = parse(Shop, ["--directory", "logs", "--dry-run", "--shutdown-timeout", "3"])

    assert (settings.directory, settings.dry_run, settings.shutdown_timeout) == ("logs", True, 3)
    assert parse(Shop, ["--no-dry-run"]).dry_run is False
    assert parse(Shop, []).directory == "data"


def test_flags_are_the_same_by_pydantics_own_command_line() -> None:
    """Settings that are read by `pydantic_settings.CliApp` have the same flags."""
    settings = CliApp.run(Shop, cli_args=["--shutdown-timeout", "3", "--directory", "logs"])

    assert (settings.directory, settings.shutdown_timeout) == ("logs", 3)


class Guarded(HostSettings):
    """Settings with secrets in all forms."""

    model_config = SettingsConfigDict(env_nested_delimiter="__", populate_by_name=True)

    class Database(BaseModel):
        password: SecretStr = Field(min_length=10)
        port: int = 5432

    token: SecretStr | None = Field(default=None, min_length=10)
    api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("KEY", "OLD_KEY"), min_length=10)
    database: Database | None = None


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of a `SecretStr` is not in the report, be it in a field, behind an alias or inside another value."""
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("KEY", SECRET)
    monkeypatch.setenv("DATABASE__PASSWORD", SECRET)
    monkeypatch.setenv("DATABASE__PORT", "none")

    assert problems(Guarded) == [
        "TOKEN=…: value should have at least 10 items after validation, not 7",
        "KEY=…: value should have at least 10 items after validation, not 7",
        "DATABASE=…: password: value should have at least 10 items after validation, not 7",
        "DATABASE=…: port: input should be a valid integer",
    ]
    assert problems(Guarded, "--token", SECRET)[0].startswith("--token …: ")


def test_what_is_missing_inside_a_value_is_told_inside() -> None:
    """A part that is missing is not confused with the whole."""
    assert problems(Guarded, "--database", '{"port": 1}') == ["--database …: password: field required"]


def test_strangers_are_not_shown(outside: Path) -> None:
    """A variable that a strict subclass does not know may be somebody's secret."""

    class Strict(HostSettings):
        model_config = SettingsConfigDict(extra="forbid")

    (outside / ".env").write_text(f"OTHER={SECRET}\n")

    assert problems(Strict) == ["other=…: extra inputs are not permitted"]


def test_a_check_of_the_whole_is_told_in_its_words() -> None:
    """What a validator of the whole model says is told as it is."""

    class Checked(Shop):
        @model_validator(mode="after")
        def _check_both(self) -> "Checked":
            message = "directory and dry_run exclude each other"
            raise ValueError(message)

    assert problems(Checked) == ["directory and dry_run exclude each other"]


def test_a_value_that_cannot_be_parsed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that should be JSON and is not is reported like any other wrong value, together with the others."""

    class Listed(HostSettings):
        limits: dict[str, int] = Field(default={})
        ports: list[int] = Field(default=[])

    monkeypatch.setenv("LIMITS", "a=1")
    monkeypatch.setenv("PORTS", "80,http")
    monkeypatch.setenv("HOSTKIT_LOG_FORMAT", "xml")

    lines = problems(Listed)
    assert [line.partition(":")[0] for line in lines] == ["HOSTKIT_LOG_FORMAT=xml", "LIMITS=a=1", "PORTS=…"]


def test_a_list_may_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is given as JSON, or plainly with commas."""

    class Listed(HostSettings):
        hosts: list[str] = Field(default=[])
        ports: tuple[int, ...] | None = None

    monkeypatch.setenv("HOSTS", "a, b")
    monkeypatch.setenv("PORTS", "80,443")
    plain = Listed()
    monkeypatch.setenv("HOSTS", '["a", "b"]')

    assert plain.hosts == Listed().hosts == ["a", "b"]
    assert plain.ports == (80, 443)


@pytest.mark.parametrize(
    ("text", "expected"), [("8080", ["8080"]), ("true", ["true"]), ("null", ["null"]), ("", []), (" ", [])]
)
def test_a_list_of_one_is_a_list(text: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is JSON by chance is an item like any other, and nothing is an empty list."""

    class Listed(HostSettings):
        words: list[str] = Field(default=["default"])

    monkeypatch.setenv("WORDS", text)

    assert Listed().words == expected


def test_a_list_in_a_file_of_secrets_may_have_commas(tmp_path: Path) -> None:
    """A file is read like a variable."""

    class Listed(HostSettings):
        model_config = SettingsConfigDict(secrets_dir=tmp_path)

        words: list[str] = Field(default=[])

    (tmp_path / "words").write_text("a, b")

    assert Listed().words == ["a", "b"]


def test_the_values_of_a_mapping_are_text_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping that is given by one variable for each key need not have JSON in them."""

    class Labelled(HostSettings):
        model_config = SettingsConfigDict(env_nested_delimiter="__")

        labels: dict = Field(default={})  # type: ignore[type-arg]  # of whatever there is

    monkeypatch.setenv("LABELS__NAME", "x")

    assert Labelled().labels == {"name": "x"}


@pytest.mark.parametrize(("kind", "enabled"), [(Annotated[list[str], NoDecode], True), (list[str], False)])
def test_a_class_may_decode_its_lists_itself(kind: Any, monkeypatch: pytest.MonkeyPatch, *, enabled: bool) -> None:  # noqa: ANN401  # an annotation
    """`NoDecode` and ``enable_decoding=False`` hold as for any settings of pydantic's."""

    class Own(HostSettings):
        model_config = SettingsConfigDict(enable_decoding=enabled)

        words: kind = Field(default=[])

        @field_validator("words", mode="before")
        @classmethod
        def split(cls, value: str) -> list[str]:
            return value.split(";")

    monkeypatch.setenv("WORDS", "a,b;c")

    assert Own().words == ["a,b", "c"]


def test_a_misspelt_variable_of_the_users_own_prefix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with the prefix of a settings class that is nearly one of its fields is warned of."""
    monkeypatch.setenv("SHOP_DIRECTRY", "logs")
    monkeypatch.setenv("SHOP_SERVICE_PORT", "80")

    with pytest.warns(
        UserWarning, match="^SHOP_DIRECTRY is no variable of the settings .* mean SHOP_DIRECTORY"
    ) as caught:
        Shop()

    assert [warning.filename for warning in caught] == [__file__]


def test_a_variable_of_a_part_is_no_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a delimiter for what is nested, the variable of a part of a field is read, and not warned of."""

    class Nested(HostSettings):
        model_config = SettingsConfigDict(env_prefix="SHOP_", env_nested_delimiter="__")

        database: dict[str, str] = Field(default={})

    monkeypatch.setenv("SHOP_DATABASE__ID", "a7")

    assert Nested().database == {"id": "a7"}  # and warnings are errors


def test_a_flag_that_was_meant_is_named() -> None:
    """A flag that is nearly one is answered with that one, with settings of the user's and without."""
    assert problems(Shop, "--dryrun") == ["unrecognized arguments: --dryrun; did you mean --dry-run?"]
    with pytest.raises(WrongSettingsError, match="--shutdwon-timeout=3; did you mean --shutdown-timeout"):
        read_flags(HostOptions(), ["--shutdwon-timeout=3"])


def test_help_lists_the_own_flags_first(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` shows the program's own flags, then the host's under a heading, with values as they are to be given."""

    class Color(StrEnum):
        RED = "red"

    class Inner(BaseModel):
        port: int = 5432

    class Many(Shop):
        keep: int = Field(description="how many files to keep")
        color: Color | None = Color.RED
        mode: Literal["fast", "slow"] = "fast"
        tags: tuple[str, ...] = ("a", "b")
        names: list[str] = Field(default_factory=list)
        limits: dict[str, int] = Field(default={})
        folder: Path | None = None
        when: timedelta | None = None
        inner: Inner = Inner()

    with pytest.raises(SystemExit) as caught:
        parse(Many, ["--help"], "hostkit run app.py")

    out = capsys.readouterr().out
    own, _, host = out.partition("\noptions of the host; variables HOSTKIT_… say the same:\n")
    assert caught.value.code == 0
    for line in (
        "  --dry-run, --no-dry-run       (default: no)",
        "  --keep NUMBER                 how many files to keep (required)",
        "  --color red|none              (default: red)",
        "  --mode fast|slow              (default: fast)",
        "  --tags VALUE,…                (default: a,b)",
        "  --names VALUE,…               (default: …)",
        "  --folder PATH|none            (default: none)",
        "  --when VALUE|none             (default: none)",
        "  --inner.port NUMBER           (default: 5432)",
    ):
        assert f"\n{line}\n" in own
    assert "  --shutdown-timeout SECONDS    for services to end by themselves (default: 20)\n" in host
    assert "  --startup-timeout SECONDS|none\n" in host
    assert "(default: the main module's name)" in " ".join(host.split())
    assert "factory" not in out
    assert "--shutdown-timeout" not in own


class Node(BaseModel):
    """A model that holds itself."""

    name: str = "root"
    child: "Node | None" = None


def test_help_shows_flags_as_they_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """A field with an alias has that for its flag, a list of models is JSON, and a default could be given back."""

    class Mode(Enum):
        FAST = "fast"
        SLOW = "slow"

    class Aliased(HostSettings):
        application_name: str  # required
        directory: Path = Field(default=Path("x"), alias="DIR")
        target: str = Field(default="t", validation_alias=AliasChoices("aim", "target"))
        tree: Node = Node()
        trees: list[Node] = Field(default=[])
        limits: dict[str, int] = Field(default={"a": 1})
        modes: list[Mode] = Field(default=[Mode.FAST, Mode.SLOW])

    with pytest.raises(SystemExit) as caught:
        parse(Aliased, ["--help"], "hostkit run app.py")

    own = capsys.readouterr().out.partition("\noptions of the host")[0]
    assert caught.value.code == 0
    assert [" ".join(line.split()) for line in own.splitlines()[3:]] == [
        "--DIR PATH (default: x)",
        "--aim TEXT (default: t)",
        "--tree JSON (default: name='root' child=None)",
        "--tree.name TEXT (default: root)",
        "--tree.child JSON|none (default: none)",
        "--trees JSON (default: empty)",
        '--limits JSON (default: {"a": 1})',
        "--modes fast|slow (default: fast,slow)",
    ]


def test_a_flag_that_was_meant_is_named_by_its_alias() -> None:
    """The name of a field that has an alias is no flag."""

    class Aliased(HostSettings):
        directory: Path = Field(default=Path("x"), alias="folder")

    with pytest.raises(WrongSettingsError, match=r"did you mean --folder\?$"):
        parse(Aliased, ["--foldr", "y"])


def test_flags_change_options_that_are_made() -> None:
    """Flags reach a host that was built at import: they change what they name, and nothing else is read."""
    options = HostOptions(application_name="x", shutdown_timeout=7, log_level="ERROR")

    changed = read_flags(options, ["--shutdown-timeout", "3", "--startup-timeout", "none"])

    assert changed == HostOptions(application_name="x", shutdown_timeout=3, startup_timeout=None, log_level="ERROR")
    assert read_flags(options, []) == options


def test_flags_alone_read_nothing_outside(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that was built in code is not changed by variables when it is run with flags."""
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "-1")
    (outside / ".env").write_text("HOSTKIT_LOG_FORMAT=xml\n")

    assert read_flags(HostOptions(lag_warning=None), ["--lag-warning", "2"]) == HostOptions(lag_warning=2)


def test_wrong_flags_for_made_options() -> None:
    """Wrong flags are reported together."""
    with pytest.raises(WrongSettingsError) as caught:
        read_flags(HostOptions(), ["--shutdown-timeout", "-1", "--backend", "curio"])

    assert str(caught.value).splitlines() == [
        "--shutdown-timeout -1: must be a number of seconds, 0 or more",
        "--backend curio: must be one of asyncio, uvloop, trio",
    ]


def test_flags_that_cannot_be_read_without_settings() -> None:
    """A flag without its value is an error; a switch has two forms, and an equals sign may stand before a value."""
    for arguments in (["--backend"], ["--backend", "--log-level"]):
        with pytest.raises(WrongSettingsError, match=r"^argument --backend: expected one argument$"):
            read_flags(HostOptions(), arguments)

    assert read_flags(HostOptions(), ["--terminate-on-failure", "--backend=trio"]).terminate_on_failure is True
    assert read_flags(HostOptions(terminate_on_failure=True), ["--no-terminate-on-failure"]) == HostOptions()


def test_a_file_that_cannot_be_read_is_named(outside: Path) -> None:
    """A `.env` that is no text is refused with a line, with settings of the user's and without."""
    (outside / ".env").write_bytes(b"HOSTKIT_LOG_LEVEL=DEBUG\n\xff\xfe")

    with pytest.raises(WrongSettingsError, match=r"^\.env cannot be read: "):
        read_variables()
    (line,) = problems(Shop)
    assert line.startswith("settings cannot be read: ")


def test_wrong_variables_are_reported_together_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wrong variable of the host is named with its value; `none` and words for yes and no are understood."""
    monkeypatch.setenv("HOSTKIT_SHUTDOWN_TIMEOUT", "soon")
    monkeypatch.setenv("HOSTKIT_TERMINATE_ON_FAILURE", "perhaps")
    monkeypatch.setenv("HOSTKIT_BACKEND", "none")

    with pytest.raises(WrongSettingsError) as caught:
        read_variables()

    assert str(caught.value).splitlines() == [
        "HOSTKIT_SHUTDOWN_TIMEOUT=soon: must be a number of seconds, 0 or more",
        "HOSTKIT_TERMINATE_ON_FAILURE=perhaps: must be true or false",
        "HOSTKIT_BACKEND=none: must be one of asyncio, uvloop, trio",
    ]
