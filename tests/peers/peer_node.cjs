#!/usr/bin/env node
// The foreign server of README.md on @grpc/grpc-js.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const { parseArgs } = require('node:util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const { values: options } = parseArgs({
  options: Object.fromEntries(['listen', 'cert', 'key', 'client-ca', 'details']
    .map((name) => [name, { type: 'string' }])),
});
const load = (file, folder) => grpc.loadPackageDefinition(protoLoader.loadSync(file, {
  includeDirs: [folder, '/usr/include'], keepCase: true, enums: String, defaults: true,
}));
const users = load('users/v1/users.proto', path.join(__dirname, '..', '..', 'proto')).users.v1;
const health = load('grpc/health/v1/health.proto', '/usr/share/grpc-proto').grpc.health.v1;

const details = options.details ? Buffer.from(options.details, 'hex') : null;
const state = { unavailable: false, serving: true, calls: 0, cancelled: 0 };
const flaky = new Map();
const healthWatchers = new Set();

function failure(code, text) {
  const metadata = new grpc.Metadata();
  if (details) metadata.set('grpc-status-details-bin', details);
  return { code, details: text, metadata };
}

const taken = () => failure(grpc.status.ALREADY_EXISTS, 'User already exists');
const missing = () => failure(grpc.status.NOT_FOUND, 'User missing not found');

function userOf(id, { username = id, size = 0 } = {}) {
  return {
    id, username, email: `${username}@example.com`, status: 'USER_STATUS_ACTIVE',
    ...(size ? { profile: { avatar_url: 'x'.repeat(size) } } : {}),
  };
}

// Counts a call; the failure it must have at once, or null.
function begin(call) {
  state.calls += 1;
  return state.unavailable ? failure(grpc.status.UNAVAILABLE, 'told to be unavailable') : null;
}

// This call is open until the client gives up.
function leaveOpen(call) {
  call.on('cancelled', () => { state.cancelled += 1; });
}

const unary = (answer) => (call, done) => {
  const refusal = begin(call);
  if (refusal) done(refusal);
  else answer(call, done);
};

const GetUser = unary((call, done) => {
  const { id } = call.request;
  const [kind, ...rest] = id.split(':');
  if (kind === 'slow') { leaveOpen(call); return; }
  if (kind === 'missing') { done(missing()); return; }
  if (kind === 'flaky') {
    const count = (flaky.get(rest[1]) ?? 0) + 1;
    flaky.set(rest[1], count);
    if (count <= Number(rest[0])) {
      done(failure(grpc.status.UNAVAILABLE, `failure ${count} of ${rest[0]}`));
      return;
    }
  }
  const changes = {};
  if (kind === 'size') changes.size = Number(rest[0]);
  if (kind === 'field') changes.username = String(call.metadata.get(rest[0])[0] ?? '');
  done(null, { user: userOf(id, changes) });
});

const created = ({ username, email }) => ({
  user: { id: `id-${username}`, username, email, status: 'USER_STATUS_ACTIVE' },
});

const CreateUser = unary((call, done) => {
  if (call.request.username === 'taken') done(taken());
  else done(null, created(call.request));
});

// Writes states as fast as they are read.
async function writeStates(call, id, count, size) {
  let wake = () => {};
  call.on('drain', () => wake());
  call.on('cancelled', () => wake());
  for (let i = 0; i < count && !call.cancelled; i += 1) {
    if (!call.write(userOf(id, { username: `state${i}`, size }))) {
      await new Promise((go) => { wake = go; });
    }
  }
  call.end();
}

function WatchUser(call) {
  const refusal = begin(call);
  const { id } = call.request;
  const [kind, ...rest] = id.split(':');
  if (refusal) {
    call.emit('error', refusal);
  } else if (kind === 'missing') {
    call.emit('error', missing());
  } else if (kind === 'states') {
    writeStates(call, id, Number(rest[0]), Number(rest[1]));
  } else {
    leaveOpen(call);
    call.write(userOf(id));
  }
}

function BatchCreateUsers(call) {
  const refusal = begin(call);
  if (refusal) { call.emit('error', refusal); return; }
  const goesOn = call.metadata.get('users-continue-on-error')[0] === 'true';
  let isOver = false;
  call.on('data', (request) => {
    if (isOver) return;
    if (request.username !== 'taken') {
      if (!call.write(created(request))) {
        call.pause();
        call.once('drain', () => call.resume());
      }
    } else if (goesOn) {
      call.write({ error: { code: grpc.status.ALREADY_EXISTS, message: 'User already exists' } });
    } else {
      isOver = true;
      call.emit('error', taken());
    }
  });
  call.on('end', () => { if (!isOver) call.end(); });
}

const healthNow = () => ({ status: state.serving ? 'SERVING' : 'NOT_SERVING' });

const healthCalls = {
  Check: (call, done) => done(null, healthNow()),
  Watch: (call) => {
    healthWatchers.add(call);
    call.on('cancelled', () => healthWatchers.delete(call));
    call.write(healthNow());
  },
};

function makeCredentials() {
  if (!options.cert) return grpc.ServerCredentials.createInsecure();
  const authority = options['client-ca'] ? fs.readFileSync(options['client-ca']) : null;
  return grpc.ServerCredentials.createSsl(authority, [{
    private_key: fs.readFileSync(options.key), cert_chain: fs.readFileSync(options.cert),
  }], authority !== null);
}

const say = (line) => fs.writeSync(1, `${line}\n`);
const server = new grpc.Server({
  'grpc.max_receive_message_length': 64 << 20, 'grpc.max_send_message_length': 64 << 20,
});

function obey(line) {
  const [word, value] = line.trim().split(' ');
  if (word === 'unavailable') {
    state.unavailable = value === 'on';
    say('ok');
  } else if (word === 'serving') {
    state.serving = value === 'on';
    healthWatchers.forEach((call) => call.write(healthNow()));
    say('ok');
  } else if (word === 'calls' || word === 'cancelled') {
    say(`${word} ${state[word]}`);
  } else if (word === 'stop') {
    healthWatchers.forEach((call) => call.end());
    server.tryShutdown(() => process.exit(0));
  } else {
    say(`unknown command ${word}`);
  }
}

server.addService(users.UserService.service, { GetUser, CreateUser, WatchUser, BatchCreateUsers });
server.addService(health.Health.service, healthCalls);
server.bindAsync(options.listen, makeCredentials(), (error, port) => {
  if (error) throw error;
  say(`listening ${options.listen.replace(/:\d+$/, '')}:${port}`);
  readline.createInterface({ input: process.stdin }).on('line', obey);
  process.stdin.on('end', () => process.exit(1)); // whoever started it is gone
});
