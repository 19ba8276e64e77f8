"""An identity provider on loopback, for tests: Canaille, a real one, with its users in memory.

It signs with a key of its own, which it rotates and takes away again as providers do; whoever asks
it for a token goes the way of a browser (authorization code), as an application would.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.conftest import free_port

CLIENT, SECRET = "llmlab", "a-secret-of-the-client"
BACK = "https://app.example.com/back"


class IdentityProvider:
    """Of users that log in by being named. ``url`` is what its tokens say in ``iss``."""

    def __init__(self) -> None:
        os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
        from canaille import create_app
        from canaille.app import models
        from canaille.app.session import UserSession
        from canaille.backends import Backend
        from flask import g

        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self._user: Any = None
        self.app = create_app(
            config={
                "TESTING": True, "ENV_FILE": None, "SECRET_KEY": "x" * 32, "DEBUG": False,
                "WTF_CSRF_ENABLED": False, "PREFERRED_URL_SCHEME": "http",
                "SERVER_NAME": f"localhost:{self.port}",
                "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False,
                             "LOGGING": {"version": 1, "disable_existing_loggers": False}},
                "CANAILLE_OIDC": {"ACTIVE_JWKS": [new_key()], "REQUIRE_NONCE": False},
            },
            env_file=None,
        )  # fmt: skip
        self._models, self._backend = models, Backend.instance

        @self.app.before_request
        def log_in() -> None:
            if self._user is not None:
                import datetime

                now = datetime.datetime.now(datetime.UTC)
                g.session = UserSession(user=self._user, last_login_datetime=now)

        with self.app.app_context():
            client = models.Client(
                client_id=CLIENT, client_secret=SECRET, client_name=CLIENT, redirect_uris=[BACK],
                grant_types=["authorization_code"], response_types=["code"],
                scope=["openid", "email"],
                token_endpoint_auth_method="client_secret_basic",
                client_uri="http://127.0.0.1/",
            )  # fmt: skip
            self._backend.save(client)
            client.audience = [client]
            self._backend.save(client)
        self._server: Any = None
        self.start()

    def start(self) -> None:
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("localhost", self.port, self.app, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """It is away: connections are refused."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def rotate(self) -> None:
        """From now on it signs with another key; the one before is listed no more."""
        with self.app.app_context():
            self.app.config["CANAILLE_OIDC"]["ACTIVE_JWKS"] = [new_key()]

    @property
    def key(self) -> dict[str, Any]:
        """The private JWK that it signs with."""
        return dict(self.app.config["CANAILLE_OIDC"]["ACTIVE_JWKS"][0])

    def token(self, user: str = "alice", scope: str = "openid email") -> str:
        """The ID token that somebody has once he has logged in."""
        with self.app.app_context():
            found = self._backend.get(self._models.User, user_name=user)
            if found is None:
                found = self._models.User(
                    user_name=user, family_name=user, formatted_name=user,
                    emails=[f"{user}@example.com"],
                )  # fmt: skip
                self._backend.save(found)
            self._user = found
        with httpx2.Client(base_url=self.url, trust_env=False) as http:
            asked = {"response_type": "code", "client_id": CLIENT, "redirect_uri": BACK,
                     "scope": scope, "nonce": "n"}  # fmt: skip
            answer = http.get("/oauth/authorize", params=asked)
            assert answer.status_code in (302, 303), answer.text
            code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
            told = http.post(
                "/oauth/token", auth=(CLIENT, SECRET),
                data={"grant_type": "authorization_code", "code": code, "redirect_uri": BACK},
            )  # fmt: skip
        assert told.status_code == 200, told.text
        return str(told.json()["id_token"])


def new_key() -> dict[str, Any]:
    from joserfc.jwk import RSAKey

    return RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)
