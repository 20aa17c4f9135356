"""Personal data that belongs to nobody, in the spellings that people use, with right checksums."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stdnum import luhn, verhoeff
from stdnum.es.dni import calc_check_digit as dni_letter
from stdnum.iban import calc_check_digits
from stdnum.it.codicefiscale import calc_check_digit as fiscal_letter

from prentice.privacy import Kind

LEADS: dict[Kind, tuple[str, ...]] = {
    "email": ("my e-mail is", "write to", "reach me at", "Email:"),
    "phone": ("my phone number is", "call me on", "you can reach me at", "Tel:", "mobile:"),
    "card": ("my card number is", "please charge", "pay with", "the card"),
    "account": ("send it to", "IBAN:", "the account is", "pay into"),
    "key": ("my key is", "use this token:", "I pasted", "the config has"),
    "ip": ("I log in from", "the server is", "IP", "blocked"),
    "id": ("my id is", "identified by", "ID:", "it says"),
}
_DIGITS, _HEX = string.digits, "0123456789abcdef"
_ALNUM = string.ascii_letters + string.digits
_SHARES: dict[Kind, float] = {
    "email": 0.2, "phone": 0.25, "card": 0.15, "account": 0.12, "key": 0.2, "ip": 0.04, "id": 0.04
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """Something to plant."""

    kind: Kind
    form: str
    text: str
    """As it is planted."""
    value: str
    """The part of it that has to go."""
    key: str
    """The key it stands under in structured data."""
    lead: str = ""
    """Words that have to stand before it, since nothing else says what it is."""


def items(chance: random.Random, number: int) -> Iterator[Item]:
    """Items of all kinds and forms."""
    for kind in chance.choices(list(_SHARES), weights=list(_SHARES.values()), k=number):
        yield _MAKERS[kind](chance)


def _some(chance: random.Random, letters: str, number: int) -> str:
    return "".join(chance.choices(letters, k=number))


def _shape(chance: random.Random, shape: str) -> str:
    """X: any digit, N: from 2 to 9."""
    return "".join({"X": chance.choice(_DIGITS), "N": chance.choice("23456789")}.get(sign, sign) for sign in shape)


_FIRST = ("anna", "li", "omar", "sofia", "raj", "josé", "mary-jane", "o'neill", "kim", "björn")
_LAST = ("miller", "silva", "kowalski", "nguyen", "garcia", "smith", "yilmaz", "rossi", "dubois", "khan")
_HOSTS = (
    "gmail.com",
    "example.org",
    "mail.co.uk",
    "firma.de",
    "uni-bonn.de",
    "acme.io",
    "my-shop.store",
    "correo.com.br",
)


def _email(chance: random.Random) -> Item:
    first, last, host = chance.choice(_FIRST), chance.choice(_LAST), chance.choice(_HOSTS)
    forms = {
        "plain": f"{first}.{last}@{host}",
        "digits": f"{first}{chance.randrange(10_000)}@{host}",
        "plus": f"{first}+{last}@{host}",
        "capitals": f"{first}_{last}@{host}".upper(),
        "subdomain": f"{first[0]}{last}@mail.{host}",
        "brackets": f"<{first}@{host}>",
        "mailto": f"mailto:{last}@{host}",
        "spelt": f"{last} (at) {host.replace('.', ' (dot) ')}",
    }
    form = chance.choices(list(forms), weights=[8] * 5 + [3, 3, 1])[0]
    text = forms[form]
    return Item("email", form, text, text.strip("<>").removeprefix("mailto:"), chance.choice(["email", "contact"]))


_PHONES = {
    "us dashes": "AAA-NXX-XXXX",
    "us brackets": "(AAA) NXX-XXXX",
    "us dots": "AAA.NXX.XXXX",
    "us spaces": "AAA NXX XXXX",
    "us +1": "+1 AAA NXX XXXX",
    "us +1 dashes": "+1-AAA-NXX-XXXX",
    "us 1-": "1-AAA-NXX-XXXX",
    "us +1 bare": "+1AAANXXXXXX",
    "us bare": "AAANXXXXXX",
    "us extension": "(AAA) NXX-XXXX ext. XXX",
    "us x": "AAA-NXX-XXXXxXXX",
    "gb mobile": "079 XXXX XXXX",
    "gb mobile spaced": "07900 XXXXXX",
    "gb +44": "+44 7900 XXXXXX",
    "gb london": "020 7NXX XXXX",
    "gb +44 (0)": "+44 (0)20 7NXX XXXX",
    "gb 0044": "0044 7900 XXXXXX",
    "gb brackets": "(020) 7NXX XXXX",
    "de mobile": "0151 NXXXXXXX",
    "de slash": "0151/NXXXXXXX",
    "de +49": "+49 151 NXXXXXXX",
    "de berlin": "030 NXXXXXXX",
    "de +49 (0)": "+49 (0)151 NXXXXXXX",
    "fr pairs": "06 NX XX XX XX",
    "fr dots": "06.NX.XX.XX.XX",
    "fr +33": "+33 6 NX XX XX XX",
    "in mobile": "982XX XXXXX",
    "in +91": "+91 982XX XXXXX",
    "in +91 dash": "+91-982XXXXXXX",
    "au mobile": "0412 NXX XXX",
    "au +61": "+61 412 NXX XXX",
    "br brackets": "(11) 9NXXX-XXXX",
    "br +55": "+55 11 9NXXX-XXXX",
    "es groups": "6NN XX XX XX",
    "es +34": "+34 6NN XXX XXX",
    "it mobile": "333 NXX XXXX",
    "it +39": "+39 333 NXX XXXX",
    "jp +81": "+81 90-NXXX-XXXX",
    "cn +86": "+86 138 NXXX XXXX",
    "nl +31": "+31 6 NNXXXXXX",
    "pl +48": "+48 60N XXX XXX",
    "mx +52": "+52 55 NNXX XXXX",
}
_AREAS = ("202", "212", "312", "415", "608", "713", "305", "206", "617", "404")


def _phone(chance: random.Random) -> Item:
    form = chance.choice(list(_PHONES))
    text = _shape(chance, _PHONES[form].replace("AAA", chance.choice(_AREAS)))
    return Item("phone", form, text, text.split(" ext")[0].split("x")[0], chance.choice(["phone", "mobile_number"]))


_CARDS = {"visa": ("4", 16), "mastercard": ("53", 16), "mastercard 2": ("2345", 16), "amex": ("37", 15),
          "discover": ("6011", 16), "jcb": ("3530", 16), "diners": ("36", 14), "unionpay": ("6221", 16)}  # fmt: skip


def _card(chance: random.Random) -> Item:
    brand = chance.choices(list(_CARDS), weights=[6, 4, 1, 3, 2, 1, 1, 1])[0]
    start, length = _CARDS[brand]
    body = start + _some(chance, _DIGITS, length - len(start) - 1)
    digits = body + luhn.calc_check_digit(body)
    groups = (4, 6, 5) if length == 15 else (4, 6, 4) if length == 14 else (4, 4, 4, 4)
    separator = chance.choice(["", " ", "-", " "])
    text, at = list[str](), 0
    for size in groups:
        text.append(digits[at : at + size])
        at += size
    form = f"{brand} {'bare' if not separator else repr(separator)}"
    return Item("card", form, separator.join(text), separator.join(text), chance.choice(["card_number", "payment"]))


_IBANS = {"DE": (0, 18), "FR": (0, 23), "ES": (0, 20), "GB": (4, 14), "NL": (4, 10), "IT": (1, 22), "PL": (0, 24),
          "BE": (0, 12), "CH": (0, 17), "AT": (0, 16)}  # fmt: skip
"""Letters, then digits, after the check digits."""


def _account(chance: random.Random) -> Item:
    form = chance.choice(["iban bare", "iban grouped", "iban bare", "iban grouped", "account number", "routing number"])
    if form in ("account number", "routing number"):
        text = _some(chance, _DIGITS, 9 if form == "routing number" else chance.randrange(8, 13))
        lead = f"my {form} is " if chance.random() < 0.5 else f"{form}: "
        return Item("account", form, text, text, form.replace(" ", "_"), lead)
    country = chance.choice(list(_IBANS))
    letters, digits = _IBANS[country]
    body = _some(chance, string.ascii_uppercase, letters) + _some(chance, _DIGITS, digits)
    text = country + calc_check_digits(f"{country}00{body}") + body
    if form == "iban grouped":
        text = " ".join(text[at : at + 4] for at in range(0, len(text), 4))
    return Item("account", f"{form} {country}", text, text, chance.choice(["iban", "account"]))


def _jwt(chance: random.Random) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": _some(chance, _ALNUM, 10), "iat": chance.randrange(10**9)})
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.{_some(chance, _ALNUM, 43)}"


def _block(chance: random.Random) -> str:
    lines = [_some(chance, _ALNUM + "+/", 64) for _ in range(chance.randrange(4, 20))]
    kind = chance.choice(["RSA ", "", "OPENSSH ", "EC "])
    return "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"])


_KEYS: dict[str, Callable[[random.Random], str]] = {
    "openai project": lambda c: f"sk-proj-{_some(c, _ALNUM, 74)}T3BlbkFJ{_some(c, _ALNUM, 74)}",
    "openai": lambda c: f"sk-{_some(c, _ALNUM, 20)}T3BlbkFJ{_some(c, _ALNUM, 20)}",
    "anthropic": lambda c: f"sk-ant-api03-{_some(c, _ALNUM + '-_', 93)}AA",
    "aws id": lambda c: f"AKIA{_some(c, string.ascii_uppercase + '234567', 16)}",
    "github": lambda c: f"ghp_{_some(c, _ALNUM, 36)}",
    "github fine": lambda c: f"github_pat_{_some(c, _ALNUM, 22)}_{_some(c, _ALNUM, 59)}",
    "gitlab": lambda c: f"glpat-{_some(c, _ALNUM, 20)}",
    "google": lambda c: f"AIza{_some(c, _ALNUM + '-_', 35)}",
    "slack": lambda c: f"xoxb-{_some(c, _DIGITS, 12)}-{_some(c, _DIGITS, 12)}-{_some(c, _ALNUM, 24)}",
    "stripe": lambda c: f"sk_live_{_some(c, _ALNUM, 24)}",
    "stripe test": lambda c: f"sk_test_{_some(c, _ALNUM, 24)}",
    "sendgrid": lambda c: f"SG.{_some(c, _ALNUM, 22)}.{_some(c, _ALNUM, 43)}",
    "npm": lambda c: f"npm_{_some(c, _ALNUM, 36)}",
    "huggingface": lambda c: f"hf_{_some(c, string.ascii_letters, 34)}",
    "groq": lambda c: f"gsk_{_some(c, _ALNUM, 52)}",
    "openrouter": lambda c: f"sk-or-v1-{_some(c, _HEX, 64)}",
    "twilio": lambda c: f"SK{_some(c, _HEX, 32)}",
    "databricks": lambda c: f"dapi{_some(c, _HEX, 32)}",
    "digitalocean": lambda c: f"dop_v1_{_some(c, _HEX, 64)}",
    "shopify": lambda c: f"shpat_{_some(c, _HEX, 32)}",
    "telegram": lambda c: f"{_some(c, '123456789', 10)}:AA{_some(c, _ALNUM, 33)}",
    "langfuse": lambda c: f"sk-lf-{'-'.join(_some(c, _HEX, n) for n in (8, 4, 4, 4, 12))}",
    "jwt": _jwt,
    "private key": _block,
}
_SECRETS: dict[str, tuple[str, Callable[[random.Random], str], str]] = {
    "password in url": ("postgres://app:", lambda c: _some(c, _ALNUM, 14), "@db.example.com:5432/shop"),
    "password in https": ("https://bob:", lambda c: _some(c, _ALNUM, 10), "@files.example.com/x"),
    "password": ("password: ", lambda c: _some(c, _ALNUM, 9) + c.choice("!#$%4"), ""),
    "password is": ("my password is ", lambda c: _some(c, _ALNUM, 9) + "7", ""),
    "bearer": ("Authorization: Bearer ", lambda c: _some(c, _ALNUM, 40), ""),
    "api key": ("api_key=", lambda c: _some(c, _HEX, 32), ""),
    "aws secret": ("AWS_SECRET_ACCESS_KEY=", lambda c: _some(c, _ALNUM + "+/", 40), ""),
    "azure": ("DefaultEndpointsProtocol=https;AccountKey=", lambda c: _some(c, _ALNUM + "+/", 86) + "==", ""),
}


def _key(chance: random.Random) -> Item:
    form = chance.choice([*_KEYS, *_SECRETS])
    if form in _KEYS:
        text = _KEYS[form](chance)
        return Item("key", form, text, text, chance.choice(["api_key", "config"]))
    before, make, after = _SECRETS[form]
    value = make(chance)
    return Item("key", form, f"{before}{value}{after}", value, chance.choice(["config", "text"]))


def _ip(chance: random.Random) -> Item:
    if chance.random() < 0.7:
        text = ".".join(str(chance.randrange(11, 127)) for _ in range(4))
        return Item("ip", "v4", text, text, "address")
    text = "2001:db8:" + ":".join(_some(chance, _HEX, 4) for _ in range(6))
    return Item("ip", "v6", text, text, "address")


def _id(chance: random.Random) -> Item:
    body = _shape(chance, "NXXXXXXXX")
    cpf = body
    for weight in (10, 11):
        rest = sum(int(digit) * (weight - place) for place, digit in enumerate(cpf)) * 10 % 11 % 10
        cpf += str(rest)
    aadhaar = _shape(chance, "NXXXXXXXXXX")
    aadhaar += verhoeff.calc_check_digit(aadhaar)
    dni = _shape(chance, "NXXXXXXX")
    fiscal = f"{_some(chance, 'BCDFGLMNPRST', 6)}{chance.randrange(40, 99)}{chance.choice('ABCDEHLMPRST')}" + (
        f"{chance.randrange(10, 28)}{chance.choice('ABCDEFGHIL')}{chance.randrange(100, 999)}"
    )
    forms = {
        "us ssn": f"{chance.randrange(101, 665)}-{chance.randrange(10, 99)}-{chance.randrange(1000, 9999)}",
        "gb nino": f"{chance.choice(['AB', 'CE', 'JK', 'SH'])} {_shape(chance, 'XX XX XX')} {chance.choice('ABCD')}",
        "br cpf": f"{cpf[:3]}.{cpf[3:6]}.{cpf[6:9]}-{cpf[9:]}",
        "in aadhaar": f"{aadhaar[:4]} {aadhaar[4:8]} {aadhaar[8:]}",
        "es dni": dni + dni_letter(dni),
        "it fiscal code": fiscal + fiscal_letter(fiscal),
    }
    form = chance.choice(list(forms))
    return Item("id", form, forms[form], forms[form], "document")


_MAKERS: dict[Kind, Callable[[random.Random], Item]] = {
    "email": _email, "phone": _phone, "card": _card, "account": _account, "key": _key, "ip": _ip, "id": _id
}  # fmt: skip
