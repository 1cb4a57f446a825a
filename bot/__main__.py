"""The command line. Each command imports what it needs when it runs, so `--help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from core.errors import ConfigError

# What libraries would load beside what we use, if they could; each does without.
_UNUSED = (
    "rich",  # coloured tracebacks of structlog, which are never shown: 5 MiB and 0.1 s
    "httpx._main",  # httpx as a command, with click and pygments: 1.3 MiB
    "httpcore._async.http2",  # HTTP/2, which no client of ours speaks: 1.3 MiB
    "httpcore._sync.http2",
)
for _module in _UNUSED:
    sys.modules.setdefault(_module, None)  # pyright: ignore[reportArgumentType]

EXIT_CONFIG = 78  # sysexits.h EX_CONFIG: a supervisor must not restart us, a person must act

app = typer.Typer(
    name="oculichat",
    help="Eye-health service on WeChat, Telegram and the web.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class _PhotosFirst(typer.core.TyperGroup):
    """`fundus PHOTO…` is `fundus read PHOTO…`; a photo called `drift` is `./drift`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer hides click's types
        is_photo = args and args[0] not in {*self.commands, "--help"}
        return super().parse_args(ctx, ["read", *args] if is_photo else args)


fundus = typer.Typer(help="Read fundus photos from files.", cls=_PhotosFirst, no_args_is_help=True)
app.add_typer(fundus, name="fundus")
reminders = typer.Typer(help="Look at planned reminders.", no_args_is_help=True)
app.add_typer(reminders, name="reminders")
followups = typer.Typer(help="What became of follow-ups.", no_args_is_help=True)
app.add_typer(followups, name="followups")
evaluate = typer.Typer(help="Measure a part on a labelled file.", no_args_is_help=True)
app.add_typer(evaluate, name="eval")
books = typer.Typer(help="A clinic's own books in the knowledge base.", no_args_is_help=True)
app.add_typer(books, name="kb")

weights = typer.Typer(help="Weights by name or address.", no_args_is_help=True)
app.add_typer(weights, name="models")
lmdeploy = typer.Typer(help="Run an LMDeploy server, or ask a server.", no_args_is_help=True)
app.add_typer(lmdeploy, name="lmdeploy")

wechat = typer.Typer(help="Connect to WeChat.", no_args_is_help=True)
app.add_typer(wechat, name="wechat")

staff = typer.Typer(help="Accounts of the console.", no_args_is_help=True)
app.add_typer(staff, name="staff")

_Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file; default: $OCULICHAT_CONFIG, config.yaml."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def serve(config: _Config = None) -> None:
    """Run the service until it is told to stop (SIGTERM or Ctrl-C)."""
    from bot.serve import serve_until_stopped  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    serve_until_stopped(load(config))


@app.command()
def demo(
    host: Annotated[
        str, typer.Option(help="0.0.0.0 lets phones on your network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the web chat.")] = 8080,
    config: _Config = None,
) -> None:
    """Start on this machine with web chat and no account, and say where to look."""
    from bot.serve import serve_demo  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    serve_demo(load(config), host, port)


@app.command()
def chat(
    as_json: Annotated[
        bool, typer.Option("--json", help="Read and write JSON lines, for scripts.")
    ] = False,
    llm: Annotated[str, typer.Option(help="off forces the guided consult.")] = "auto",
    config: _Config = None,
) -> None:
    """Talk to the service in this terminal."""
    from bot.chat import run_chat  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    if llm not in ("auto", "off"):
        raise typer.BadParameter("auto or off", param_hint="--llm")
    run_chat(load(config), as_json=as_json, without_llm=llm == "off")


@app.command()
def migrate(
    config: _Config = None,
    check: Annotated[bool, typer.Option("--check", help="Only tell; status 1 if needed.")] = False,
) -> None:
    """Bring the database to this version's schema; SQLite files are backed up before."""
    from bot.operate import migrate_database  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(migrate_database(load(config), check=check))


@fundus.command("read")
def read_fundus(
    photos: Annotated[list[Path], typer.Argument(help="Photos to read.")],
    as_json: _Json = False,
    card: Annotated[Path | None, typer.Option(help="Folder for the result pictures.")] = None,
    language: Annotated[str, typer.Option(help="zh-Hans or en.")] = "zh-Hans",
    config: _Config = None,
) -> None:
    """Read fundus photos from files."""
    from bot.read_photos import read_photos  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(
        read_photos(load(config), photos, as_json=as_json, card_folder=card, language=language)
    )


_FirstDay = Annotated[str | None, typer.Option("--from", help="First day the photos came.")]
_LastDay = Annotated[str | None, typer.Option("--to", help="Last day; default: today.")]


@fundus.command("drift")
def watch_drift(
    first: _FirstDay = None, last: _LastDay = None, as_json: _Json = False, config: _Config = None
) -> None:
    """Compare what the reader said from week to week, by channel; status 1 if a week differs."""
    from bot.fundus_reports import print_drift  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(print_drift(load(config), first=first, last=last, as_json=as_json))


@fundus.command("agreement")
def compare_with_doctors(
    first: _FirstDay = None, last: _LastDay = None, as_json: _Json = False, config: _Config = None
) -> None:
    """Compare readings with what doctors recorded in the console, by version of the weights."""
    from bot.fundus_reports import print_agreement  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(print_agreement(load(config), first=first, last=last, as_json=as_json))


@reminders.command("list")
def list_reminders(as_json: _Json = False, config: _Config = None) -> None:
    """List reminders that are still to come, soonest first."""
    from bot.operate import print_reminders  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    print_reminders(load(config), as_json=as_json)


@followups.command("report")
def report_follow_ups(
    first: Annotated[
        str | None, typer.Option("--from", help="First due day; default: a year before the last.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last due day; default: today.")] = None,
    as_json: _Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    config: _Config = None,
) -> None:
    """Count visits due, reminded, confirmed, seen on time and lost, by reason, channel, cadence."""
    from bot.followups import print_report  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    if as_json and as_csv:
        raise typer.BadParameter("--json or --csv, not both", param_hint="--csv")
    raise typer.Exit(
        print_report(load(config), first=first, last=last, as_json=as_json, as_csv=as_csv)
    )


@app.command()
def doctor(as_json: _Json = False, config: _Config = None) -> None:
    """Check settings, database, model, LLM and channels; status 1 when something is wrong."""
    from bot.operate import run_doctor  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(run_doctor(load(config), as_json=as_json))


@app.command()
def triage(
    words: Annotated[str, typer.Argument(help="What the person wrote.")],
    context: Annotated[
        list[str] | None, typer.Option(help='Earlier line: "user: …" or "bot: …"; repeatable.')
    ] = None,
    as_json: _Json = False,
) -> None:
    """Tell whether a message is a red flag, and why."""
    from bot import judge  # noqa: PLC0415

    judge.triage(words, context or [], as_json=as_json)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="A question about eye health.")],
    as_json: _Json = False,
    config: _Config = None,
) -> None:
    """Answer a question from the knowledge base."""
    from bot import judge  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    judge.ask(load(config), question, as_json=as_json)


@books.command("add")
def add_books(
    files: Annotated[list[Path], typer.Argument(help="Markdown, text, DOCX or PDF files.")],
    title: Annotated[str | None, typer.Option(help="Name in citations; for one file.")] = None,
    config: _Config = None,
) -> None:
    """Take in a clinic's own books; status 1 if one could not be used."""
    from bot import kb  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(kb.add_books(load(config), files, title=title))


@books.command("list")
def list_books(as_json: _Json = False, config: _Config = None) -> None:
    """List the books."""
    from bot import kb  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(kb.list_books(load(config), as_json=as_json))


_BookId = Annotated[str, typer.Argument(help="Name as `kb list` shows it.")]


@books.command("show")
def show_book(book: _BookId, config: _Config = None) -> None:
    """Print a book's passages as they are searched."""
    from bot import kb  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(kb.show_book(load(config), book))


@books.command("remove")
def remove_book(book: _BookId, config: _Config = None) -> None:
    """Take a book out."""
    from bot import kb  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(kb.remove_book(load(config), book))


_Dataset = Annotated[Path, typer.Argument(help="JSON lines.")]
_Predictions = Annotated[Path | None, typer.Option(help="Also write what was predicted.")]


@evaluate.command("triage")
def evaluate_triage(
    dataset: _Dataset, predictions: _Predictions = None, as_json: _Json = False
) -> None:
    """Score the red-flag engine: sensitivity, specificity, questions asked."""
    from bot import judge  # noqa: PLC0415

    judge.evaluate_triage(dataset, predictions, as_json=as_json)


@evaluate.command("retrieval")
def evaluate_retrieval(
    dataset: _Dataset, predictions: _Predictions = None, as_json: _Json = False
) -> None:
    """Score the knowledge search: hits among the first one and three, rejections."""
    from bot import judge  # noqa: PLC0415

    judge.evaluate_retrieval(dataset, predictions, as_json=as_json)


@evaluate.command("fundus")
def evaluate_fundus(
    labels: Annotated[Path, typer.Argument(help="CSV with a column `file` and what is known.")],
    predictions: Annotated[Path | None, typer.Option(help="CSV to write, a row per photo.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for a page and plots.")] = None,
    split: Annotated[str | None, typer.Option(help="Only rows of this split.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Photos at once; default: half the cores.")
    ] = None,
    as_json: _Json = False,
    config: _Config = None,
) -> None:
    """Measure the fundus reader on labelled photos; status 1 if one could not be read."""
    from bot.evaluate_fundus import Wanted, evaluate_fundus  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    wanted = Wanted(labels, predictions, report, split, workers, as_json)
    raise typer.Exit(evaluate_fundus(load(config), wanted))


@evaluate.command("tools")
def evaluate_tools(
    dataset: _Dataset,
    tools: Annotated[Path, typer.Option(help="Tools as in an OpenAI request, JSON.")],
    predictions: _Predictions = None,
    as_json: _Json = False,
) -> None:
    """Score how tool calls are read from what models wrote, per format."""
    from bot.evaluate_tools import evaluate_tools  # noqa: PLC0415

    evaluate_tools(dataset, tools, predictions, as_json=as_json)


@weights.command("list")
def list_models(as_json: _Json = False, config: _Config = None) -> None:
    """List the weights that can be pulled, and those that are there."""
    from bot import weights as command  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(command.list_models(load(config), as_json=as_json))


@weights.command("pull")
def pull_model(
    name: Annotated[str, typer.Argument(help="As `models list` shows it; with --url, any.")],
    url: Annotated[
        str | None, typer.Option(help="https://…, hf:OWNER/REPO/PATH or modelscope:….")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the file at --url.")] = None,
    config: _Config = None,
) -> None:
    """Fetch weights, going on where it broke off; kept only with the right SHA-256."""
    from bot import weights as command  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(command.pull(load(config), name, url=url, sha256=sha256))


@lmdeploy.command("serve")
def serve_model(
    model: Annotated[str, typer.Argument(help="Folder of a model, or its name on Hugging Face.")],
    extra: Annotated[
        list[str] | None, typer.Argument(help="After --: further flags of LMDeploy, as they are.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="For clients; default: llm.model.")] = None,
    host: Annotated[str, typer.Option(help="Others than this machine need llm.api_key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 23333,
    session_len: Annotated[
        int | None, typer.Option(min=1024, help="Tokens; default: llm.session_len.")
    ] = None,
    quant_policy: Annotated[str, typer.Option(help="Of the key-value cache.")] = "none",
    tp: Annotated[int, typer.Option(help="GPUs to split the model over.")] = 1,
    cache_share: Annotated[float, typer.Option(help="Of the GPU memory left.")] = 0.8,
    backend: Annotated[str, typer.Option(help="auto, pytorch or turbomind.")] = "auto",
    tool_parser: Annotated[str, typer.Option(help="auto, off, or LMDeploy's name.")] = "auto",
    reasoning_parser: Annotated[str, typer.Option(help="auto, off, or LMDeploy's name.")] = "auto",
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code")] = False,
    python: Annotated[Path | None, typer.Option(help="One that has LMDeploy.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the command.")] = False,
    config: _Config = None,
) -> None:
    """Serve MODEL with the LMDeploy flags that suit it and this service."""
    from bot.lmdeploy import serve as serve_with_lmdeploy  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415
    from models.llm.serving import Serving  # noqa: PLC0415

    settings = load(config)
    serving = Serving(
        model=model,
        name=name or settings.llm.model or Path(model).name,
        host=host,
        port=port,
        session_len=session_len or settings.llm.session_len,
        quant_policy=quant_policy,
        tp=tp,
        cache_share=cache_share,
        backend=backend,
        tool_parser=tool_parser,
        reasoning_parser=reasoning_parser,
        trust_remote_code=trust_remote_code,
        extra=extra or (),
    )
    serve_with_lmdeploy(settings, serving, python=python, is_dry_run=dry_run)


@lmdeploy.command("check")
def check_server(
    url: Annotated[str, typer.Argument(help="Address of a server, with or without /v1.")],
    as_json: _Json = False,
    config: _Config = None,
) -> None:
    """Ask a server what it can do, and what the settings should be; status 1 if it is of no use."""
    from bot.lmdeploy import check  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(check(load(config), url, as_json=as_json))


@wechat.command("menu")
def set_wechat_menu(
    show: Annotated[bool, typer.Option("--show", help="Only show the present menu.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Take the menu away.")] = False,
    config: _Config = None,
) -> None:
    """Publish the menu of the Official Account (`wechat.official.menu`)."""
    from bot.settings import load  # noqa: PLC0415
    from bot.wechat_menu import set_menu  # noqa: PLC0415

    if show and delete:
        raise typer.BadParameter("--show or --delete, not both", param_hint="--delete")
    raise typer.Exit(set_menu(load(config), show=show, delete=delete))


@wechat.command("login")
def log_in_to_wechat(config: _Config = None) -> None:
    """Show a QR code; whoever scans it with WeChat can write here (iLink). Status 1 if nobody."""
    from bot.ilink_login import log_in  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(log_in(load(config)))


@wechat.command("logins")
def list_wechat_logins(as_json: _Json = False, config: _Config = None) -> None:
    """List who is connected over iLink, newest first."""
    from bot.ilink_login import list_logins  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(list_logins(load(config), as_json=as_json))


@wechat.command("forget")
def forget_wechat_login(
    bot: Annotated[str, typer.Argument(help="Name as `wechat logins` shows it.")],
    config: _Config = None,
) -> None:
    """Delete a login of iLink: nothing is received from or sent to that person any more."""
    from bot.ilink_login import forget  # noqa: PLC0415
    from bot.settings import load  # noqa: PLC0415

    raise typer.Exit(forget(load(config), bot))


@staff.command("password")
def reset_staff_password(
    account: Annotated[str, typer.Argument(help="Login name; a new one becomes an admin.")],
    config: _Config = None,
) -> None:
    """Give an account a new password, shown once; ends its logins and one-time codes."""
    from bot.settings import load  # noqa: PLC0415
    from bot.staff import reset_password  # noqa: PLC0415

    raise typer.Exit(reset_password(load(config), account))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed  # noqa: PLC0415

    typer.echo(f"oculichat {installed('oculichat')}")


def main() -> None:
    """Run the command line; a wrong setting ends with its explanation and status 78."""
    try:
        app()
    except ConfigError as error:
        sys.stderr.write(f"oculichat: {error}\n")
        sys.exit(EXIT_CONFIG)


if __name__ == "__main__":
    main()
