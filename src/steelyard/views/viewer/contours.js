// The outline of an organ on one slice: closed curves halfway between its pixels and their neighbours.
"use strict";

const Contours = (() => {
  // Edges of a cell of four pixel centres, as the side of it: 0 top, 1 right, 2 bottom, 3 left. For each of the
  // sixteen fillings (1 upper left, 2 upper right, 4 lower right, 8 lower left): [from, to] with the inside on the right.
  const SEGMENTS = [
    [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
    [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
  ];

  // Curves as [x0, y0, x1, y1, …] in pixels from the plane's corner, so that pixel (u, v) has its centre at
  // (u + ½, v + ½). `inside(u, v)` is asked for pixels of the plane only; beyond it is outside.
  function outline(width, height, inside) {
    const filled = new Uint8Array((width + 2) * (height + 2));
    let u0 = width, u1 = -1, v0 = height, v1 = -1;
    for (let v = 0; v < height; v++)
      for (let u = 0; u < width; u++)
        if (inside(u, v)) {
          filled[(v + 1) * (width + 2) + u + 1] = 1;
          if (u < u0) u0 = u;
          if (u > u1) u1 = u;
          if (v < v0) v0 = v;
          if (v > v1) v1 = v;
        }
    const next = new Map();
    for (let row = v0; row <= v1 + 1; row++)
      for (let column = u0; column <= u1 + 1; column++) {
        const at = row * (width + 2) + column;
        const filling = filled[at] | (filled[at + 1] << 1) | (filled[at + width + 3] << 2) | (filled[at + width + 2] << 3);
        for (const [from, to] of SEGMENTS[filling]) next.set(edge(row, column, from, width), edge(row, column, to, width));
      }
    const curves = [];
    for (const start of next.keys()) {
      if (!next.has(start)) continue;
      const curve = [];
      for (let key = start; next.has(key); ) {
        const after = next.get(key);
        next.delete(key);
        place(key, width, curve);
        key = after;
      }
      curves.push(curve);
    }
    return curves;
  }

  // Each edge between two pixel centres has one number, whichever of its two cells asks: even ones lie along a row.
  function edge(row, column, side, width) {
    const stride = 2 * (width + 3);
    if (side === 0) return row * stride + 2 * column;
    if (side === 2) return (row + 1) * stride + 2 * column;
    if (side === 3) return row * stride + 2 * column + 1;
    return row * stride + 2 * (column + 1) + 1;
  }

  function place(key, width, curve) {
    const stride = 2 * (width + 3);
    const row = Math.floor(key / stride), column = (key % stride) >> 1;
    if (key % 2 === 0) curve.push(column, row - 0.5); // centre (row, column) of the padded plane lies at (column − ½, row − ½)
    else curve.push(column - 0.5, row);
  }

  // Rectangles [u, v, length] that cover the pixels for which `inside` holds, row by row.
  function runs(width, height, inside) {
    const found = [];
    for (let v = 0; v < height; v++) {
      let start = -1;
      for (let u = 0; u <= width; u++) {
        const is = u < width && inside(u, v);
        if (is && start < 0) start = u;
        if (!is && start >= 0) {
          found.push([start, v, u - start]);
          start = -1;
        }
      }
    }
    return found;
  }

  return { outline, runs };
})();
