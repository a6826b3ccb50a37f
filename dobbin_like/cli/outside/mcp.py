"""The subcommand that lets an assistant ask about a log, by the Model Context Protocol."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from dobbin_like import __version__
from dobbin_like.cli.common import LOG, Complaint, command, opened
from dobbin_like.cli.outside.answers import Answers, complaint_of, in_utf_8
from dobbin_like.exc import Error
from dobbin_like.texts import shown

_INSTRUCTIONS = """\
The tools look at a database of Python objects, as it is now and as it was at any time. They \
change nothing. Objects have oids; the root leads to all of them. Begin with census, or show."""


@command("dobbin mcp shop.log")
@LOG
def mcp(path: str) -> None:
    """Let an assistant ask about PATH, by the Model Context Protocol.

    Serves the tools census, show, find, history and diff on the standard input and output, until
    that ends. All are read-only, and see what is committed when they are called. No class of the
    program that wrote PATH is needed. Needs the extra mcp: pip install 'dobbin_like[mcp]'.
    """
    try:
        from mcp.server.mcpserver import MCPServer
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        text = "dobbin mcp needs mcp 2 or later; pip install 'dobbin_like[mcp]'"
        raise Complaint(text) from None
    answers = Answers(path)
    with opened(path):
        pass  # What is no log is told before anybody asks.
    server = _refusing(MCPServer)(
        "dobbin",
        version=__version__,
        instructions=in_utf_8(f"{_INSTRUCTIONS} It is {shown(path)}."),
        log_level="WARNING",
    )
    add_tools(server, answers)
    server.run("stdio")


def add_tools(server: Any, answers: Answers) -> None:
    """Let *server* have the tools."""
    from mcp.types import ToolAnnotations

    harmless = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    for tool in (answers.census, answers.show, answers.find, answers.history, answers.diff):
        server.add_tool(_told(tool), annotations=harmless)


def _refusing(server: Any) -> Any:
    """Return a class of servers that refuse arguments which a tool does not have.

    The package ignores them: an assistant that misspelt one would take the answer for another.
    """
    from mcp.server.mcpserver.exceptions import ToolError

    class Refusing(server):  # type: ignore[misc]
        async def list_tools(self) -> Any:
            tools = await super().list_tools()
            for tool in tools:
                tool.input_schema["additionalProperties"] = False
            return tools

        async def call_tool(self, name: str, arguments: Any, context: Any = None) -> Any:
            schemas = {tool.name: tool.input_schema for tool in await self.list_tools()}
            known = schemas[name]["properties"] if name in schemas else arguments
            for each in arguments:
                if each not in known:
                    text = f"{name} has no argument {shown(each)}; it has {', '.join(known)}"
                    raise ToolError(in_utf_8(text))
            return await super().call_tool(name, arguments, context)

    return Refusing


def _told(tool: Callable[..., Any]) -> Callable[..., Any]:
    """Return *tool*, whose errors the assistant gets to read."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(tool)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return in_utf_8(tool(*args, **kwargs))
        except (Error, OSError, click.ClickException) as error:
            raise ToolError(in_utf_8(complaint_of(error))) from error

    return call
