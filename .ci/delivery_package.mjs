// The installed package, as a user's program has it: what it exports, what it holds, and keys from its module.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as all from 'subrosa-web';

assert.deepEqual(Object.keys(all).sort(), [
  'CkksClient', 'EncryptedSession', 'InferenceServer', 'Module', 'PlainSession', 'SIDE', 'ServerError', 'ShareClient',
  'SharedSession', 'digitImage', 'readOffer',
]);
const wasm = createRequire(import.meta.url).resolve('subrosa-web/subrosa.wasm');
const root = dirname(dirname(wasm));
const held = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1)).sort();
assert.deepEqual(held, [
  'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'dist/subrosa.wasm', 'package.json', 'src/client.js', 'src/digit.js',
  'src/index.d.ts', 'src/index.js', 'src/module.js', 'src/parties.js', 'src/server.js', 'src/session.js', 'src/worker.js',
]);
const module = new all.Module(await WebAssembly.compile(readFileSync(wasm)));
assert.throws(() => module.keygen(new Uint8Array(100)), Error);
console.log(`browser package: ${held.length} files, its module answers`);
