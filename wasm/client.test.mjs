// One encrypt-evaluate-decrypt across WebAssembly (the client, here) and native code (the
// server, a program of crates/he). Usage: node client.test.mjs MODULE.wasm SERVER MODEL.onnx
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { Module } from '../web/src/module.js';

const [modulePath, server, model] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(modulePath));
const client = (random) => new Module(module, random);
const floats = (bytes) => Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
const bytesOf = (numbers) => new Uint8Array(new Float32Array(numbers).buffer);
const folder = mkdtempSync(join(tmpdir(), 'subrosa-wasm-'));
const file = (name) => join(folder, name);
process.on('exit', () => rmSync(folder, { recursive: true }));

execFileSync(server, ['plan', model, file('plan')]);
const plan = readFileSync(file('plan'));
const sample = Array.from({ length: 30 }, (_, i) => Math.sin(0.7 * i));

test('what WebAssembly encrypts, native code evaluates and WebAssembly decrypts', () => {
  const here = client();
  const progress = [];
  let start = performance.now();
  const timed = (what, bytes) => {
    console.log(`${what}: ${(performance.now() - start).toFixed(0)} ms, ${bytes.length} bytes`);
    start = performance.now();
  };
  writeFileSync(file('keys'), here.keygen(plan, (made, of) => progress.push(`${made} of ${of}`)));
  timed('keygen', readFileSync(file('keys')));
  assert.match(here.keyId(), /^[0-9a-f]{64}$/);
  assert.ok(progress.length > 0 && progress.at(-1) === `${progress.length} of ${progress.length}`, `${progress}`);
  const request = here.encrypt(new Float32Array(sample));
  // By this name the server looks for the keys.
  assert.equal(Buffer.from(request.subarray(48, 80)).toString('hex'), here.keyId());
  timed('encrypt', request);
  writeFileSync(file('request'), request);
  writeFileSync(file('sample'), bytesOf(sample));
  execFileSync(server, ['evaluate', model, file('keys'), file('request'), file('answer'), file('sample'), file('plain')]);
  start = performance.now();
  const answer = readFileSync(file('answer'));
  const found = here.decrypt(answer);
  timed('decrypt', answer);
  const plain = floats(readFileSync(file('plain')));
  assert.equal(found.length, plain.length);
  found.forEach((v, i) => assert.ok(Math.abs(v - plain[i]) < 1e-3, `${v} and ${plain[i]}`));

  const damaged = Buffer.from(answer);
  damaged[20] ^= 1;
  assert.throws(() => here.decrypt(damaged), /another plan/);
  assert.throws(() => here.decrypt(answer.subarray(0, 1000)), /cut off/);
  assert.throws(() => here.encrypt(new Float32Array(1)), /samples of 30/);
});

test('without randomness there is no key', () => {
  const failing = client(() => { throw new Error('no randomness'); });
  assert.throws(() => failing.keygen(plan), /randomness/);
});

test('two keys differ, and nothing works before there is one', () => {
  assert.notDeepEqual(client().keygen(plan), client().keygen(plan));
  assert.throws(() => client().encrypt(new Float32Array(sample)), /no key/);
  assert.throws(() => client().keyId(), /no key/);
});
