"""Drives the mock of Outreach with a client of JSON:API at large, jsonapi-requests, as it comes from the registry.

Usage: outreach.py http://127.0.0.1:PORT
"""

import json
import sys
from importlib.metadata import version

import requests
from jsonapi_requests import JsonApiObject, orm
from jsonapi_requests.request_factory import ApiClientError

from without_tls import raises

MOCK = sys.argv[1]
APP = {"client_id": "client-id", "client_secret": "client-secret"}


def token(refresh_token):
    form = {**APP, "grant_type": "refresh_token", "refresh_token": refresh_token}
    return requests.post(f"{MOCK}/oauth/token", data=form, timeout=10)


class Bearer(requests.auth.AuthBase):
    def __init__(self, text):
        self.text = text

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.text}"
        return request


granted = token("or-refresh-1").json()
again = token(granted["refresh_token"])
assert again.status_code == 200 and again.json()["refresh_token"] != granted["refresh_token"], "rotated"
assert token("no-such").json()["error"] == "invalid_grant"

CONFIG = {"API_ROOT": f"{MOCK}/api/v2", "AUTH": Bearer(granted["access_token"]), "APPEND_SLASH": False, "TIMEOUT": 10}
api = orm.OrmApi.config(CONFIG)


class Account(orm.ApiModel):
    class Meta:
        type = "account"
        path = "accounts"
        api = api

    name = orm.AttributeField("name")
    domain = orm.AttributeField("domain")


class Prospect(orm.ApiModel):
    class Meta:
        type = "prospect"
        path = "prospects"
        api = api

    first_name = orm.AttributeField("firstName")
    emails = orm.AttributeField("emails")
    updated_at = orm.AttributeField("updatedAt")
    account = orm.RelationField("account")


def refused(work, status, identifier):
    error = raises(ApiClientError, work)
    assert error.status_code == status, error.content
    told = json.loads(error.content)["errors"][0]
    # That of a media type has its text in the plural.
    assert told["id"] == identifier and (told.get("detail") or told["details"]), told
    return told


# Records and what leads from one to the other, from their making to their end.
acme = Account()
acme.name, acme.domain = "Acme", "acme.example"
acme.save()
assert isinstance(acme.id, int), acme.id
ada = Prospect()
ada.first_name, ada.emails, ada.account = "Ada", ["ada@example.test"], acme
ada.save()
assert ada.links["self"] == f"{MOCK}/api/v2/prospects/{ada.id}", ada.links
before = ada.updated_at
found = Prospect.from_id(ada.id)
assert (found.first_name, found.account.name) == ("Ada", "Acme"), "the relationship leads to the account"
change = JsonApiObject(type="prospect", id=ada.id, attributes={"firstName": "Augusta"})
changed = api.endpoint(f"prospects/{ada.id}").patch(object=change).data
assert changed.attributes["firstName"] == "Augusta" and changed.attributes["emails"] == ["ada@example.test"]
assert changed.attributes["updatedAt"] > before
assert changed.attributes["title"] is None, "unset ones are null"

# Lists: filters, sorts, what is included, sparse fields, counts.
for number in range(120):
    prospect = Prospect()
    prospect.first_name, prospect.emails = f"N{number:03}", [f"n{number}@example.test"]
    prospect.save()
some = Prospect.get_list(params={"filter[firstName]": "N003,N005", "sort": "-firstName"})
assert [row.first_name for row in some] == ["N005", "N003"]
one = api.endpoint("prospects").get(params={"filter[account][id]": acme.id, "include": "account"}).content
assert [row.id for row in one.data] == [ada.id] and one.included[0].attributes["name"] == "Acme"
related = Prospect.from_response_content(one)[0].account
assert related.name == "Acme" and not related.is_stub, "without another request"
sparse = api.endpoint("prospects").get(params={"filter[id]": ada.id, "fields[prospect]": "firstName"}).data[0]
assert set(sparse.attributes) == {"firstName"}, sparse.attributes
lately = api.endpoint("prospects").get(params={"filter[updatedAt]": f"{before}..inf", "sort": "updatedAt", "page[size]": 1000})
assert len(lately.data) == 121
counted = api.endpoint("prospects").get(params={"page[size]": 1, "count": "true"}).content
assert counted.meta == {"count": 121, "count_truncated": False}, counted.meta

# Page by page along the links, each once.
seen, place, params = [], "prospects", {"page[size]": 50, "sort": "firstName"}
while place:
    page = api.endpoint(place).get(params=params).content
    seen += [row.attributes["firstName"] for row in page.data]
    # The links name the rest of the question themselves.
    place, params = page.links.get("next"), None
assert seen == ["Augusta"] + [f"N{number:03}" for number in range(120)], seen

# Refusals.
refused(lambda: Prospect.from_id(10**6).refresh(), 404, "resourceNotFound")
refused(lambda: api.endpoint("nothings").get(), 404, "routeNotFound")
nameless = refused(lambda: Account().save(), 422, "validationError")
assert nameless["source"]["pointer"] == "/data/attributes/name", nameless
twice = JsonApiObject(type="prospect", attributes={"emails": ["n1@example.test"]})
refused(lambda: api.endpoint("prospects").post(object=twice), 422, "validationError")
plain = {"Content-Type": "application/json"}
refused(lambda: api.endpoint("prospects").post(object=twice, headers=plain), 415, "unsupportedMediaType")
nobody = orm.OrmApi.config({**CONFIG, "AUTH": Bearer("no-such")})
refused(lambda: nobody.endpoint("prospects").get(), 401, "unauthorized")
assert api.endpoint(f"prospects/{ada.id}").delete().status_code == 204
assert not Prospect.exists(ada.id)

print("jsonapi-requests", version("jsonapi-requests"))
