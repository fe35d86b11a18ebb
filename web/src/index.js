export { CkksClient, ShareClient } from './client.js';
export { SIDE, digitImage } from './digit.js';
export { Module } from './module.js';
export { readOffer } from './parties.js';
export { InferenceServer, ServerError } from './server.js';
export { EncryptedSession, PlainSession, SharedSession } from './session.js';
