// The surface of an organ for the eye, made from its voxels when it is looked at: it costs the page no byte.
//
// Constrained elastic surface nets (Gibson, MICCAI 1998): one vertex per cell of eight voxel centres that the border
// crosses, drawn towards its neighbours, but never out of its cell, so that stairs between thick slices soften. What
// that takes from the volume is given back evenly, along the normals.
"use strict";

const Surfaces = (() => {
  const ROUNDS = 12; // of smoothing: more change nothing that one sees
  const TIMES = 3; // that volume is given back, each time more exactly

  // Of every label in the map (`at(x, y, z)` on `dims` voxels) the lowest and highest voxel: Map of label → [low, high].
  function boxes(dims, at) {
    const found = new Map();
    for (let z = 0; z < dims[2]; z++)
      for (let y = 0; y < dims[1]; y++)
        for (let x = 0; x < dims[0]; x++) {
          const label = at(x, y, z);
          if (!label) continue;
          let box = found.get(label);
          if (!box) found.set(label, (box = [[x, y, z], [x, y, z]]));
          const [low, high] = box;
          if (x < low[0]) low[0] = x;
          if (x > high[0]) high[0] = x;
          if (y < low[1]) low[1] = y;
          if (y > high[1]) high[1] = y;
          if (z < low[2]) low[2] = z;
          if (z > high[2]) high[2] = z;
        }
    return found;
  }

  // The surface of the voxels in a box for which `inside(x, y, z)` holds: {points (mm), triangles}.
  // `toMm` (3 × 4, rows) takes voxel centres to millimetres.
  function surface([low, high], inside, toMm) {
    const size = [0, 1, 2].map((a) => high[a] - low[a] + 3); // one voxel of outside on each side
    const [row, plane] = [size[0], size[0] * size[1]];
    const filled = new Uint8Array(plane * size[2]);
    for (let z = low[2]; z <= high[2]; z++)
      for (let y = low[1]; y <= high[1]; y++)
        for (let x = low[0]; x <= high[0]; x++)
          if (inside(x, y, z)) filled[(z - low[2] + 1) * plane + (y - low[1] + 1) * row + x - low[0] + 1] = 1;

    // Cell n has voxel n and its next neighbours along each axis as corners.
    const number = new Int32Array(filled.length).fill(-1);
    const cells = [];
    for (let z = 0; z < size[2] - 1; z++)
      for (let y = 0; y < size[1] - 1; y++)
        for (let x = 0; x < size[0] - 1; x++) {
          const n = z * plane + y * row + x;
          const count = filled[n] + filled[n + 1] + filled[n + row] + filled[n + row + 1] +
            filled[n + plane] + filled[n + plane + 1] + filled[n + plane + row] + filled[n + plane + row + 1];
          if (count > 0 && count < 8) {
            number[n] = cells.length;
            cells.push(n);
          }
        }
    const strides = [1, row, plane];
    const points = relaxed(cells, number, strides);
    for (let n = 0; n < points.length; n += 3) {
      const [x, y, z] = [points[n] + low[0] - 0.5, points[n + 1] + low[1] - 0.5, points[n + 2] + low[2] - 0.5];
      for (let r = 0; r < 3; r++) points[n + r] = toMm[r][0] * x + toMm[r][1] * y + toMm[r][2] * z + toMm[r][3];
    }
    const triangles = outwards(points, faces(filled, number, strides));
    const [p, q, r] = toMm;
    const voxelMm3 = Math.abs(p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0]) + p[2] * (q[0] * r[1] - q[1] * r[0]));
    const wanted = filled.reduce((sum, is) => sum + is, 0) * voxelMm3;
    for (let time = 0; time < TIMES; time++) grow(points, triangles, wanted);
    return { points, triangles };
  }

  // Move every vertex along its normal by what is missing of the volume, divided by the surface's area.
  function grow(points, triangles, wanted) {
    const normals = new Float64Array(points.length);
    let area = 0, volume = 0;
    for (let t = 0; t < triangles.length; t += 3) {
      const corners = [3 * triangles[t], 3 * triangles[t + 1], 3 * triangles[t + 2]];
      const [a, b, c] = corners;
      const [ux, uy, uz] = [points[b] - points[a], points[b + 1] - points[a + 1], points[b + 2] - points[a + 2]];
      const [vx, vy, vz] = [points[c] - points[a], points[c + 1] - points[a + 1], points[c + 2] - points[a + 2]];
      const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx]; // twice the triangle's area long
      area += Math.hypot(...n) / 2;
      volume += (points[a] * n[0] + points[a + 1] * n[1] + points[a + 2] * n[2]) / 6;
      for (const corner of corners) for (let k = 0; k < 3; k++) normals[corner + k] += n[k];
    }
    const step = (wanted - volume) / area;
    for (let n = 0; n < points.length; n += 3) {
      const length = Math.hypot(normals[n], normals[n + 1], normals[n + 2]) || 1;
      for (let k = 0; k < 3; k++) points[n + k] += (step * normals[n + k]) / length;
    }
  }

  // Two triangles for each pair of neighbouring voxels of which one is inside: the four cells round their connection.
  function faces(filled, number, strides) {
    const found = [];
    for (let n = 0; n < filled.length; n++)
      for (let a = 0; a < 3; a++) {
        const here = filled[n], there = filled[n + strides[a]] ?? 0;
        if (here === there) continue;
        const p = strides[(a + 1) % 3], q = strides[(a + 2) % 3];
        const [i, j, k, l] = [number[n - p - q], number[n - q], number[n], number[n - p]];
        if (here) found.push(i, j, k, i, k, l);
        else found.push(i, k, j, i, l, k);
      }
    return new Uint32Array(found);
  }

  // Of every cell its vertex, in cells from the box's corner.
  function relaxed(cells, number, [, row, plane]) {
    const home = new Float32Array(3 * cells.length);
    cells.forEach((n, c) => home.set([n % row, Math.floor(n / row) % (plane / row), Math.floor(n / plane)], 3 * c));
    const neighbours = new Int32Array(6 * cells.length).fill(-1);
    cells.forEach((n, c) => [1, -1, row, -row, plane, -plane].forEach((step, k) => (neighbours[6 * c + k] = number[n + step] ?? -1)));
    let now = home.slice();
    for (let round = 0; round < ROUNDS; round++) {
      const after = new Float32Array(now.length);
      for (let c = 0; c < cells.length; c++) {
        let x = 0, y = 0, z = 0, count = 0;
        for (let k = 6 * c; k < 6 * c + 6; k++) {
          const other = 3 * neighbours[k];
          if (other < 0) continue;
          x += now[other];
          y += now[other + 1];
          z += now[other + 2];
          count++;
        }
        for (let a = 0; a < 3; a++) {
          const at = 3 * c + a, wanted = count ? [x, y, z][a] / count : now[at];
          after[at] = Math.min(Math.max(wanted, home[at] - 0.5), home[at] + 0.5);
        }
      }
      now = after;
    }
    return now;
  }

  // The lit side of a triangle is the one from which its corners run counter-clockwise; a grid that mirrors turns it.
  function outwards(points, triangles) {
    let volume = 0;
    for (let t = 0; t < triangles.length; t += 3) {
      const a = 3 * triangles[t], b = 3 * triangles[t + 1], c = 3 * triangles[t + 2];
      volume += points[a] * (points[b + 1] * points[c + 2] - points[b + 2] * points[c + 1]) +
        points[a + 1] * (points[b + 2] * points[c] - points[b] * points[c + 2]) +
        points[a + 2] * (points[b] * points[c + 1] - points[b + 1] * points[c]);
    }
    if (volume < 0) for (let t = 0; t < triangles.length; t += 3) [triangles[t + 1], triangles[t + 2]] = [triangles[t + 2], triangles[t + 1]];
    return triangles;
  }

  return { boxes, surface };
})();
