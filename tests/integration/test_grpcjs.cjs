#!/usr/bin/env node
// The JavaScript client over TLS, with the proto file loaded at run time: what the guide's own clients do.
'use strict';

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

if (!process.env.TEST_TARGET) {
  const runner = path.join(__dirname, 'lib', 'with_server.py');
  const ran = spawnSync(runner, [process.execPath, __filename], { stdio: 'inherit' });
  process.exit(ran.status ?? 1);
}

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTO_ROOT = path.join(__dirname, '..', '..', 'proto');
const SLOW = Number(process.env.USERD_SLOW || 1);
const DEADLINE_MS = 30000 * SLOW;
const PASSWORD = 'correct horse battery';

const definition = protoLoader.loadSync('users/v1/users.proto', {
  includeDirs: [PROTO_ROOT, '/usr/include'],
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
});
const { UserService } = grpc.loadPackageDefinition(definition).users.v1;
const token = fs.readFileSync(process.env.TEST_TOKEN_FILE, 'utf8').trim();
const tls = grpc.credentials.createSsl(fs.readFileSync(process.env.TEST_CA));

function connect(bearer) {
  const callCredentials = grpc.credentials.createFromMetadataGenerator((_, done) => {
    const metadata = new grpc.Metadata();
    if (bearer) metadata.set('authorization', `Bearer ${bearer}`);
    done(null, metadata);
  });
  return new UserService(process.env.TEST_TARGET,
    grpc.credentials.combineChannelCredentials(tls, callCredentials));
}

const client = connect(token);

function call(method, request, on = client, options = { deadline: Date.now() + DEADLINE_MS }) {
  return new Promise((resolve, reject) => {
    on[method](request, options, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

let serial = 0;
async function create(changes = {}) {
  serial += 1;
  const reply = await call('CreateUser', {
    username: `js${serial}`, email: `js${serial}@example.com`, password: PASSWORD, ...changes,
  });
  return reply.user;
}

async function expectError(promise, code, text) {
  const error = await promise.then(() => null, (caught) => caught);
  assert(error, 'the call succeeded');
  assert.strictEqual(error.code, code, `${error.code}: ${error.details}`);
  if (text !== undefined) assert.strictEqual(error.details, text);
  return error;
}

const named = (name, i) => ({ username: `${name}${i}`, email: `${name}${i}@example.com` });
const draft = (name, i) => ({ ...named(name, i), password: PASSWORD });

// Hands everything a stream gives to `take`; resolves to the error it ended with, or null.
function gather(stream, take) {
  return new Promise((resolve) => {
    stream.on('data', take);
    stream.on('error', resolve);
    stream.on('end', () => resolve(null));
  });
}

// Writes all requests, ends, and reads what comes meanwhile.
async function exchange(stream, requests) {
  const replies = [];
  const ended = gather(stream, (reply) => replies.push(reply));
  requests.forEach((request) => stream.write(request));
  stream.end();
  return { replies, error: await ended };
}

const batch = (requests, metadata = new grpc.Metadata()) => (
  exchange(client.BatchCreateUsers(metadata), requests));
const sync = (users) => exchange(client.SyncUsers(), users);

async function until(condition) {
  const end = Date.now() + DEADLINE_MS;
  while (!condition()) {
    assert(Date.now() < end, 'waited too long');
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
}

const tests = {
  async 'creates, reads, updates and deletes a user'() {
    const user = await create({ username: 'Jürgen' });
    assert.strictEqual(user.username, 'Jürgen');
    assert.strictEqual(user.status, 'USER_STATUS_ACTIVE');
    assert(Number(user.created_at) > 1700000000000, user.created_at);
    assert.deepStrictEqual((await call('GetUser', { id: user.id })).user, user);

    const changed = (await call('UpdateUser', {
      id: user.id,
      user: { profile: { first_name: 'Jürgen' }, roles: ['a', 'b'], status: 'USER_STATUS_INACTIVE' },
      update_mask: { paths: ['profile.first_name', 'roles', 'status'] },
    })).user;
    assert.strictEqual(changed.profile.first_name, 'Jürgen');
    assert.deepStrictEqual(changed.roles, ['a', 'b']);
    assert.strictEqual(changed.status, 'USER_STATUS_INACTIVE');
    assert.notStrictEqual(changed.etag, user.etag);

    assert.deepStrictEqual(await call('DeleteUser', { id: user.id }), { success: true });
    await expectError(call('GetUser', { id: user.id }), grpc.status.NOT_FOUND,
      `User ${user.id} not found`);
  },

  async 'tells errors by status and text'() {
    await expectError(call('GetUser', { id: '' }), grpc.status.INVALID_ARGUMENT);
    await expectError(call('GetUser', { id: 'ünknown %' }), grpc.status.NOT_FOUND,
      'User ünknown % not found');
    await expectError(call('CreateUser', { username: 'x' }), grpc.status.INVALID_ARGUMENT,
      'Missing required fields');
    const user = await create();
    await expectError(create({ username: user.username.toUpperCase() }),
      grpc.status.ALREADY_EXISTS, 'User already exists');
    await expectError(call('UpdateUser', {
      id: user.id, user: { etag: 'stale', roles: ['x'] }, update_mask: { paths: ['roles'] },
    }), grpc.status.ABORTED);
    await expectError(call('DeleteUser', { id: 'nobody' }), grpc.status.NOT_FOUND,
      'User nobody not found');
  },

  async 'sends details with every error'() {
    const error = await expectError(call('GetUser', { id: 'nobody' }), grpc.status.NOT_FOUND);
    const [details] = error.metadata.get('grpc-status-details-bin');
    assert(details.includes('type.googleapis.com/google.rpc.ErrorInfo'));
    assert(details.includes('users.v1'));
    assert(details.includes('User nobody not found'));
  },

  async 'wants a good token'() {
    const nobody = connect(null);
    await expectError(call('GetUser', { id: 'x' }, nobody), grpc.status.UNAUTHENTICATED,
      'No authentication token provided');
    nobody.close();
    const forger = connect('forged');
    await expectError(call('GetUser', { id: 'x' }, forger), grpc.status.UNAUTHENTICATED,
      'Invalid authentication token');
    forger.close();
  },

  async 'lists users page by page'() {
    await sync(Array.from({ length: 25 }, (_, i) => named('paged', i)));
    const seen = [];
    let pageToken = '';
    do {
      const page = await call('ListUsers', {
        page_size: 10, page_token: pageToken, filter: 'username = "paged*"',
      });
      assert.strictEqual(page.total_count, 25);
      seen.push(...page.users.map((user) => user.username));
      pageToken = page.next_page_token;
    } while (pageToken);
    assert.deepStrictEqual(seen, Array.from({ length: 25 }, (_, i) => `paged${i}`));
    await expectError(call('ListUsers', { filter: 'nonsense = 1' }), grpc.status.INVALID_ARGUMENT);
    await expectError(call('ListUsers', { page_token: '50' }), grpc.status.INVALID_ARGUMENT);
  },

  async 'watches a user until it is deleted'() {
    const user = await create();
    const stream = client.WatchUser({ id: user.id });
    const states = [];
    const ended = gather(stream, (state) => states.push(state));
    await until(() => states.length === 1);
    for (let i = 0; i < 5; i += 1) {
      await call('UpdateUser', { id: user.id, user: { roles: [`r${i}`] } });
      await until(() => states.length === i + 2);
    }
    await call('DeleteUser', { id: user.id });
    assert.strictEqual(await ended, null);
    assert.deepStrictEqual(states.map((state) => state.roles.join()),
      ['', 'r0', 'r1', 'r2', 'r3', 'r4', 'r4']);
    assert.strictEqual(states.at(-1).status, 'USER_STATUS_DELETED');
    const missing = await gather(client.WatchUser({ id: 'nobody' }), () => {});
    assert.strictEqual(missing.code, grpc.status.NOT_FOUND);
  },

  async 'creates a batch, in order'() {
    const { replies, error } = await batch(Array.from({ length: 40 }, (_, i) => draft('bulk', i)));
    assert.strictEqual(error, null);
    assert.deepStrictEqual(replies.map((reply) => reply.user.username),
      Array.from({ length: 40 }, (_, i) => `bulk${i}`));
  },

  async 'ends a batch at its first bad item, or goes on when asked to'() {
    const items = [draft('half', 0), { username: 'half1' }, draft('half', 2)];
    const stopped = await batch(items);
    assert.strictEqual(stopped.replies.length, 1);
    assert.strictEqual(stopped.error.code, grpc.status.INVALID_ARGUMENT);
    assert.strictEqual((await call('ListUsers', { filter: 'username = "half*"' })).total_count, 1);
    const metadata = new grpc.Metadata();
    metadata.set('users-continue-on-error', 'true');
    const { replies, error } = await batch(items, metadata);
    assert.strictEqual(error, null);
    assert.deepStrictEqual(replies.map((reply) => reply.error?.code ?? 0), [6, 3, 0]);
  },

  async 'runs the client sequence of the guide'() {
    // GetUser with a deadline, a watch that is cancelled, and both streams written whole, then
    // half-closed, with the replies read as they come.
    const user = await create({ username: 'guide', email: 'guide@example.com' });
    const got = await call('GetUser', { id: user.id }, client, { deadline: Date.now() + 5000 * SLOW });
    assert.deepStrictEqual(got.user, user);
    const watching = client.WatchUser({ id: user.id });
    const states = [];
    const ended = gather(watching, (state) => states.push(state));
    const created = await batch([draft('guided', 0), draft('guided', 1), draft('guided', 2)]);
    assert.strictEqual(created.error, null);
    const synced = await sync(created.replies.map((reply) => (
      { ...reply.user, status: 'USER_STATUS_INACTIVE', etag: '' })));
    assert.strictEqual(synced.error, null);
    assert(synced.replies.every((one) => one.status === 'USER_STATUS_INACTIVE'));
    await call('UpdateUser', { id: user.id, user: { profile: { first_name: 'G' } } });
    await until(() => states.length === 2);
    assert.strictEqual(states[1].profile.first_name, 'G');
    watching.cancel();
    assert.strictEqual((await ended).code, grpc.status.CANCELLED);
    assert.deepStrictEqual(await call('DeleteUser', { id: user.id }), { success: true });
  },

  async 'refuses a message over the limit and goes on'() {
    await expectError(call('GetUser', { id: 'a'.repeat(70000) }), grpc.status.RESOURCE_EXHAUSTED);
    await expectError(call('GetUser', { id: 'a'.repeat(900000) }), grpc.status.RESOURCE_EXHAUSTED);
    assert((await create()).id);
  },

  async 'keeps deadlines'() {
    await expectError(call('GetUser', { id: 'x' }, client, { deadline: Date.now() - 1000 }),
      grpc.status.DEADLINE_EXCEEDED);
  },

  async 'answers two hundred calls at once on one channel'() {
    const user = await create();
    const replies = await Promise.all(
      Array.from({ length: 200 }, () => call('GetUser', { id: user.id })));
    for (const reply of replies) assert.deepStrictEqual(reply.user, user);
  },

  async 'gives one of many the name they all want'() {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, () => create({ username: 'wanted', email: 'wanted@example.com' })));
    assert.strictEqual(outcomes.filter((one) => one.status === 'fulfilled').length, 1);
    for (const one of outcomes) {
      if (one.status === 'rejected') assert.strictEqual(one.reason.code, grpc.status.ALREADY_EXISTS);
    }
  },
};

async function main() {
  let passed = 0;
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test();
      passed += 1;
      console.log(`ok     ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }
  client.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

main();
