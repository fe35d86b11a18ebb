// Ten digits, for those who would rather not draw one. Units: the pad's side.

/** Points of an arc around a centre; degrees clockwise from the right, as the screen counts. */
function arc(x, y, across, down, from, to) {
  const steps = Math.ceil(Math.abs(to - from) / 15);
  return Array.from({ length: steps + 1 }, (_, i) => {
    const angle = ((from + ((to - from) * i) / steps) * Math.PI) / 180;
    return [x + across * Math.cos(angle), y + down * Math.sin(angle)];
  });
}

/** The strokes of digit `i` are `EXAMPLES[i]`. */
export const EXAMPLES = [
  [arc(0.5, 0.5, 0.2, 0.3, -60, 300)],
  [[[0.55, 0.2], [0.47, 0.8]]],
  [[...arc(0.5, 0.36, 0.19, 0.17, -165, 25), [0.3, 0.8], [0.72, 0.78]]],
  [[...arc(0.47, 0.34, 0.18, 0.15, -150, 90), ...arc(0.47, 0.65, 0.22, 0.16, -90, 145)]],
  [[[0.36, 0.2], [0.3, 0.52], [0.68, 0.5]], [[0.62, 0.22], [0.58, 0.82]]],
  [[[0.68, 0.2], [0.38, 0.22], [0.34, 0.46], ...arc(0.47, 0.62, 0.2, 0.18, -110, 140)]],
  [[[0.62, 0.18], [0.46, 0.32], [0.36, 0.52], ...arc(0.5, 0.64, 0.16, 0.16, 190, -170)]],
  [[[0.3, 0.24], [0.7, 0.22], [0.56, 0.5], [0.46, 0.82]]],
  [[...arc(0.5, 0.34, 0.15, 0.14, 90, 450), ...arc(0.5, 0.64, 0.18, 0.16, -90, 270)]],
  [[...arc(0.5, 0.36, 0.16, 0.15, 0, -360), [0.65, 0.5], [0.6, 0.82]]],
];
