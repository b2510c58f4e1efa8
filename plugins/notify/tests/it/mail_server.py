"""A mail server for tests: takes mail with or without TLS and an account, keeps what it took as one
JSON line each, and misbehaves by the receiver's name."""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

port, box, cert, key, mode = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5]


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("full@"):
            return "452 4.2.2 mailbox full"
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        first = envelope.rcpt_tos[0]
        if first.startswith("silent@"):
            await asyncio.sleep(3600)
        with open(box, "a", encoding="utf-8") as file:
            mail = {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "text": envelope.content.decode("utf-8", "replace"),
                "tls": server.transport.get_extra_info("ssl_object") is not None,
                "user": session.auth_data.login.decode() if session.auth_data else None,
            }
            file.write(json.dumps(mail) + "\n")
        if first.startswith("lost@"):
            server.transport.abort()
        return "250 OK taken"


def account(server, session, envelope, mechanism, data):
    good = data.login == b"backout" and data.password == b"tr0ub4dor-and-3"
    return AuthResult(success=good, auth_data=data if good else None)


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    closed = mode != "open"

    def factory():
        return SMTP(
            Handler(),
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            authenticator=account,
            auth_required=closed,
            auth_require_tls=mode == "starttls",
        )

    wrapped = context if mode == "wrapped" else None
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port, ssl=wrapped)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
