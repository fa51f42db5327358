// The calls of unary_load.py by grpc-js. Its orders come as JSON. Says `ready` after the first answers, and at
// the end what came of the calls. Lines of its input: `stop`, and `servers N`, to which it says `seen` when
// every client has had answers with so many names of the user.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const orders = JSON.parse(process.argv[2]);
const definition = protoLoader.loadSync('users/v1/users.proto', {
  includeDirs: [path.join(__dirname, '..', '..', '..', 'proto'), '/usr/include'], keepCase: true,
});
const { UserService } = grpc.loadPackageDefinition(definition).users.v1;
const credentials = grpc.credentials.createSsl(fs.readFileSync(orders.ca));
const metadata = new grpc.Metadata();
metadata.set('authorization', `Bearer ${orders.token}`);

const report = { answered: 0, failures: {} };
let left = orders.calls || Infinity;
let open = 0;
let isReady = false;
let seen = new Set(); // number of the client and username in its answer
let seenWanted = Infinity;

function finish() {
  fs.writeSync(1, `${JSON.stringify(report)}\n`);
  process.exit(0);
}

function note(number, username) {
  seen.add(`${number} ${username}`);
  if (seen.size >= seenWanted) {
    seenWanted = Infinity;
    fs.writeSync(1, 'seen\n');
  }
}

function call(number, client) {
  if (left <= 0) {
    if (open === 0) finish();
    return;
  }
  left -= 1;
  open += 1;
  const deadline = Date.now() + orders.deadline_s * 1000;
  client.GetUser({ id: orders.user }, metadata, { deadline }, (error, reply) => {
    open -= 1;
    if (!error && reply.user.id === orders.user) {
      report.answered += 1;
      note(number, reply.user.username);
    } else {
      const problem = error ? `${error.code} ${error.details}` : 'not the user asked for';
      report.failures[problem] = (report.failures[problem] || 0) + 1;
    }
    if (!isReady && report.answered >= orders.clients * orders.in_flight) {
      isReady = true;
      fs.writeSync(1, 'ready\n');
    }
    call(number, client);
  });
}

require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'stop') {
    left = 0;
  } else {
    seen = new Set();
    seenWanted = Number(line.split(' ')[1]) * orders.clients;
  }
});
process.stdin.on('end', () => process.exit(1)); // whoever gave the orders is gone
for (let i = 0; i < orders.clients; i += 1) {
  const client = new UserService(orders.target, credentials, orders.options);
  for (let j = 0; j < orders.in_flight; j += 1) call(i, client);
}
