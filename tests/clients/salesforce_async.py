"""Drives the mock of Salesforce with aiosalesforce, as it comes from the registry: composite requests above all.

Usage: salesforce_async.py http://127.0.0.1:PORT
"""

import asyncio
import sys
from importlib.metadata import version

import httpx
from aiosalesforce import Salesforce
from aiosalesforce.auth import ClientCredentialsFlow, SoapLogin
from aiosalesforce.exceptions import SalesforceError

MOCK = httpx.URL(sys.argv[1])


class WithoutTls(httpx.AsyncHTTPTransport):
    """Sends everything to the mock, whichever host of the service the client has in mind."""

    async def handle_async_request(self, request):
        request.url = request.url.copy_with(scheme="http", host=MOCK.host, port=MOCK.port)
        request.headers["Host"] = MOCK.netloc.decode()
        return await super().handle_async_request(request)


async def refused(work):
    try:
        await work
    except SalesforceError as error:
        return error
    raise AssertionError("a refusal was expected")


async def main():
    client = httpx.AsyncClient(transport=WithoutTls(), trust_env=False)
    login = SoapLogin("sync@example.test", "pa55word", "sectoken")
    sf = Salesforce(client, "https://mock.my.salesforce.com", login)
    app = Salesforce(client, sf.base_url, ClientCredentialsFlow("client-id", "client-secret"))
    assert [row["Name"] async for row in app.query("SELECT Name FROM Organization")] == ["Mock Org"]
    wrong = await refused(Salesforce(client, sf.base_url, SoapLogin("x", "y", "z")).get_limits())
    assert wrong.error_code == "INVALID_LOGIN", wrong

    # Later parts take over from earlier ones, all or none.
    async with sf.composite(all_or_none=True) as composite:
        account = composite.sobject.create("Account", {"Name": "Acme", "External_Id__c": "acme"})
        contact = composite.sobject.create("Contact", {"LastName": "Ann", "AccountId": str(account.reference.id)})
        found = composite.query(f"SELECT Id, Account.Name FROM Contact WHERE AccountId = '{account.reference.id}'")
    assert [(row["Id"], row["Account"]["Name"]) for row in found.records] == [(contact.id, "Acme")]
    async with sf.composite(all_or_none=True) as composite:
        good = composite.sobject.create("Contact", {"LastName": "Ben"})
        bad = composite.sobject.create("Contact", {"FirstName": "Cid"})
    assert (good.status_code, bad.status_code) == (400, 400)
    assert good.response_body[0]["errorCode"] == "PROCESSING_HALTED", good.response_body
    assert bad.response_body[0]["errorCode"] == "REQUIRED_FIELD_MISSING", bad.response_body
    assert [row async for row in sf.query("SELECT Id FROM Contact WHERE LastName = 'Ben'")] == []

    # A batch goes on.
    async with sf.composite.batch() as batch:
        upserted = batch.sobject.upsert("Account", "acme", "External_Id__c", {"Name": "Acme Ltd"})
        missing = batch.sobject.get("Account", "001ak0000000000AAA")
        listed = batch.query("SELECT Name FROM Account")
        gone = batch.sobject.delete("Contact", contact.id)
    assert (upserted.created, missing.status_code, gone.status_code) == (False, 404, 204)
    assert [row["Name"] for row in listed.records] == ["Acme Ltd"]

    # Single records, and a bulk job that is driven by hand.
    made = await sf.sobject.create("Contact", {"LastName": "Dan"})
    await sf.sobject.update("Contact", made, {"Title": "Dr"})
    assert (await sf.sobject.get("Contact", made, fields=["Title"]))["Title"] == "Dr"
    lost = await refused(sf.sobject.get("Contact", "003ak00000zzzzzAAA"))
    assert lost.error_code == "NOT_FOUND", lost
    ingest = sf.bulk_v2.ingest
    rows = [{"External_Id__c": f"k{number}", "LastName": "Bulk", "Account": {"External_Id__c": "acme"}} for number in range(300)]
    results = [result async for result in ingest.perform_operation(
        "upsert", "Contact", rows, external_id_field="External_Id__c", polling_interval=0.05)]
    assert [len(result.successful_results) for result in results] == [300], results[0].failed_results[:3]
    job = results[0].job_info
    assert (job.state, job.job_type, job.external_id_field_name) == ("JobComplete", "V2Ingest", "External_Id__c")
    under = [row async for row in sf.query("SELECT Id FROM Contact WHERE Account.Name = 'acme ltd'")]
    assert len(under) == 300, len(under)
    job = await ingest.create_job("insert", "Contact")
    assert (await ingest.abort_job(job.id)).state == "Aborted"
    assert job.id in [known.id async for known in ingest.list_jobs()]
    await ingest.delete_job(job.id)
    assert job.id not in [known.id async for known in ingest.list_jobs()]
    await client.aclose()


asyncio.run(main())
print("aiosalesforce", version("aiosalesforce"))
