"""The texts of an application in Chinese and English, from one file."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from starlette.requests import Request

from sync import SyncError

Language: TypeAlias = Literal["zh", "en"]
COOKIE = "fv_language"
_TAGS: Mapping[str, str] = {"zh": "zh-CN", "en": "en"}


class Texts:
    """Every text in one language: texts("arrivals.title", n=3)."""

    def __init__(self, language: Language, texts: Mapping[str, str]) -> None:
        self.language = language
        self.tag = _TAGS[language]
        self._texts = texts

    def __call__(self, key: str, **values: object) -> str:
        return self._texts[key].format(**values)

    def code(self, group: str, code: str) -> str:
        """The text for a code out of a record; a later version's code is shown as it is."""
        return self._texts.get(f"{group}.{code}", code)


class Languages:
    """The languages of one application; `default` is what a browser without a choice sees."""

    def __init__(self, *files: Path, default: Language = "zh") -> None:
        """Read TOML files of dotted keys, each holding { zh = "...", en = "..." }; raises SyncError on a gap."""
        self._default = default
        flat: dict[Language, dict[str, str]] = {"zh": {}, "en": {}}
        for path in files:
            for section, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
                for name, text in entries.items():
                    for language in get_args(Language):
                        if language not in text:
                            raise SyncError(f"{path}: {section}.{name} has no {language}")
                        flat[language][f"{section}.{name}"] = text[language]
        self._by_language: dict[Language, Texts] = {language: Texts(language, flat[language]) for language in flat}

    def named(self, language: Language) -> Texts:
        """The texts of a language, for what no browser asks for."""
        return self._by_language[language]

    def of(self, request: Request) -> Texts:
        """The language asked for by ?lang=, else the cookie's, else the default."""
        match request.query_params.get("lang", request.cookies.get(COOKIE)):
            case "zh" | "en" as chosen:
                return self._by_language[chosen]
            case _:
                return self._by_language[self._default]
