#!/usr/bin/env node
// GET /users/ID and POST /users as JSON over HTTP/1.1 and TLS, on Node alone: one of the servers of
// README.md.
'use strict';

const https = require('node:https');
const { readOptions, Users, TokenCheck, tell } = require('./common.cjs');

const BODY_MAX = 64 * 1024;

const options = readOptions();
const users = new Users(options.users);
const tokens = new TokenCheck(options.secret);

function answer(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

const fail = (response, status, message) => answer(response, status, { error: { message } });

function get(id, response) {
  const user = users.find(id);
  if (user) answer(response, 200, { user });
  else fail(response, 404, `User ${id} not found`);
}

function create(text, response) {
  let wanted;
  try {
    wanted = JSON.parse(text);
  } catch {
    fail(response, 400, 'no JSON');
    return;
  }
  const isText = (value) => typeof value === 'string' && value !== '';
  if (!isText(wanted?.username) || !isText(wanted.email) || !isText(wanted.password)) {
    fail(response, 400, 'username, email and password are required');
    return;
  }
  const user = users.create(wanted);
  if (user) answer(response, 201, { user });
  else fail(response, 409, 'username or email is taken');
}

function readBody(request, response, done) {
  const parts = [];
  let size = 0;
  request.on('data', (part) => {
    size += part.length;
    if (size > BODY_MAX) request.destroy();
    else parts.push(part);
  });
  request.on('end', () => done(Buffer.concat(parts).toString(), response));
}

const server = https.createServer({
  cert: options.cert,
  key: options.key,
  minVersion: 'TLSv1.3',
  keepAlive: true,
  keepAliveTimeout: 0, // a connection stays as long as its client wants
  requestTimeout: 0,
}, (request, response) => {
  if (!tokens.accepts(request.headers.authorization)) {
    response.setHeader('www-authenticate', 'Bearer');
    fail(response, 401, 'a valid bearer token is needed');
  } else if (request.method === 'GET' && request.url.startsWith('/users/')) {
    get(request.url.slice('/users/'.length), response);
  } else if (request.method === 'POST' && request.url === '/users') {
    readBody(request, response, create);
  } else {
    fail(response, 404, 'no such resource');
  }
});
server.listen(0, '127.0.0.1', 1024, () => tell('Node https', server.address().port));
