"""Drives the mock of Salesforce with simple-salesforce, as it comes from the registry.

Usage: salesforce.py http://127.0.0.1:PORT
"""

import csv
import io
import sys
import warnings
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed, SalesforceExpiredSession, SalesforceMalformedRequest, SalesforceOperationError,
    SalesforceResourceNotFound,
)
from without_tls import raises, session

MOCK = sys.argv[1]
USER = {"username": "sync@example.test", "password": "pa55word"}
APP = {"consumer_key": "client-id", "consumer_secret": "client-secret"}
KEY = str(Path(__file__).with_name("salesforce-mock-key.pem"))
# Before anything happened here, by more than the minutes that the service cuts to.
BEFORE = datetime.now(timezone.utc) - timedelta(hours=1)

# The client repeats in a warning what it raises.
warnings.simplefilter("ignore")


def login(**how):
    return Salesforce(session=session(MOCK), **how)


# Every way in, and that each leads to somebody.
soap = login(**USER, security_token="sectoken")
jwt = login(username=USER["username"], consumer_key="client-id", privatekey_file=KEY)
password = login(username=USER["username"], password="pa55wordsectoken", **APP)
organization = soap.query("SELECT Id, Name FROM Organization")["records"][0]
trusted = login(**USER, organizationId=organization["Id"])
app = login(domain="mock.my", **APP)
for way in [soap, jwt, password, trusted]:
    assert way.oauth2("userinfo")["preferred_username"] == USER["username"], way.auth_type
assert app.oauth2("userinfo")["preferred_username"] == "integration@example.test"
direct = login(session_id=soap.session_id, instance_url=MOCK.replace("http://", "https://"))
assert direct.query("SELECT Id FROM User")["totalSize"] == 3

# Those who may not come in are told why.
refused = raises(SalesforceAuthenticationFailed, lambda: login(**USER, security_token="wrong"))
assert "(code: INVALID_LOGIN): Invalid username, password, security token; or user locked out." in str(refused)
refused = raises(SalesforceAuthenticationFailed, lambda: login(username="x@example.test", password="y", **APP))
assert "(code: invalid_grant): authentication failure" in str(refused)
refused = raises(SalesforceAuthenticationFailed, lambda: login(
    username="x@example.test", consumer_key="client-id", privatekey_file=KEY))
assert "(code: invalid_grant): user hasn't approved this consumer" in str(refused)
refused = raises(SalesforceAuthenticationFailed, lambda: login(
    username=USER["username"], consumer_key="other", privatekey_file=KEY))
assert "(code: invalid_client_id): client identifier invalid" in str(refused)
raises(SalesforceExpiredSession, lambda: login(session_id="00D!x", instance_url=MOCK).query("SELECT Id FROM User"))

sf = soap
# A session that ended is renewed by the client, without a word.
old = sf.session_id
sf.oauth2("revoke", method="POST", params={"token": old})
assert sf.query("SELECT Id FROM User")["totalSize"] == 3
assert sf.session_id != old

# What the org knows of itself.
names = [entry["name"] for entry in sf.describe()["sobjects"]]
assert {"Account", "Contact"} <= set(names), names
fields = {field["name"]: field for field in sf.Contact.describe()["fields"]}
assert fields["External_Id__c"]["externalId"] and not fields["LastName"]["nillable"]
assert sf.Contact.metadata()["objectDescribe"]["keyPrefix"] == "003"
limits = sf.limits()["DailyApiRequests"]
assert 0 < limits["Remaining"] < limits["Max"] == sf.api_usage["api-usage"].total

# One record from its making to its end.
account = sf.Account.create({"Name": "Analytical Engines & Söhne"})
assert account["success"] and len(account["id"]) == 18
made = sf.Contact.create({"LastName": "Lovelace", "Email": "ada@example.test", "AccountId": account["id"]})["id"]
ada = sf.Contact.get(made[:15])
assert (ada["Id"], ada["LastName"], ada["FirstName"], ada["IsDeleted"]) == (made, "Lovelace", None, False)
assert sf.Contact.update(made, {"FirstName": "Ada", "Email": None}) == 204
ada = sf.Contact.get(made)
assert (ada["Name"], ada["Email"]) == ("Ada Lovelace", None), ada
created = sf.Contact.upsert("External_Id__c/ext-1", {"LastName": "Byron"}, raw_response=True)
assert created.status_code == 201 and created.json()["created"]
assert sf.Contact.upsert("External_Id__c/EXT-1", {"LastName": "King"}) == 200, "from version 46 on"
forty_five = login(session_id=sf.session_id, instance_url=MOCK, version="45.0")
assert forty_five.Contact.upsert("External_Id__c/ext-1", {"LastName": "Noel"}) == 204, "up to version 45"
assert sf.Contact.get_by_custom_id("External_Id__c", "ext-1")["LastName"] == "Noel"
assert sf.Contact.delete(made) == 204
gone = raises(SalesforceResourceNotFound, lambda: sf.Contact.delete(made))
assert gone.content[0]["errorCode"] == "ENTITY_IS_DELETED", gone.content

# What went and what changed.
later = datetime.now(timezone.utc) + timedelta(minutes=2)
deleted = sf.Contact.deleted(BEFORE, later)
assert [entry["id"] for entry in deleted["deletedRecords"]] == [made], deleted
updated = sf.Contact.updated(BEFORE, later)
assert len(updated["ids"]) == 1 and updated["latestDateCovered"].endswith(".000+0000"), updated
short = raises(SalesforceMalformedRequest, lambda: sf.Contact.updated(BEFORE, BEFORE))
assert short.content[0]["errorCode"] == "INVALID_REPLICATION_DATE", short.content

# Refusals in the words that the client hands on.
for work, code, words in [
    (lambda: sf.Contact.create({"FirstName": "x"}), "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"),
    (lambda: sf.Contact.create({"LastName": "x", "Nope__c": 1}), "INVALID_FIELD",
     "No such column 'Nope__c' on sobject of type Contact"),
    (lambda: sf.Contact.create({"LastName": "x", "External_Id__c": "ext-1"}), "DUPLICATE_VALUE", "duplicate value found"),
    (lambda: sf.query("SELECT Nope FROM Contact"), "INVALID_FIELD", "No such column 'Nope' on entity 'Contact'"),
    (lambda: sf.query("SELECT Id FROM Contcat"), "INVALID_TYPE", "sObject type 'Contcat' is not supported."),
    (lambda: sf.query("SELECT Id"), "MALFORMED_QUERY", "unexpected token"),
    (lambda: sf.query("SELECT Id FROM Contact WHERE CreatedDate > '2024-01-01T00:00:00Z'"), "INVALID_FIELD", "quotes"),
]:
    told = raises(SalesforceMalformedRequest, work).content[0]
    assert told["errorCode"] == code and words in told["message"], told

# Bulk API 2.0: in, each row with its own result …
rows = [{"External_Id__c": f"b{number:04}", "LastName": f"Number {number:04}", "DoNotCall": number % 2 == 0,
         "Description": 'a "quoted"\nline, and more'} for number in range(2500)]
rows.append({"External_Id__c": "bad", "LastName": "Bad", "Email": "no address"})
job = sf.bulk2.Contact.upsert(records=rows, external_id_field="External_Id__c", wait=0.1)[0]
assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (2501, 1), job
good = list(csv.DictReader(io.StringIO(sf.bulk2.Contact.get_successful_records(job["job_id"]))))
assert len(good) == 2500 and all(row["sf__Created"] == "true" for row in good)
ids = {row["External_Id__c"]: row["sf__Id"] for row in good}
assert list(ids) != sorted(ids), "in an order of its own"
bad = list(csv.DictReader(io.StringIO(sf.bulk2.Contact.get_failed_records(job["job_id"]))))
assert [row["sf__Error"] for row in bad] == ["INVALID_EMAIL_ADDRESS:Email: invalid email address: no address:Email --"]
assert sf.bulk2.Contact.get_unprocessed_records(job["job_id"]).strip().count("\n") == 0
job = sf.bulk2.Contact.update(records=[{"Id": ids["b0001"], "LastName": "Changed"}], wait=0.1)[0]
assert job["numberRecordsFailed"] == 0, job
job = sf.bulk2.Contact.delete(records=[{"Id": ids[f"b{number:04}"]} for number in range(10)], wait=0.1)[0]
assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (10, 0), job
failed = raises(SalesforceOperationError, lambda: sf.bulk2.Contact.insert(records=[{"Nope__c": "x"}], wait=0.1))
assert "InvalidBatch : Field name not found : Nope__c" in str(failed), failed
# … and out, page by page.
pages = list(sf.bulk2.Contact.query(
    "SELECT Id, External_Id__c, Description FROM Contact WHERE External_Id__c LIKE 'b%'", max_records=1000, wait=0.1))
found = [row for page in pages for row in csv.DictReader(io.StringIO(page))]
assert len(pages) == 3 and len({row["Id"] for row in found}) == len(found) == 2490, (len(pages), len(found))
assert found[0]["Description"] == 'a "quoted"\nline, and more'
pages = list(sf.bulk2.Contact.query_all("SELECT Id FROM Contact WHERE IsDeleted = true", wait=0.1))
assert sum(page.strip().count("\n") for page in pages) == 11

# Many records over pages, in order, each once; the deleted ones where they are asked for.
query = "SELECT Id, External_Id__c FROM Contact WHERE External_Id__c LIKE 'b%' ORDER BY External_Id__c"
first = sf.query(query)
assert (first["totalSize"], first["done"], len(first["records"])) == (2490, False, 2000)
rest = sf.query_more(first["nextRecordsUrl"], identifier_is_url=True)
assert (rest["done"], len(rest["records"])) == (True, 490) and "nextRecordsUrl" not in rest
listed = [row["External_Id__c"] for row in sf.query_all_iter(query)]
assert listed == [f"b{number:04}" for number in range(10, 2500)]
assert sf.query_all(query, include_deleted=True)["totalSize"] == 2500
lost = raises(SalesforceMalformedRequest, lambda: sf.query_more("01g000000000000AAA-2000"))
assert lost.content[0]["errorCode"] == "INVALID_QUERY_LOCATOR", lost.content

print("simple-salesforce", version("simple-salesforce"))
