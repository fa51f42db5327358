#!/usr/bin/env node
// The interoperability cases of gRPC, driven by @grpc/grpc-js.
//
//   interop_test.cjs HOST:PORT [CA]
//
// runs them against any server of grpc.testing.TestService: in clear text, or over TLS with a CA. The
// names and what is expected are those of doc/interop-test-descriptions.md in grpc/grpc.
//
// grpc-js compresses by channel, not by message: the probe that mixes both kinds is in interop_raw.py.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const [address, ca] = process.argv.slice(2);
const SLOW = Number(process.env.USERD_SLOW || 1);
const DEADLINE_MS = 60000 * SLOW;
const LARGE_REQUEST = 271828;
const LARGE_REPLY = 314159;
const STREAM_REQUESTS = [27182, 8, 1828, 45904];
const STREAM_REPLIES = [31415, 9, 2653, 58979];
const WHITESPACE_AND_UNICODE = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
const INITIAL = 'x-grpc-test-echo-initial';
const TRAILING = 'x-grpc-test-echo-trailing-bin';
const GZIP = { 'grpc.default_compression_algorithm': 2 };

const definition = protoLoader.loadSync('grpc/testing/test.proto', {
  includeDirs: ['/usr/share/grpc-proto'], keepCase: true, defaults: true,
});
const { TestService, UnimplementedService } = grpc.loadPackageDefinition(definition).grpc.testing;

const credentials = ca ? grpc.credentials.createSsl(fs.readFileSync(ca)) : grpc.credentials.createInsecure();

function connect(options = {}, Service = TestService) {
  return new Service(address, credentials, { 'grpc.use_local_subchannel_pool': 1, ...options });
}

const client = connect();

const patience = () => ({ deadline: Date.now() + DEADLINE_MS });
const payload = (size) => ({ body: Buffer.alloc(size) });
const large = (fields = {}) => ({ response_size: LARGE_REPLY, payload: payload(LARGE_REQUEST), ...fields });
const outputRequest = (sizes, requestSize = 0) => ({
  response_parameters: sizes.map((size) => ({ size })), payload: payload(requestSize),
});

function call(method, request, { on = client, options = patience(), metadata = new grpc.Metadata() } = {}) {
  return new Promise((resolve, reject) => {
    on[method](request, metadata, options, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

async function expectLarge(options, fields) {
  expectPayload(await call('UnaryCall', large(fields), options), LARGE_REPLY);
}

function expectPayload(reply, size) {
  assert(reply.payload.body.equals(Buffer.alloc(size)), `${reply.payload.body.length} bytes, not ${size}`);
}

async function expectError(promise, code, text) {
  const error = await promise.then(() => null, (caught) => caught);
  assert(error, 'the call succeeded');
  assert.strictEqual(error.code, code, `${error.code}: ${error.details}`);
  if (text !== undefined) assert.strictEqual(error.details, text);
}

// All replies of a stream, when it ended well.
function gather(stream) {
  return new Promise((resolve, reject) => {
    const replies = [];
    stream.on('data', (reply) => replies.push(reply));
    stream.on('error', reject);
    stream.on('end', () => resolve(replies));
  });
}

function expectSizes(replies, sizes) {
  assert.deepStrictEqual(replies.map((reply) => reply.payload.body.length), sizes);
}

function sendInputs(on, requests) {
  return new Promise((resolve, reject) => {
    const stream = on.StreamingInputCall(new grpc.Metadata(), patience(),
      (error, reply) => (error ? reject(error) : resolve(reply)));
    requests.forEach((request) => stream.write(request));
    stream.end();
  });
}

const ended = (stream) => new Promise((resolve) => {
  stream.on('data', () => {});
  stream.on('error', resolve);
  stream.on('end', () => resolve(null));
});

function echoMetadata() {
  const metadata = new grpc.Metadata();
  metadata.set(INITIAL, 'test_initial_metadata_value');
  metadata.set(TRAILING, Buffer.from([0xab, 0xab, 0xab]));
  return metadata;
}

// Resolves when both halves of the echo have come.
function echoed(stream) {
  return Promise.all([
    new Promise((resolve) => {
      stream.on('metadata', (initial) => {
        assert.deepStrictEqual(initial.get(INITIAL), ['test_initial_metadata_value']);
        resolve();
      });
    }),
    new Promise((resolve) => {
      stream.on('status', (status) => {
        assert.deepStrictEqual(status.metadata.get(TRAILING), [Buffer.from([0xab, 0xab, 0xab])]);
        resolve();
      });
    }),
  ]);
}

async function withClient(options, use) {
  const own = connect(options);
  try {
    return await use(own);
  } finally {
    own.close();
  }
}

const cases = {
  async empty_unary() {
    assert.deepStrictEqual(await call('EmptyCall', {}), {});
  },

  async large_unary() {
    await expectLarge();
  },

  async client_streaming() {
    const reply = await sendInputs(client, STREAM_REQUESTS.map((size) => ({ payload: payload(size) })));
    assert.strictEqual(reply.aggregated_payload_size, 74922);
  },

  async server_streaming() {
    const stream = client.StreamingOutputCall(outputRequest(STREAM_REPLIES), patience());
    expectSizes(await gather(stream), STREAM_REPLIES);
  },

  async ping_pong() {
    const stream = client.FullDuplexCall(patience());
    let index = 0;
    const send = () => stream.write(outputRequest([STREAM_REPLIES[index]], STREAM_REQUESTS[index]));
    stream.on('data', (reply) => {
      expectPayload(reply, STREAM_REPLIES[index]);
      index += 1;
      if (index < STREAM_REPLIES.length) send();
      else stream.end();
    });
    const all = gather(stream);
    send();
    expectSizes(await all, STREAM_REPLIES);
  },

  async empty_stream() {
    const stream = client.FullDuplexCall(patience());
    const all = gather(stream);
    stream.end();
    assert.deepStrictEqual(await all, []);
  },

  async custom_metadata_unary() {
    let echo;
    const reply = await new Promise((resolve, reject) => {
      const unary = client.UnaryCall(large(), echoMetadata(), patience(),
        (error, value) => (error ? reject(error) : resolve(value)));
      echo = echoed(unary);
    });
    expectPayload(reply, LARGE_REPLY);
    await echo;
  },

  async custom_metadata_full_duplex() {
    const stream = client.FullDuplexCall(echoMetadata(), patience());
    const echo = echoed(stream);
    const all = gather(stream);
    stream.write(outputRequest([LARGE_REPLY], LARGE_REQUEST));
    stream.end();
    expectSizes(await all, [LARGE_REPLY]);
    await echo;
  },

  async status_code_and_message() {
    const response_status = { code: 2, message: 'test status message' };
    await expectError(call('UnaryCall', { response_status }), 2, 'test status message');
    const stream = client.FullDuplexCall(patience());
    const all = gather(stream);
    stream.write({ response_status });
    stream.end();
    await expectError(all, 2, 'test status message');
  },

  async special_status_message() {
    const response_status = { code: 2, message: WHITESPACE_AND_UNICODE };
    await expectError(call('UnaryCall', { response_status }), 2, WHITESPACE_AND_UNICODE);
  },

  async unimplemented_method() {
    await expectError(call('UnimplementedCall', {}), grpc.status.UNIMPLEMENTED);
  },

  async unimplemented_service() {
    const other = connect({}, UnimplementedService);
    await expectError(call('UnimplementedCall', {}, { on: other }), grpc.status.UNIMPLEMENTED);
    other.close();
  },

  async cancel_after_begin() {
    await expectError(new Promise((resolve, reject) => {
      const stream = client.StreamingInputCall(new grpc.Metadata(), patience(),
        (error, reply) => (error ? reject(error) : resolve(reply)));
      stream.cancel();
    }), grpc.status.CANCELLED);
  },

  async cancel_after_first_response() {
    const stream = client.FullDuplexCall(patience());
    const end = ended(stream);
    stream.on('data', () => stream.cancel());
    stream.write(outputRequest([31415], 27182));
    assert.strictEqual((await end)?.code, grpc.status.CANCELLED);
  },

  async timeout_on_sleeping_server() {
    const stream = client.FullDuplexCall({ deadline: Date.now() + 1 });
    const end = ended(stream);
    stream.write({ payload: payload(27182) });
    assert.strictEqual((await end)?.code, grpc.status.DEADLINE_EXCEEDED);
  },

  async client_compressed_unary() {
    await withClient(GZIP, async (compressing) => {
      const expect_compressed = { value: true };
      await expectError(call('UnaryCall', large({ expect_compressed })), grpc.status.INVALID_ARGUMENT);
      await expectLarge({ on: compressing }, { expect_compressed });
      await expectLarge({}, { expect_compressed: { value: false } });
    });
  },

  async client_compressed_streaming() {
    await withClient(GZIP, async (compressing) => {
      const requests = [27182, 45904].map((size) => (
        { payload: payload(size), expect_compressed: { value: true } }));
      await expectError(sendInputs(client, requests), grpc.status.INVALID_ARGUMENT);
      const reply = await sendInputs(compressing, requests);
      assert.strictEqual(reply.aggregated_payload_size, 73086);
    });
  },

  async server_compressed_unary() {
    await expectLarge({}, { response_compressed: { value: true } });
    await expectLarge({}, { response_compressed: { value: false } });
  },

  async server_compressed_streaming() {
    const stream = client.StreamingOutputCall({
      response_parameters: [
        { size: 31415, compressed: { value: true } }, { size: 92653, compressed: { value: false } },
      ],
    }, patience());
    expectSizes(await gather(stream), [31415, 92653]);
  },

  async half_duplex() {
    const stream = client.HalfDuplexCall(patience());
    const all = gather(stream);
    STREAM_REPLIES.forEach((size) => stream.write(outputRequest([size, 1], 100)));
    stream.end();
    expectSizes(await all, STREAM_REPLIES.flatMap((size) => [size, 1]));
  },

  async a_deadline_between_replies() {
    const stream = client.StreamingOutputCall({
      response_parameters: [{ size: 10 }, { size: 10, interval_us: 30000000 }],
    }, { deadline: Date.now() + 2000 * SLOW });
    let replies = 0;
    stream.on('data', () => { replies += 1; });
    assert.strictEqual((await ended(stream))?.code, grpc.status.DEADLINE_EXCEEDED);
    assert.strictEqual(replies, 1);
  },

  async a_reader_that_pauses() {
    const sizes = Array(40).fill(250000);
    const stream = client.StreamingOutputCall(outputRequest(sizes), patience());
    stream.pause();
    for (let i = 0; i < 20; i += 1) expectPayload(await call('UnaryCall', { response_size: 9 }), 9);
    const all = gather(stream);
    stream.resume();
    expectSizes(await all, sizes);
  },

  async rpc_soak() {
    for (let i = 0; i < 500; i += 1) await expectLarge();
  },

  async channel_soak() {
    for (let i = 0; i < 100; i += 1) await withClient({}, (own) => expectLarge({ on: own }));
  },

  async two_hundred_large_calls_at_once() {
    await Promise.all(Array.from({ length: 200 }, () => expectLarge()));
  },
};

async function main() {
  let passed = 0;
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
      passed += 1;
      console.log(`ok     ${ca ? 'TLS' : 'clear text'}: ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${ca ? 'TLS' : 'clear text'}: ${name}\n${error.stack}`);
    }
  }
  client.close();
  console.log(`${passed} passed, ${failed} failed`);
  // grpc-js never ends the HTTP/2 stream of a call that was cancelled before it began, and its
  // connection would keep this process until the deadline.
  process.exit(failed ? 1 : 0);
}

main();
