"""Lets clients that take https only talk to a mock: what they send is sent on without TLS, as a proxy in front would."""

from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter


class WithoutTls(HTTPAdapter):
    """Sends everything to the mock, whichever host of the service a client has in mind."""

    def __init__(self, mock):
        self.host = urlsplit(mock).netloc
        super().__init__()

    def send(self, request, **kwargs):
        parts = urlsplit(request.url)
        request.url = parts._replace(scheme="http", netloc=self.host).geturl()
        return super().send(request, **kwargs)


def session(mock):
    made = requests.Session()
    made.trust_env = False
    made.mount("https://", WithoutTls(mock))
    return made


def raises(kind, work):
    """Gives the exception that there has to be."""
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")
