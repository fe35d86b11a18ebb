// How drawings become the pixels that networks of digits know.
import assert from 'node:assert/strict';
import test from 'node:test';
import { EXAMPLES } from '../page/examples.js';
import { SIDE, digitImage } from '../src/digit.js';

const ink = (image) => image.reduce((sum, value) => sum + value, 0);

/** Mean and extent of the ink along an axis. */
function along(image, axis) {
  const places = Array.from(image, (_, i) => (axis === 0 ? i % SIDE : Math.floor(i / SIDE)) + 0.5);
  const mean = places.reduce((sum, place, i) => sum + place * image[i], 0) / ink(image);
  const inked = places.filter((_, i) => image[i] > 0);
  return { mean, extent: Math.max(...inked) - Math.min(...inked) + 1 };
}

test('a digit stands in the middle by its mass, 20 pixels large', () => {
  for (const [digit, strokes] of EXAMPLES.entries()) {
    const image = digitImage(strokes);
    assert.equal(image.length, SIDE * SIDE);
    assert.ok(image.every((value) => value >= 0 && value <= 1));
    const [x, y] = [along(image, 0), along(image, 1)];
    // A pen of round dots on a grid of quarter pixels: its mass is that much off at most.
    assert.ok(Math.abs(x.mean - 14) < 0.25 && Math.abs(y.mean - 14) < 0.25, `${digit}: ${x.mean}, ${y.mean}`);
    const largest = Math.max(x.extent, y.extent);
    assert.ok(largest >= 19 && largest <= 22, `${digit}: ${largest} pixels`);
  }
});

test('neither the size nor the place of a drawing matters', () => {
  for (const strokes of EXAMPLES) {
    const small = strokes.map((stroke) => stroke.map(([x, y]) => [0.1 + 0.3 * x, 0.6 + 0.3 * y]));
    const [image, other] = [digitImage(strokes), digitImage(small)];
    const apart = image.reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0);
    assert.ok(apart < 0.01 * ink(image), `${apart} of ${ink(image)}`);
  }
});

test('a dot is a dot, and nothing is nothing', () => {
  assert.equal(ink(digitImage([])), 0);
  const dot = digitImage([[[0.3, 0.3], [0.31, 0.3]]]);
  assert.ok(along(dot, 0).extent < 8 && along(dot, 1).extent <= 4, 'a trembling hand draws no line');
});
