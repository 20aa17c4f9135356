"""Clients of any-llm: made once per event loop, since making one costs more than a call."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import os
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from prentice.errors import ConfigError, MissingExtraError, UnknownNameError
from prentice.models.prices import INSTALL

if TYPE_CHECKING:
    from any_llm import AnyLLM


class Clients:
    """The clients of one provider at one place.

    Args:
        name: of the model, for errors.
        provider: as any-llm calls it.
        base_url: where its server is; None = what the environment says, else the provider's own.
        api_key: stands in for the environment variable's; never shown.

    Raises: ConfigError (missing key), UnknownNameError (provider), MissingExtraError (its SDK).
    """

    def __init__(self, name: str, provider: str, base_url: str | None, api_key: str | None) -> None:
        kind = _provider_class(provider)
        self.name, self.provider = name, provider
        self.key_variable = str(kind.ENV_API_KEY_NAME)
        self.takes_timeout = kind.TIMEOUT_SUPPORT != "unsupported"
        self._retry_options = {} if kind.MAX_RETRIES_SUPPORT == "unsupported" else {"max_retries": 0}
        # any-llm reads this variable too, and what it names is another endpoint than the provider's own
        self.base_url = base_url or os.environ.get(kind.ENV_API_BASE_NAME or "")
        self._api_key = SecretStr(api_key) if api_key else None
        self._kept: dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[AnyLLM], AnyLLM]] = {}
        # made and dropped, so that a missing key or SDK shows now and not in each of a thousand episodes
        self._new()

    async def here(self) -> AnyLLM:
        """This event loop's client: a client's connections belong to one loop, and a script may run several."""
        loop = asyncio.get_running_loop()
        if loop not in self._kept:
            for ended in [other for other in self._kept if other.is_closed()]:
                del self._kept[ended]
            keeper = _keep(self._new())
            self._kept[loop] = (keeper, await anext(keeper))
        return self._kept[loop][1]

    async def close(self) -> None:
        """Close this event loop's connections; those of other loops close when their loop ends."""
        kept = self._kept.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept[0].aclose()

    def keys(self) -> list[str]:
        """The keys in use, so that they can be kept out of errors."""
        given = self._api_key.get_secret_value() if self._api_key else ""
        return [key for key in (given, *(os.environ.get(n, "") for n in self.key_variable.split("/"))) if key]

    def _new(self) -> AnyLLM:
        from any_llm import AnyLLM
        from any_llm.exceptions import MissingApiKeyError

        key = self._api_key.get_secret_value() if self._api_key else None
        options: dict[str, Any] = {"unified_exceptions": True, **self._retry_options}
        try:
            return AnyLLM.create(self.provider, key, self.base_url or None, **options)
        except MissingApiKeyError as error:
            raise ConfigError(f"{self.name}: no API key", f"set {self.key_variable} in the environment") from error
        except ImportError as error:
            raise _missing(self.provider) from error


def key_variables(provider: str) -> tuple[str, ...]:
    """The environment variables that may hold a provider's key; none where it takes none.

    Raises: UnknownNameError (provider), MissingExtraError (any-llm or the provider's SDK).
    """
    names = _provider_class(provider).ENV_API_KEY_NAME
    return tuple(names.split("/")) if names else ()


async def _keep(client: AnyLLM) -> AsyncGenerator[AnyLLM]:
    # asyncio finishes open generators when a loop ends, so connections close there even if nobody calls `close`
    try:
        yield client
    finally:
        sdk: Any = getattr(client, "client", None)
        sdk = getattr(sdk, "aio", sdk)
        close = getattr(sdk, "aclose", None) or getattr(sdk, "close", None)
        if close is not None and inspect.isawaitable(closing := close()):
            await closing


def _provider_class(provider: str) -> type[AnyLLM]:
    try:
        from any_llm import AnyLLM
        from any_llm.exceptions import UnsupportedProviderError
    except ImportError as error:
        raise MissingExtraError("remote models need any-llm-sdk, which is not installed", INSTALL) from error
    try:
        return AnyLLM.get_provider_class(provider)
    except UnsupportedProviderError as error:
        known = AnyLLM.get_supported_providers()
        near = difflib.get_close_matches(provider, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise UnknownNameError(f"no provider named {provider!r}", hint) from error
    except ImportError as error:
        raise _missing(provider) from error


def _missing(provider: str) -> MissingExtraError:
    ours = provider in ("openai", "anthropic", "gemini", "ollama")
    install = INSTALL if ours else f'{INSTALL} "any-llm-sdk[{provider}]"'
    return MissingExtraError(f"provider {provider!r} needs an SDK that is not installed", install)
