// A drawn digit as the networks of digits were trained on it.
//
// MNIST scales a digit to 20 by 20 pixels and puts its centre of mass into the middle of 28 by 28
// (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"). The strokes
// themselves are scaled, not their picture: however large one draws, the pen is as wide as in the
// training images, and nothing has to be read back from a canvas, which some browsers falsify.

export const SIDE = 28;
const BOX = 20;
/** Half of the pen's width in pixels. */
const RADIUS = 1.3;
/** Samples a pixel and direction. */
const FINE = 4;
/** Of the unit square. What is smaller is not enlarged: it is a dot, and no shaky line. */
const LEAST_EXTENT = 0.05;

/** Strokes, each a list of points [x, y] of the unit square, as 784 pixels from 0 to 1; ink is 1. */
export function digitImage(strokes) {
  const points = strokes.flat();
  if (points.length === 0) return new Float32Array(SIDE * SIDE);
  const [x, y] = [0, 1].map((axis) => range(points.map((point) => point[axis])));
  const scale = (BOX - 2 * RADIUS) / Math.max(x.size, y.size, LEAST_EXTENT);
  const place = (shift) => strokes.map((stroke) =>
    stroke.map((point) => [(point[0] - x.middle) * scale + shift[0], (point[1] - y.middle) * scale + shift[1]]));
  const mass = centreOfMass(raster(place([SIDE / 2, SIDE / 2])));
  return raster(place([SIDE - mass[0], SIDE - mass[1]]));
}

function range(values) {
  const [least, most] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  return { middle: (least + most) / 2, size: most - least };
}

/** The share of each pixel that a round pen covers along the strokes. */
function raster(strokes) {
  const wide = SIDE * FINE;
  const covered = new Uint8Array(wide * wide);
  for (const stroke of strokes) {
    stroke.forEach((to, i) => cover(covered, wide, stroke[Math.max(0, i - 1)], to));
  }
  const image = new Float32Array(SIDE * SIDE);
  covered.forEach((ink, at) => {
    const [x, y] = [at % wide, Math.floor(at / wide)].map((v) => Math.floor(v / FINE));
    image[y * SIDE + x] += ink / (FINE * FINE);
  });
  return image;
}

/** Marks the samples nearer to the segment than the radius. */
function cover(covered, wide, from, to) {
  const first = (axis) => Math.max(0, Math.floor((Math.min(from[axis], to[axis]) - RADIUS) * FINE));
  const last = (axis) => Math.min(wide - 1, Math.ceil((Math.max(from[axis], to[axis]) + RADIUS) * FINE));
  for (let y = first(1); y <= last(1); y++) {
    for (let x = first(0); x <= last(0); x++) {
      const at = [(x + 0.5) / FINE, (y + 0.5) / FINE];
      if (distance(at, from, to) < RADIUS) covered[y * wide + x] = 1;
    }
  }
}

function distance([x, y], [fromX, fromY], [toX, toY]) {
  const [dx, dy] = [toX - fromX, toY - fromY];
  const length = dx * dx + dy * dy;
  const along = length === 0 ? 0 : ((x - fromX) * dx + (y - fromY) * dy) / length;
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(x - fromX - t * dx, y - fromY - t * dy);
}

function centreOfMass(image) {
  let [mass, x, y] = [0, 0, 0];
  image.forEach((ink, at) => {
    mass += ink;
    x += ink * (at % SIDE + 0.5);
    y += ink * (Math.floor(at / SIDE) + 0.5);
  });
  return mass === 0 ? [SIDE / 2, SIDE / 2] : [x / mass, y / mass];
}
