"""Drives the mock of ServiceNow with the vendor's own client, pysnc, as it comes from the registry.

Usage: servicenow.py http://127.0.0.1:PORT
"""

import sys

import pysnc
from oauthlib.oauth2 import LegacyApplicationClient
from pysnc import ServiceNowClient
from pysnc.exceptions import AuthenticationException, RequestException
from requests_oauthlib import OAuth2Session
from without_tls import WithoutTls, raises, session

MOCK = sys.argv[1]
# The client takes https only.
INSTANCE = MOCK.replace("http://", "https://", 1)


def client(user, password):
    known = session(MOCK)
    known.auth = (user, password)
    return ServiceNowClient(INSTANCE, known, auto_retry=False)


def insert(snow, **fields):
    record = snow.GlideRecord("incident")
    record.initialize()
    for name, value in fields.items():
        record.set_value(name, value)
    return str(record.insert())


snow = client("sync@example.test", "pa55word")

# One record from its making to its end.
made = insert(snow, short_description="Printer down", correlation_id="ext-17", priority="1")
assert len(made) == 32, made
record = snow.GlideRecord("incident")
assert record.get(made)
assert record.get_value("short_description") == "Printer down"
assert record.get_display_value("state") == "New", record.get_display_value("state")
assert record.number.get_value().startswith("INC")
record.short_description = "Printer up ^ again, = fine"
assert record.update()
again = snow.GlideRecord("incident")
assert again.get("correlation_id", "ext-17")
assert again.get_value("short_description") == "Printer up ^ again, = fine"
assert again.get_value("sys_mod_count") == "1"
assert again.delete()
assert not snow.GlideRecord("incident").get(made)
buried = snow.GlideRecord("sys_audit_delete")
buried.add_query("tablename", "incident")
buried.add_query("documentkey", made)
buried.query()
assert buried.get_row_count() == 1

# Many records over pages, in order, each once.
ids = [insert(snow, short_description=f"Number {number:03}", correlation_id=f"c{number}", priority=str(1 + number % 5))
       for number in range(25)]
listed = snow.GlideRecord("incident", batch_size=10)
listed.add_query("short_description", "STARTSWITH", "Number")
listed.order_by("short_description")
listed.query()
assert listed.get_row_count() == 25
assert [row.get_value("correlation_id") for row in listed] == [f"c{number}" for number in range(25)]
some = snow.GlideRecord("incident")
condition = some.add_query("correlation_id", "c1")
condition.add_or_condition("correlation_id", "c2")
some.add_query("priority", ">", "1")
some.limit = 10
some.query()
assert sorted(row.get_value("correlation_id") for row in some) == ["c1", "c2"]
encoded = snow.GlideRecord("incident")
encoded.add_encoded_query("correlation_idINc3,c4,nobody^ORDERBYDESCcorrelation_id")
encoded.fields = ["correlation_id", "caller_id"]
encoded.query()
assert [row.get_value("correlation_id") for row in encoded] == ["c4", "c3"]

# References, by value, by link and walked along.
me = snow.GlideRecord("sys_user")
assert me.get("user_name", "sync@example.test")
called = insert(snow, short_description="Called", caller_id=me.get_value("sys_id"))
walked = snow.GlideRecord("incident")
walked.fields = "sys_id,caller_id,caller_id.email"
walked.add_query("caller_id.user_name", "sync@example.test")
walked.query()
assert walked.next() and walked.get_value("sys_id") == called
assert walked.get_display_value("caller_id") == me.get_value("name")
assert walked.get_value("caller_id.email") == "sync@example.test"

# A query that is too long for a URL goes through the Batch API, and so do many changes at once.
long = snow.GlideRecord("incident")
long.add_query("sys_id", "IN", ",".join(ids + ["0" * 32] * 400))
long.query()
assert long.get_row_count() == 25
changed = snow.GlideRecord("incident")
changed.add_query("correlation_id", "IN", "c1,c2,c3")
changed.query()
for row in changed:
    row.set_value("category", "batched")
changed.rewind()
assert changed.update_multiple()
proof = snow.GlideRecord("incident")
proof.add_query("category", "batched")
proof.query()
assert proof.get_row_count() == 3
doomed = snow.GlideRecord("incident")
doomed.add_query("short_description", "STARTSWITH", "Number")
assert doomed.delete_multiple()
left = snow.GlideRecord("incident")
left.query()
assert left.get_row_count() == 1

# Refusals are those that the client knows.
raises(AuthenticationException, lambda: insert(client("sync@example.test", "wrong"), category="x"))
raises(RequestException, lambda: snow.GlideRecord("no_such_table").query())

# OAuth: the password grant, through requests-oauthlib.
oauth = OAuth2Session(client=LegacyApplicationClient(client_id="client-id"))
oauth.trust_env = False
oauth.mount("https://", WithoutTls(MOCK))
oauth.fetch_token(
    token_url=f"{INSTANCE}/oauth_token.do", username="sync@example.test", password="pa55word",
    client_id="client-id", client_secret="client-secret",
)
users = ServiceNowClient(INSTANCE, oauth, auto_retry=False).GlideRecord("sys_user")
users.query()
assert users.get_row_count() == 1

print("pysnc", pysnc.__version__)
