#!/usr/bin/env node
// The JavaScript client without any proto file: grpc-js-reflection-client asks the server for them, and grpc-js
// calls what it was told, over both versions of the reflection service.
'use strict';

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

if (!process.env.TEST_TARGET) {
  const runner = path.join(__dirname, 'lib', 'with_server.py');
  const ran = spawnSync(runner, [process.execPath, __filename], {
    stdio: 'inherit',
    env: { ...process.env, TEST_SETTINGS: JSON.stringify({ reflection: { enabled: 'true' } }) },
  });
  process.exit(ran.status ?? 1);
}

const grpc = require('@grpc/grpc-js');
const { GrpcReflection } = require('grpc-js-reflection-client');

const DEADLINE_MS = 30000 * Number(process.env.USERD_SLOW || 1);
const PASSWORD = 'correct horse battery';
const token = fs.readFileSync(process.env.TEST_TOKEN_FILE, 'utf8').trim();
const tls = grpc.credentials.createSsl(fs.readFileSync(process.env.TEST_CA));
const metadata = new grpc.Metadata();
metadata.set('authorization', `Bearer ${token}`);

const SERVICES = [
  'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection', 'users.v1.UserService',
];

const deadline = () => ({ deadline: Date.now() + DEADLINE_MS });

async function learn(reflection, service) {
  const descriptor = await reflection.getDescriptorBySymbol(service, metadata, deadline());
  return descriptor.getPackageObject({ keepCase: true, enums: String, longs: String, defaults: true });
}

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata, deadline(), (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

const named = (version) => ({ username: `js-${version}`, email: `js-${version}@example.com` });

const tests = {
  async 'lists the services'({ reflection }) {
    assert.deepStrictEqual(await reflection.listServices('*', metadata, deadline()), SERVICES);
  },

  async 'lists the methods of a service'({ reflection }) {
    const methods = await reflection.listMethods('users.v1.UserService', metadata, deadline());
    assert.deepStrictEqual(methods.map((one) => one.name), ['GetUser', 'CreateUser', 'UpdateUser',
      'DeleteUser', 'ListUsers', 'WatchUser', 'BatchCreateUsers', 'SyncUsers']);
    assert(methods[5].definition.responseStream);
    assert(!methods[5].definition.requestStream);
    assert(methods[7].definition.requestStream);
  },

  async 'calls what it was told'({ version, reflection }) {
    const { users } = await learn(reflection, 'users.v1.UserService');
    const client = new users.v1.UserService(process.env.TEST_TARGET, tls);
    const { user } = await call(client, 'CreateUser', { ...named(version), password: PASSWORD });
    assert.strictEqual(user.status, 'USER_STATUS_ACTIVE');
    assert.deepStrictEqual((await call(client, 'GetUser', { id: user.id })).user, user);
    const changed = (await call(client, 'UpdateUser', {
      id: user.id,
      user: { profile: { first_name: 'Told' } },
      update_mask: { paths: ['profile.first_name'] },
    })).user;
    assert.strictEqual(changed.profile.first_name, 'Told');
    const page = await call(client, 'ListUsers', { filter: `username = "js-${version}"` });
    assert.deepStrictEqual(page.users, [changed]);
    const watching = client.WatchUser({ id: user.id }, metadata, deadline());
    const states = [];
    for await (const state of watching) {
      states.push(state.status);
      if (states.length === 1) await call(client, 'DeleteUser', { id: user.id });
    }
    assert.deepStrictEqual(states, ['USER_STATUS_ACTIVE', 'USER_STATUS_DELETED']);
    client.close();
  },

  async 'knows the other services too'({ reflection }) {
    const { grpc: { health } } = await learn(reflection, 'grpc.health.v1.Health');
    const client = new health.v1.Health(process.env.TEST_TARGET, tls);
    assert.strictEqual((await call(client, 'Check', {})).status, 'SERVING');
    client.close();
    for (const one of ['v1', 'v1alpha']) {
      const service = `grpc.reflection.${one}.ServerReflection`;
      const methods = await reflection.listMethods(service, metadata, deadline());
      assert.deepStrictEqual(methods.map((method) => method.name), ['ServerReflectionInfo']);
    }
  },

  async 'hears what is unknown'({ reflection }) {
    await assert.rejects(reflection.getDescriptorBySymbol('users.v1.Nobody', metadata, deadline()),
      /unknown symbol: users\.v1\.Nobody/);
    await assert.rejects(reflection.getDescriptorByFileName('users.proto', metadata, deadline()),
      /unknown file: users\.proto/);
    assert.deepStrictEqual(
      await reflection.getAllExtensionNumbersOfType('users.v1.User', metadata, deadline()),
      { base_type_name: 'users.v1.User', extension_number: [] });
  },

  async 'is asked for a token'({ reflection }) {
    await assert.rejects(reflection.listServices('*', new grpc.Metadata(), deadline()),
      /No authentication token provided/);
  },
};

async function main() {
  let passed = 0;
  let failed = 0;
  for (const version of ['v1', 'v1alpha']) {
    const reflection = new GrpcReflection(process.env.TEST_TARGET, tls, {}, version);
    for (const [name, test] of Object.entries(tests)) {
      try {
        await test({ version, reflection });
        passed += 1;
        console.log(`ok     ${name} (${version})`);
      } catch (error) {
        failed += 1;
        console.log(`FAILED ${name} (${version})\n${error.stack}`);
      }
    }
    reflection.client.close();
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

main();
