#!/usr/bin/env node
// The interoperability cases of gRPC, driven by Connect (@connectrpc/connect-node), a stack of its own.
//
//   interop_connect.cjs HOST:PORT [CA]
//
// The messages come from the proto files at run time, by way of protoc. Connect compresses by
// transport, and only messages of a size worth it.
'use strict';

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const dns = require('node:dns');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { createFileRegistry, fromBinary } = require('@bufbuild/protobuf');
const { FileDescriptorSetSchema } = require('@bufbuild/protobuf/wkt');
const { Code, ConnectError, createClient } = require('@connectrpc/connect');
const { compressionGzip, createGrpcTransport } = require('@connectrpc/connect-node');

// Node 18 tries the first address alone, and on most machines localhost is ::1 before 127.0.0.1.
dns.setDefaultResultOrder('ipv4first');

const [address, ca] = process.argv.slice(2);
const SLOW = Number(process.env.USERD_SLOW || 1);
const DEADLINE_MS = 60000 * SLOW;
const LARGE_REQUEST = 271828;
const LARGE_REPLY = 314159;
const STREAM_REQUESTS = [27182, 8, 1828, 45904];
const STREAM_REPLIES = [31415, 9, 2653, 58979];
const WHITESPACE_AND_UNICODE = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';

function loadServices() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'interop-'));
  const file = path.join(folder, 'set');
  const ran = spawnSync('protoc', ['-I/usr/share/grpc-proto', '--include_imports',
    `--descriptor_set_out=${file}`, 'grpc/testing/test.proto'], { stdio: ['ignore', 'inherit', 'ignore'] });
  assert.strictEqual(ran.status, 0, 'protoc failed');
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, fs.readFileSync(file)));
  fs.rmSync(folder, { recursive: true });
  return registry;
}

const registry = loadServices();

function connect(options = {}, service = 'TestService') {
  const transport = createGrpcTransport({
    baseUrl: `${ca ? 'https' : 'http'}://${address}`,
    nodeOptions: ca ? { ca: fs.readFileSync(ca) } : {},
    defaultTimeoutMs: DEADLINE_MS,
    ...options,
  });
  return createClient(registry.getService(`grpc.testing.${service}`), transport);
}

const client = connect();

const payload = (size) => ({ body: new Uint8Array(size) });
const large = (fields = {}) => ({ responseSize: LARGE_REPLY, payload: payload(LARGE_REQUEST), ...fields });
const outputRequest = (sizes, requestSize = 0) => ({
  responseParameters: sizes.map((size) => ({ size })), payload: payload(requestSize),
});

async function* each(requests) {
  yield* requests;
}

async function sizesOf(replies) {
  const sizes = [];
  for await (const reply of replies) sizes.push(reply.payload.body.length);
  return sizes;
}

async function expectLarge(on = client, fields = {}) {
  const reply = await on.unaryCall(large(fields));
  assert.strictEqual(reply.payload.body.length, LARGE_REPLY);
}

async function expectError(promise, code, text) {
  const error = ConnectError.from(await promise.then(() => assert.fail('the call succeeded'), (caught) => caught));
  assert.strictEqual(error.code, code, error.message);
  if (text !== undefined) assert.strictEqual(error.rawMessage, text);
}

const cases = {
  async empty_unary() {
    await client.emptyCall({});
  },

  async large_unary() {
    await expectLarge();
  },

  async client_streaming() {
    const requests = STREAM_REQUESTS.map((size) => ({ payload: payload(size) }));
    const reply = await client.streamingInputCall(each(requests));
    assert.strictEqual(reply.aggregatedPayloadSize, 74922);
  },

  async server_streaming() {
    const replies = client.streamingOutputCall(outputRequest(STREAM_REPLIES));
    assert.deepStrictEqual(await sizesOf(replies), STREAM_REPLIES);
  },

  async ping_pong() {
    let next;
    const turn = () => new Promise((resolve) => { next = resolve; });
    async function* requests() {
      for (const [index, size] of STREAM_REPLIES.entries()) {
        const answered = turn();
        yield outputRequest([size], STREAM_REQUESTS[index]);
        await answered;
      }
    }
    const sizes = [];
    for await (const reply of client.fullDuplexCall(requests())) {
      sizes.push(reply.payload.body.length);
      next();
    }
    assert.deepStrictEqual(sizes, STREAM_REPLIES);
  },

  async empty_stream() {
    assert.deepStrictEqual(await sizesOf(client.fullDuplexCall(each([]))), []);
  },

  async half_duplex() {
    const requests = STREAM_REPLIES.map((size) => outputRequest([size, 1], 100));
    const sizes = await sizesOf(client.halfDuplexCall(each(requests)));
    assert.deepStrictEqual(sizes, STREAM_REPLIES.flatMap((size) => [size, 1]));
  },

  async custom_metadata() {
    const headers = {
      'x-grpc-test-echo-initial': 'test_initial_metadata_value',
      'x-grpc-test-echo-trailing-bin': 'q6ur',
    };
    for (const start of [
      (options) => client.unaryCall(large(), options),
      (options) => sizesOf(client.fullDuplexCall(each([outputRequest([LARGE_REPLY], LARGE_REQUEST)]), options)),
    ]) {
      let initial;
      let trailing;
      await start({
        headers, onHeader: (all) => { initial = all; }, onTrailer: (all) => { trailing = all; },
      });
      assert.strictEqual(initial.get('x-grpc-test-echo-initial'), 'test_initial_metadata_value');
      assert.strictEqual(trailing.get('x-grpc-test-echo-trailing-bin'), 'q6ur');
    }
  },

  async status_code_and_message() {
    const responseStatus = { code: 2, message: 'test status message' };
    await expectError(client.unaryCall({ responseStatus }), Code.Unknown, 'test status message');
    await expectError(sizesOf(client.fullDuplexCall(each([{ responseStatus }]))), Code.Unknown,
      'test status message');
  },

  async special_status_message() {
    const responseStatus = { code: 2, message: WHITESPACE_AND_UNICODE };
    await expectError(client.unaryCall({ responseStatus }), Code.Unknown, WHITESPACE_AND_UNICODE);
  },

  async unimplemented() {
    await expectError(client.unimplementedCall({}), Code.Unimplemented);
    await expectError(connect({}, 'UnimplementedService').unimplementedCall({}), Code.Unimplemented);
  },

  async cancel_after_first_response() {
    const controller = new AbortController();
    async function* requests() {
      yield outputRequest([31415], 27182);
      await new Promise((resolve) => { controller.signal.addEventListener('abort', resolve); });
    }
    const replies = client.fullDuplexCall(requests(), { signal: controller.signal })[Symbol.asyncIterator]();
    assert.strictEqual((await replies.next()).value.payload.body.length, 31415);
    controller.abort();
    await expectError(replies.next(), Code.Canceled);
  },

  async timeout_on_sleeping_server() {
    const request = { responseParameters: [{ size: 1, intervalUs: 30000000 }] };
    await expectError(sizesOf(client.streamingOutputCall(request, { timeoutMs: 100 })), Code.DeadlineExceeded);
  },

  async client_compressed_unary() {
    const compressing = connect({ sendCompression: compressionGzip });
    await expectError(client.unaryCall(large({ expectCompressed: { value: true } })), Code.InvalidArgument);
    await expectLarge(compressing, { expectCompressed: { value: true } });
    await expectLarge(client, { expectCompressed: { value: false } });
  },

  async client_compressed_streaming() {
    // One big enough to be worth it, and one that is not, in the same stream.
    const compressing = connect({ sendCompression: compressionGzip, compressMinBytes: 1024 });
    const reply = await compressing.streamingInputCall(each([
      { payload: payload(27182), expectCompressed: { value: true } },
      { payload: payload(100), expectCompressed: { value: false } },
    ]));
    assert.strictEqual(reply.aggregatedPayloadSize, 27282);
  },

  async server_compressed() {
    await expectLarge(client, { responseCompressed: { value: true } });
    const replies = client.streamingOutputCall({
      responseParameters: [
        { size: 31415, compressed: { value: true } }, { size: 92653, compressed: { value: false } },
      ],
    });
    assert.deepStrictEqual(await sizesOf(replies), [31415, 92653]);
  },

  async a_hundred_large_calls_at_once() {
    await Promise.all(Array.from({ length: 100 }, () => expectLarge()));
  },
};

async function main() {
  let passed = 0;
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
      passed += 1;
      console.log(`ok     Connect, ${ca ? 'TLS' : 'clear text'}: ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED Connect, ${ca ? 'TLS' : 'clear text'}: ${name}\n${error.stack}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0); // its connections are kept open for a while
}

main();
