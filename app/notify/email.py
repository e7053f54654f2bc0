"""Mail through the user's own server, with the server's answer to every attempt."""

from __future__ import annotations

import contextlib
import email.policy
import email.utils
import re
import smtplib
import socket
from collections.abc import Iterable
from email.headerregistry import Address
from email.message import EmailMessage

from flask_babel import lazy_gettext as _

from app.notify import wire
from app.notify.channel import Config, ConfigError, DeliveryError, Field, Kind, Receipt, values_of
from app.notify.cleaning import lines, one_line
from app.notify.message import Message

MOST_RECIPIENTS = 50
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_IMPORTANCE = {"critical": "high", "warning": "normal", "info": "normal"}

FIELDS = (
    Field(name="host", label=_("Mail server"), required=True),
    Field(name="port", label=_("Port"), help=_("587 for STARTTLS, 465 for TLS, 25 for none")),
    Field(
        name="security",
        label=_("Encryption"),
        default="starttls",
        choices=("starttls", "tls", "none"),
        help=_("Without encryption, the password and the text can be read on the way"),
    ),
    Field(name="username", label=_("User name")),
    Field(name="password", label=_("Password"), secret=True),
    Field(name="from", label=_("Sender"), required=True, help=_("An address that the server lets you use")),
    Field(name="to", label=_("Recipients"), required=True, help=_("One or several, separated by commas")),
)


def check(config: Config) -> Config:
    to = config.get("to")
    texts = {**config, "to": ", ".join(map(str, to))} if isinstance(to, list | tuple) else config
    values = values_of(texts, FIELDS)
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?", values["host"]):
        raise ConfigError("host", _("a host name or an IP address"))
    port = values["port"] or str(_PORTS[values["security"]])
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ConfigError("port", _("a number from %(least)s to %(most)s", least=1, most=65535))
    if bool(values["username"]) != bool(values["password"]):
        missing = "password" if values["username"] else "username"
        raise ConfigError(missing, _("a user name and a password, or neither"))
    senders = _addresses("from", values["from"])
    if len(senders) > 1:
        raise ConfigError("from", _("one address"))
    recipients = _addresses("to", values["to"])
    if len(recipients) > MOST_RECIPIENTS:
        raise ConfigError("to", _("at most %(number)s addresses", number=MOST_RECIPIENTS))
    return {
        **values,
        "host": values["host"].strip("[]"),
        "port": int(port),
        "from": str(senders[0]),
        "to": ", ".join(dict.fromkeys(map(str, recipients))),
    }


def _addresses(field: str, text: str) -> list[Address]:
    expected = _("an address such as name@example.org")
    found = email.utils.getaddresses([text])
    try:
        return [_address(field, name, spec) for name, spec in found]
    except (ValueError, IndexError) as error:
        raise ConfigError(field, expected) from error


def _address(field: str, name: str, spec: str) -> Address:
    local, _at, domain = spec.rpartition("@")
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}", local):
        raise ValueError(field)
    ascii_domain = domain if domain.startswith("[") else domain.encode("idna").decode()
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Za-z:.]+\]", ascii_domain):
        raise ValueError(field)
    return Address(name, local, ascii_domain)


class _Smtp(smtplib.SMTP):
    """On our sockets: the library's know no deadline for a whole conversation."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return wire.dial(host, port)


class _SmtpOverTls(smtplib.SMTP):
    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return wire.tls_context().wrap_socket(wire.dial(host, port), server_hostname=host)


def send(config: Config, message: Message, timeout_seconds: float) -> Receipt:
    with wire.within(timeout_seconds):
        try:
            return _converse(config, _mail(config, message))
        except smtplib.SMTPAuthenticationError as error:
            raise _refused("refused the login", error) from error
        except smtplib.SMTPResponseException as error:
            raise _refused("answered", error) from error
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryError(f"can't do what is set: {one_line(str(error))}", permanent=True) from error
        except (OSError, UnicodeError) as error:
            raise DeliveryError(_words_of(error)) from error


def _words_of(error: Exception) -> str:
    # The library raises this in place of whatever ended the conversation.
    if isinstance(error, smtplib.SMTPServerDisconnected) and not isinstance(error.__context__, OSError):
        return "closed the connection without an answer"
    return wire.plain_reason(error)


def _refused(what: str, error: smtplib.SMTPResponseException) -> DeliveryError:
    code, words = error.smtp_code, _words(error.smtp_error)
    if code < 100:
        return DeliveryError("did not answer as a mail server does")
    return DeliveryError(f"{what}: {code} {words}", permanent=500 <= code < 600)


def _words(answer: bytes | str) -> str:
    return one_line(answer if isinstance(answer, str) else answer.decode("utf-8", "replace"))


def _converse(config: Config, mail: EmailMessage) -> Receipt:
    protocol = _SmtpOverTls if config["security"] == "tls" else _Smtp
    # A name given here keeps the library from asking the name service for this computer's own.
    smtp = protocol(str(config["host"]), int(str(config["port"])), local_hostname="[127.0.0.1]")
    try:
        _introduce(smtp)
        if config["security"] == "starttls":
            smtp.starttls(context=wire.tls_context())
        if config["username"]:
            smtp.login(str(config["username"]), str(config["password"]))
        receipt = _hand_over(smtp, mail)
        # The mail is taken; whether the server says goodbye doesn't matter.
        with contextlib.suppress(OSError):
            smtp.putcmd("quit")
        return receipt
    finally:
        smtp.close()


def _introduce(smtp: smtplib.SMTP) -> None:
    """Say hello by the address that this computer has on the way to the server."""
    address = smtp.sock.getsockname()[0] if smtp.sock else "127.0.0.1"
    smtp.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _hand_over(smtp: smtplib.SMTP, mail: EmailMessage) -> Receipt:
    smtp.ehlo_or_helo_if_needed()
    code, words = smtp.mail(mail["From"].addresses[0].addr_spec)
    if code != 250:
        raise smtplib.SMTPSenderRefused(code, words, "")
    refusals = []
    recipients = [address.addr_spec for address in mail["To"].addresses]
    for recipient in recipients:
        code, words = smtp.rcpt(recipient)
        if code not in (250, 251):
            refusals.append((code, f"{recipient}: {code} {_words(words)}"))
    refused = "; ".join(text for _code, text in refusals)
    if len(refusals) == len(recipients):
        permanent = all(500 <= code < 600 for code, _text in refusals)
        raise DeliveryError(f"refused every recipient: {refused}", permanent=permanent)
    code, words = smtp.data(mail.as_bytes(policy=email.policy.SMTP))
    if code != 250:
        raise smtplib.SMTPDataError(code, words)
    taken = f"{code} {_words(words)}"
    return Receipt(f"{taken}; refused {refused}" if refused else taken)


def _mail(config: Config, message: Message) -> EmailMessage:
    mail = EmailMessage(policy=email.policy.SMTP)
    mail["From"] = str(config["from"])
    mail["To"] = str(config["to"])
    mail["Subject"] = one_line(message.title)
    mail["Date"] = email.utils.formatdate()
    mail["Message-ID"] = f"<{re.sub('[^A-Za-z0-9.-]', '', message.message_id)}@veilleur>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["Importance"] = _IMPORTANCE.get(message.severity, "normal")
    mail["X-Veilleur-Kind"] = one_line(message.kind)
    mail.set_content(lines(message.body), charset="utf-8", cte="quoted-printable")
    return mail


def describe(config: Config) -> str:
    return f"e-mail to {config['to']} through {config['host']}:{config['port']}"


def secrets(config: Config) -> Iterable[str]:
    return [str(config["password"])]


KIND = Kind(
    name="email",
    label=_("E-mail"),
    fields=FIELDS,
    check=check,
    send=send,
    describe=describe,
    secrets=secrets,
)
