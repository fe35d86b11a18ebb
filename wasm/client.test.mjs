// One encrypt-evaluate-decrypt across WebAssembly (the client, here) and native code (the
// server, a program of crates/he). Usage: node client.test.mjs MODULE.wasm SERVER MODEL.onnx
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';

const [modulePath, server, model] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(modulePath));

function cryptoRandom(bytes) {
  const most = 65536; // What getRandomValues gives at once.
  for (let at = 0; at < bytes.length; at += most) crypto.getRandomValues(bytes.subarray(at, at + most));
  return 0;
}

function client(random = cryptoRandom) {
  const host = {
    random(address, length) {
      try {
        return random(new Uint8Array(instance.exports.memory.buffer, address, length));
      } catch {
        return 1;
      }
    },
  };
  const instance = new WebAssembly.Instance(module, { host });
  const { exports } = instance;
  return (call, input) => {
    const address = exports.input(input.length);
    new Uint8Array(exports.memory.buffer, address, input.length).set(input);
    const status = exports[call]();
    const output = Buffer.from(exports.memory.buffer, exports.output(), exports.output_len());
    if (status !== 0) throw new Error(output.toString());
    return Buffer.from(output);
  };
}

const floats = (bytes) => Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
const bytesOf = (numbers) => new Uint8Array(new Float32Array(numbers).buffer);
const folder = mkdtempSync(join(tmpdir(), 'subrosa-wasm-'));
const file = (name) => join(folder, name);
process.on('exit', () => rmSync(folder, { recursive: true }));

execFileSync(server, ['plan', model, file('plan')]);
const plan = readFileSync(file('plan'));
const sample = Array.from({ length: 30 }, (_, i) => Math.sin(0.7 * i));

test('what WebAssembly encrypts, native code evaluates and WebAssembly decrypts', () => {
  const call = client();
  let start = performance.now();
  const timed = (what, bytes) => {
    console.log(`${what}: ${(performance.now() - start).toFixed(0)} ms, ${bytes.length} bytes`);
    start = performance.now();
  };
  writeFileSync(file('keys'), call('keygen', plan));
  timed('keygen', readFileSync(file('keys')));
  const request = call('encrypt', bytesOf(sample));
  timed('encrypt', request);
  writeFileSync(file('request'), request);
  writeFileSync(file('sample'), bytesOf(sample));
  execFileSync(server, ['evaluate', model, file('keys'), file('request'), file('answer'), file('sample'), file('plain')]);
  start = performance.now();
  const answer = readFileSync(file('answer'));
  const found = floats(call('decrypt', answer));
  timed('decrypt', answer);
  const plain = floats(readFileSync(file('plain')));
  assert.equal(found.length, plain.length);
  found.forEach((v, i) => assert.ok(Math.abs(v - plain[i]) < 1e-3, `${v} and ${plain[i]}`));

  const damaged = Buffer.from(answer);
  damaged[20] ^= 1;
  assert.throws(() => call('decrypt', damaged), /another plan/);
  assert.throws(() => call('decrypt', answer.subarray(0, 1000)), /cut off/);
  assert.throws(() => call('encrypt', bytesOf([1])), /samples of 30/);
});

test('without randomness there is no key', () => {
  const failing = client(() => { throw new Error('no randomness'); });
  assert.throws(() => failing('keygen', plan), /randomness/);
  assert.throws(() => client(() => 1)('keygen', plan), /randomness/);
});

test('two keys differ, and nothing works before there is one', () => {
  assert.notDeepEqual(client()('keygen', plan), client()('keygen', plan));
  assert.throws(() => client()('encrypt', bytesOf(sample)), /no key/);
});
