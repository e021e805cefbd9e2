// Drives the mock of Salesforce with jsforce, as it comes from the registry.
//
// Usage: node salesforce.cjs http://127.0.0.1:PORT

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const jsforce = require('jsforce');

const MOCK = process.argv[2];
const USERNAME = 'sync@example.test';
const PASSWORD = 'pa55wordsectoken';
const APP = { loginUrl: MOCK, clientId: 'client-id', clientSecret: 'client-secret' };
const KEY = fs.readFileSync(path.join(__dirname, 'salesforce-mock-key.pem'));

const connect = (more) => new jsforce.Connection({ loginUrl: MOCK, version: '59.0', logLevel: 'NONE', ...more });
const refused = async (work, name) => {
  const error = await work().then(() => assert.fail(`${name} was expected`), (error) => error);
  assert.equal(error.errorCode ?? error.name, name, error.message);
  return error;
};

function assertion(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'RS256' })}.${part(claims)}`;
  return `${text}.${crypto.sign('RSA-SHA256', Buffer.from(text), KEY).toString('base64url')}`;
}

async function logins() {
  const conn = connect();
  const user = await conn.login(USERNAME, PASSWORD);
  assert.equal(user.id.length, 18);
  const identity = await conn.identity();
  assert.deepEqual([identity.username, identity.user_id, identity.organization_id], [USERNAME, user.id, user.organizationId]);
  const wrong = await connect().login(USERNAME, 'wrong').catch((error) => error);
  assert.match(wrong.message, /^INVALID_LOGIN: Invalid username, password, security token; or user locked out\./);
  const left = connect({ instanceUrl: MOCK, accessToken: conn.accessToken });
  await conn.logout();
  await refused(() => left.query('SELECT Id FROM User'), 'INVALID_SESSION_ID');

  const password = connect({ oauth2: APP });
  assert.equal((await password.login(USERNAME, PASSWORD)).id, user.id);
  const app = connect({ oauth2: APP });
  const own = await app.authorize({ grant_type: 'client_credentials' });
  assert.notEqual(own.id, user.id);
  const signed = connect({ oauth2: { loginUrl: MOCK } });
  const exp = Math.floor(Date.now() / 1000) + 180;
  await signed.authorize({
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    assertion: assertion({ iss: 'client-id', sub: USERNAME, aud: MOCK, exp }),
  });
  assert.equal((await signed.identity()).username, USERNAME);
  // A token that is over is renewed by the client.
  const renewed = [];
  const refreshed = connect({ oauth2: APP, instanceUrl: MOCK, accessToken: '00D!over', refreshToken: 'sf-refresh-1' });
  refreshed.on('refresh', (token) => renewed.push(token));
  assert.equal((await refreshed.query('SELECT Id FROM User')).totalSize, 3);
  assert.equal(renewed.length, 1);
  const stale = connect({ oauth2: APP, instanceUrl: MOCK, accessToken: '00D!over', refreshToken: 'no-such' });
  const over = await refused(() => stale.query('SELECT Id FROM User'), 'Error');
  assert.match(over.message, /expired access\/refresh token/);
  return signed;
}

async function records(conn) {
  const contacts = conn.sobject('Contact');
  const made = await contacts.create({ LastName: 'Lovelace', FirstName: 'Ada' });
  assert.ok(made.success);
  assert.equal((await contacts.retrieve(made.id)).Name, 'Ada Lovelace');
  await contacts.update({ Id: made.id, Title: 'Countess' });
  const several = await contacts.upsert(
    [{ External_Id__c: 'a', LastName: 'A' }, { External_Id__c: 'A', LastName: 'B' }, { External_Id__c: 'c' }],
    'External_Id__c', { allOrNone: false },
  );
  assert.deepEqual(several.map((item) => [item.success, item.created]), [[true, true], [true, false], [false, undefined]]);
  assert.equal(several[2].errors[0].statusCode, 'REQUIRED_FIELD_MISSING');
  // More than one call takes.
  const many = await contacts.create(
    Array.from({ length: 450 }, (_, number) => ({ LastName: 'Many', External_Id__c: `m${number}` })), { allowRecursive: true },
  );
  assert.equal(new Set(many.map((item) => item.id)).size, 450);
  const read = await contacts.retrieve(many.slice(0, 3).map((item) => item.id));
  assert.deepEqual(read.map((row) => row.External_Id__c), ['m0', 'm1', 'm2']);
  assert.equal(await contacts.count({ LastName: 'Many' }), 450);
  const found = await contacts.find({ LastName: 'Many', External_Id__c: { $like: 'm1%' } }, 'Id, External_Id__c')
    .sort({ External_Id__c: -1 }).limit(3);
  assert.deepEqual(found.map((row) => row.External_Id__c), ['m199', 'm198', 'm197']);
  const gone = await contacts.destroy(many.slice(0, 250).map((item) => item.id), { allowRecursive: true });
  assert.ok(gone.every((item) => item.success));
  assert.equal(await contacts.count({ LastName: 'Many' }), 200);
  assert.equal((await conn.query("SELECT Id FROM Contact WHERE LastName = 'Many'", { scanAll: true })).totalSize, 450);

  const hour = 60 * 60 * 1000;
  const [start, end] = [new Date(Date.now() - hour), new Date(Date.now() + hour)];
  assert.equal((await contacts.deleted(start, end)).deletedRecords.length, 250);
  assert.equal((await contacts.updated(start, end)).ids.length, 202);

  await refused(() => contacts.create({ LastName: 'x', Nope__c: 1 }), 'INVALID_FIELD');
  await refused(() => contacts.retrieve('003ak0000000000AAA'), 'NOT_FOUND');
  await refused(() => conn.query('SELECT Id FROM Nope'), 'INVALID_TYPE');
  await refused(() => conn.sobject('Nope').describe(), 'NOT_FOUND');
}

async function described(conn) {
  const global = await conn.describeGlobal();
  assert.deepEqual([global.maxBatchSize, global.sobjects.find((it) => it.name === 'Account').keyPrefix], [200, '001']);
  const fields = (await conn.describe('Contact')).fields;
  assert.ok(fields.find((field) => field.name === 'External_Id__c').unique);
  assert.ok((await conn.limits()).DailyApiRequests.Remaining > 0);
  assert.equal(conn.limitInfo.apiUsage.limit, 15000);
}

async function bulk(conn) {
  const input = Array.from({ length: 2300 }, (_, number) => ({ External_Id__c: `b${number}`, LastName: 'Bulk, "quoted"' }));
  input.push({ External_Id__c: 'bad', LastName: '' });
  const told = await conn.bulk2.loadAndWaitForResults({
    object: 'Contact', operation: 'upsert', externalIdFieldName: 'External_Id__c', input, pollInterval: 50, pollTimeout: 20000,
  });
  assert.deepEqual([told.successfulResults.length, told.failedResults.length, told.unprocessedRecords.length], [2300, 1, 0]);
  assert.match(told.failedResults[0].sf__Error, /^REQUIRED_FIELD_MISSING:/);
  conn.bulk2.pollInterval = 50;
  const rows = await (await conn.bulk2.query("SELECT Id, External_Id__c FROM Contact WHERE External_Id__c LIKE 'b%'")).toArray();
  assert.equal(new Set(rows.map((row) => row.External_Id__c)).size, 2300);
  // The same, page by page over locators.
  const all = await conn.query("SELECT Id FROM Contact WHERE External_Id__c LIKE 'b%'", { autoFetch: true, maxFetch: 5000 });
  assert.deepEqual([all.totalSize, all.records.length, all.done], [2300, 2300, true]);
  const job = conn.bulk2.createJob({ operation: 'delete', object: 'Contact' });
  await job.open();
  await job.abort();
  assert.equal((await job.check()).state, 'Aborted');
  await job.delete();
}

(async () => {
  const conn = await logins();
  await records(conn);
  await described(conn);
  await bulk(conn);
  console.log('jsforce', jsforce.VERSION ?? require('jsforce/package.json').version);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
