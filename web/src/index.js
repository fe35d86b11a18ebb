export { CkksClient } from './client.js';
export { SIDE, digitImage } from './digit.js';
export { Module } from './module.js';
export { InferenceServer, ServerError } from './server.js';
export { EncryptedSession, PlainSession } from './session.js';
