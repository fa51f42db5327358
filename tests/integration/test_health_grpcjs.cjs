#!/usr/bin/env node
// The port for probes, as the JavaScript client sees it: no TLS, no token, and the proto file of Debian's
// grpc-proto loaded at run time. The last test ends the server.
'use strict';

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');

const SLOW = Number(process.env.USERD_SLOW || 1);

if (!process.env.TEST_TARGET) {
  const settings = {
    server: { listen: '127.0.0.1:0', drain_delay_s: 3 * SLOW },
    health: { listen: '127.0.0.1:0' },
    auth: { anonymous_health: 'false' },
  };
  const runner = path.join(__dirname, 'lib', 'with_server.py');
  const ran = spawnSync(runner, [process.execPath, __filename], {
    stdio: 'inherit', env: { ...process.env, TEST_SETTINGS: JSON.stringify(settings) },
  });
  process.exit(ran.status ?? 1);
}

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const DEADLINE_MS = 30000 * SLOW;
const NAMES = ['', 'users.v1.UserService', 'readiness', 'liveness'];

const definition = protoLoader.loadSync('grpc/health/v1/health.proto', {
  includeDirs: ['/usr/share/grpc-proto'], keepCase: true, enums: String, defaults: true,
});
const { Health } = grpc.loadPackageDefinition(definition).grpc.health.v1;

function connect(credentials, target) {
  return new Health(target, credentials);
}

const client = connect(grpc.credentials.createInsecure(), process.env.TEST_HEALTH_TARGET);
const deadline = () => ({ deadline: Date.now() + DEADLINE_MS });

function check(service, on = client) {
  return new Promise((resolve, reject) => {
    on.Check({ service }, deadline(), (error, reply) => (error ? reject(error) : resolve(reply.status)));
  });
}

async function statuses() {
  const found = {};
  for (const name of NAMES) found[name] = await check(name);
  return found;
}

async function failure(promise) {
  const error = await promise.then(() => null, (caught) => caught);
  assert(error, 'the call succeeded');
  return error;
}

// A call of Watch: what it has told and nobody has read, and who waits for it.
class Watcher {
  constructor(service) {
    this.events = [];
    this.waiting = null;
    this.call = client.Watch({ service });
    this.call.on('data', (reply) => this.take(reply.status));
    this.call.on('error', (error) => this.take(error));
  }

  take(event) {
    if (this.waiting) this.waiting(event);
    else this.events.push(event);
    this.waiting = null;
  }

  next() {
    if (this.events.length > 0) return Promise.resolve(this.events.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nothing came')), DEADLINE_MS);
      this.waiting = (event) => { clearTimeout(timer); resolve(event); };
    });
  }
}

const tests = {
  async 'every name is SERVING'() {
    for (const name of NAMES) assert.strictEqual(await check(name), 'SERVING', name);
  },

  async 'other names are not found'() {
    for (const name of ['users.v1.Users', 'Liveness', '*']) {
      const error = await failure(check(name));
      assert.strictEqual(error.code, grpc.status.NOT_FOUND);
      assert.strictEqual(error.details, 'unknown service');
    }
  },

  async 'the main port asks for a token, as it was told to'() {
    const { readFileSync } = require('node:fs');
    const tls = grpc.credentials.createSsl(readFileSync(process.env.TEST_CA));
    const main = connect(tls, process.env.TEST_TARGET);
    assert.strictEqual((await failure(check('', main))).code, grpc.status.UNAUTHENTICATED);
    main.close();
  },

  // The proto file may be older than List: written by hand, then.
  async 'List has every name'() {
    const reply = await new Promise((resolve, reject) => {
      client.makeUnaryRequest('/grpc.health.v1.Health/List', (bytes) => bytes, (bytes) => bytes,
        Buffer.alloc(0), deadline(), (error, bytes) => (error ? reject(error) : resolve(bytes)));
    });
    const text = reply.toString('latin1');
    for (const name of NAMES) assert(text.includes(`\x0a${String.fromCharCode(name.length)}${name}\x12\x02\x08\x01`), name);
  },

  async 'the users are not served'() {
    const error = await failure(new Promise((resolve, reject) => {
      client.makeUnaryRequest('/users.v1.UserService/ListUsers', (bytes) => bytes, (bytes) => bytes,
        Buffer.alloc(0), deadline(), (caught, bytes) => (caught ? reject(caught) : resolve(bytes)));
    }));
    assert.strictEqual(error.code, grpc.status.UNIMPLEMENTED);
  },

  async 'a watcher of an unknown name stays'() {
    const watcher = new Watcher('no.such.Service');
    assert.strictEqual(await watcher.next(), 'SERVICE_UNKNOWN');
    assert.strictEqual(await check('liveness'), 'SERVING');
    assert.deepStrictEqual(watcher.events, []);
    watcher.call.cancel();
    assert.strictEqual((await watcher.next()).code, grpc.status.CANCELLED);
  },

  async 'a server that goes tells first, and is alive'() {
    const watchers = NAMES.map((name) => new Watcher(name));
    for (const watcher of watchers) assert.strictEqual(await watcher.next(), 'SERVING');
    process.kill(Number(process.env.TEST_SERVER_PID), 'SIGTERM');
    for (const [index, watcher] of watchers.entries()) {
      if (NAMES[index] !== 'liveness') assert.strictEqual(await watcher.next(), 'NOT_SERVING');
    }
    assert.deepStrictEqual(await statuses(), {
      '': 'NOT_SERVING', 'users.v1.UserService': 'NOT_SERVING', readiness: 'NOT_SERVING', liveness: 'SERVING',
    });
    for (const watcher of watchers) {
      const end = await watcher.next();
      assert.strictEqual(end.code, grpc.status.UNAVAILABLE);
      assert.strictEqual(end.details, 'the server is shutting down');
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
  process.exit(failed === 0 ? 0 : 1);
}

main();
