// Whether the module's verdicts are the native ones. Usage: node compare.mjs MODULE.wasm NATIVE.txt
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const [modulePath, nativePath] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(modulePath));
assert.deepEqual(WebAssembly.Module.imports(module), [], 'it needs nothing of its host');
const { exports } = new WebAssembly.Instance(module);
const length = exports.make();
const text = Buffer.from(exports.memory.buffer, exports.text(), length).toString();
const native = readFileSync(nativePath, 'utf8');
const [found, expected] = [text.split('\n'), native.split('\n')];
expected.forEach((line, i) => assert.equal(found[i], line));
assert.equal(found.length, expected.length);
const authentic = expected.filter((line) => line.includes(': authentic')).length;
assert.ok(authentic >= 5, 'genuine evidence is among them');
console.log(`${expected.length - 1} verdicts are the native ones, ${authentic} of them authentic`);
