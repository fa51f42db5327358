#!/usr/bin/env node
// users.v1.UserService, GetUser and CreateUser, on @grpc/grpc-js: one of the servers of README.md.
'use strict';

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const { version } = require('@grpc/grpc-js/package.json');
const { readOptions, Users, TokenCheck, tell } = require('./common.cjs');

const options = readOptions();
const users = new Users(options.users);
const tokens = new TokenCheck(options.secret);
const definition = protoLoader.loadSync('users/v1/users.proto', {
  includeDirs: [path.join(__dirname, '..', '..', 'proto'), '/usr/include'],
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
});
const { UserService } = grpc.loadPackageDefinition(definition).users.v1;

const failure = (code, details) => ({ code, details });

// A handler that is called with a good token only.
const guarded = (answer) => (call, done) => {
  if (tokens.accepts(call.metadata.get('authorization')[0])) answer(call.request, done);
  else done(failure(grpc.status.UNAUTHENTICATED, 'a valid bearer token is needed'));
};

const GetUser = guarded(({ id }, done) => {
  const user = users.find(id);
  if (user) done(null, { user });
  else if (!id) done(failure(grpc.status.INVALID_ARGUMENT, 'id is required'));
  else done(failure(grpc.status.NOT_FOUND, `User ${id} not found`));
});

const CreateUser = guarded((request, done) => {
  if (!request.username || !request.email || !request.password) {
    done(failure(grpc.status.INVALID_ARGUMENT, 'username, email and password are required'));
    return;
  }
  const user = users.create(request);
  if (user) done(null, { user });
  else done(failure(grpc.status.ALREADY_EXISTS, 'username or email is taken'));
});

const credentials = grpc.ServerCredentials.createSsl(null, [
  { private_key: options.key, cert_chain: options.cert },
]);
const server = new grpc.Server({
  'grpc.enable_channelz': 0, // counts what nobody asks for here
  'grpc-node.max_session_memory': Number.MAX_SAFE_INTEGER, // many calls on one connection are no attack
});
server.addService(UserService.service, { GetUser, CreateUser });
server.bindAsync('127.0.0.1:0', credentials, (error, port) => {
  if (error) throw error;
  tell(`@grpc/grpc-js ${version}`, port);
});
