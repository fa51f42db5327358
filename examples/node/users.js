#!/usr/bin/env node
// The whole of users.v1 from JavaScript, on @grpc/grpc-js.
//
//     npm install && node users.js TARGET CA_FILE TOKEN_FILE [WATCH_SECONDS]
//     node users.js dns:///localhost:50051 ../../run/certs/ca.pem ../../run/certs/token 2
//
// A target of dns:///name:port stands for all addresses of the name; calls go to each in turn.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { once } = require('node:events');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

/**
 * @typedef {object} User
 * @property {string} id
 * @property {string} username
 * @property {string} email
 * @property {string[]} roles
 * @property {string} status
 * @property {{first_name: string, last_name: string, avatar_url: string} | null} profile
 * @property {string} etag
 */

const BATCH = 20;
const SYNC = 50;
const run = `${Date.now().toString(36)}${process.pid}`; // makes the names of this run unlike those of another

const definition = protoLoader.loadSync('users/v1/users.proto', {
  includeDirs: [process.env.USERD_PROTO ?? path.join(__dirname, '..', '..', 'proto')],
  keepCase: true, longs: String, enums: String, defaults: true,
});
const { UserService } = grpc.loadPackageDefinition(definition).users.v1;

// Reads are safe to repeat; a write is not, unless it carries a request_id.
const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{
    name: ['GetUser', 'ListUsers'].map((method) => ({ service: 'users.v1.UserService', method })),
    retryPolicy: {
      maxAttempts: 4,
      initialBackoff: '0.1s',
      maxBackoff: '2s',
      backoffMultiplier: 2,
      retryableStatusCodes: ['UNAVAILABLE'],
    },
  }],
};

/**
 * @param {string} target
 * @param {string} caFile
 * @param {string} tokenFile read at each call: it may be rotated
 */
function connect(target, caFile, tokenFile) {
  const tls = grpc.credentials.createSsl(fs.readFileSync(caFile));
  const token = grpc.credentials.createFromMetadataGenerator((_, done) => {
    fs.readFile(tokenFile, 'utf8', (error, text) => {
      if (error) { done(error); return; }
      const metadata = new grpc.Metadata();
      metadata.set('authorization', `Bearer ${text.trim()}`);
      done(null, metadata);
    });
  });
  return new UserService(target, grpc.credentials.combineChannelCredentials(tls, token), {
    'grpc.service_config': JSON.stringify(SERVICE_CONFIG),
    'grpc.initial_reconnect_backoff_ms': 500,
    'grpc.max_reconnect_backoff_ms': 10000,
  });
}

/** A unary call as a promise, with a deadline of five seconds. */
function call(client, method, request, timeoutMs = 5000) {
  return new Promise((resolve, reject) => {
    client[method](request, { deadline: Date.now() + timeoutMs },
      (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

/** @param {string} what @param {User} user */
function print(what, user) {
  const roles = user.roles.length ? `, roles ${user.roles.join(' ')}` : '';
  console.log(`${what}: ${user.id} ${user.username} <${user.email}> ${user.status}${roles}`);
}

function printError(what, error) {
  const details = error.metadata?.get('grpc-status-details-bin')[0];
  console.log(`${what}: ${grpc.status[error.code]}: ${error.details}`
    + `${details ? ` (${details.length} bytes of details)` : ''}`);
}

/** Writes all items no faster than the server takes them, half-closes, and reads the replies meanwhile. */
async function exchange(stream, items, onReply) {
  const over = new Promise((resolve, reject) => {
    stream.on('data', onReply);
    stream.on('error', reject);
    stream.on('end', resolve);
  });
  const write = async () => {
    for (const item of items) if (!stream.write(item)) await once(stream, 'drain');
    stream.end();
  };
  await Promise.all([over, write()]);
}

async function showErrors(client) {
  for (const [method, request] of [['GetUser', { id: 'nobody' }], ['CreateUser', { username: 'x' }]]) {
    await call(client, method, request).catch((error) => printError(`as expected, ${method}`, error));
  }
  await call(client, 'GetUser', { id: 'nobody' }, 1).catch((error) => printError('in one millisecond', error));
}

async function listAll(client) {
  let [token, pages, users] = ['', 0, 0];
  do {
    const page = await call(client, 'ListUsers', {
      page_size: 25, page_token: token, filter: `username = "*${run}*"`,
    });
    pages += 1;
    users += page.users.length;
    token = page.next_page_token;
  } while (token);
  console.log(`listed: ${users} users on ${pages} pages`);
}

/** Watches for some seconds, and syncs users meanwhile. */
async function watchAndSync(client, id, seconds) {
  const watch = client.WatchUser({ id });
  let states = 0;
  const ended = new Promise((resolve) => {
    watch.on('error', resolve);
    watch.on('end', () => resolve(null));
  });
  watch.on('data', (user) => {
    states += 1;
    print('watched', user);
    if (states === 1) {
      call(client, 'UpdateUser', { id, user: { roles: ['watched'] } })
        .catch((error) => printError('update', error));
    }
  });
  setTimeout(() => watch.cancel(), seconds * 1000);

  let stored = 0;
  const users = Array.from({ length: SYNC }, (_, i) => (
    { username: `sync${i}-${run}`, email: `sync${i}-${run}@example.com` }));
  await exchange(client.SyncUsers(), users, () => { stored += 1; });
  const error = await ended;
  if (error) printError('watch ended', error); // CANCELLED, by us
  console.log(`sync: ${stored} of ${SYNC} users stored; ${states} states watched`);
}

async function main() {
  const [target, caFile, tokenFile, watchSeconds = '60'] = process.argv.slice(2);
  if (!tokenFile) {
    console.error('usage: users.js TARGET CA_FILE TOKEN_FILE [WATCH_SECONDS]');
    process.exit(64);
  }
  const client = connect(target, caFile, tokenFile);
  try {
    const username = `ada-${run}`;
    const { user } = await call(client, 'CreateUser', {
      username, email: `${username}@example.com`, password: 'correct horse', request_id: username,
    });
    print('created', user);
    print('got', (await call(client, 'GetUser', { id: user.id })).user);
    print('updated', (await call(client, 'UpdateUser', {
      id: user.id,
      user: { status: 'USER_STATUS_INACTIVE', profile: { first_name: 'Ada' } },
      update_mask: { paths: ['status', 'profile.first_name'] },
    })).user);
    await showErrors(client);

    const metadata = new grpc.Metadata();
    metadata.set('users-continue-on-error', 'true');
    let created = 0;
    await exchange(client.BatchCreateUsers(metadata), Array.from({ length: BATCH }, (_, i) => (
      { username: `batch${i}-${run}`, email: `batch${i}-${run}@example.com`, password: 'correct battery' })),
    (reply) => {
      if (reply.user) created += 1;
      else console.log(`an item of the batch: ${grpc.status[reply.error.code]}: ${reply.error.message}`);
    });
    console.log(`batch: ${created} of ${BATCH} users created`);

    await watchAndSync(client, user.id, Number(watchSeconds));
    await listAll(client);
    await call(client, 'DeleteUser', { id: user.id });
    console.log(`deleted: ${user.id}`);
  } finally {
    client.close();
  }
}

main().catch((error) => {
  console.error(`users: ${error.code === undefined ? error.stack : `${grpc.status[error.code]}: ${error.details}`}`);
  process.exitCode = 1;
});
