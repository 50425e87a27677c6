// The surface of an organ for the eye, made from its voxels when it is looked at: it costs the page no byte.
//
// Constrained elastic surface nets (Gibson, MICCAI 1998): one vertex per cell of eight voxel centres that the border
// crosses, drawn towards its neighbours, but never out of its cell. So stairs between thick slices soften, and no point
// leaves the border by more than half a voxel.
"use strict";

const Surfaces = (() => {
  const ROUNDS = 12; // of smoothing: more change nothing that one sees

  // `inside(x, y, z)` for voxels of `dims`; `toMm` (3 × 4, rows) takes voxel centres to mm. {points, triangles} or null.
  function surface(dims, inside, toMm) {
    const box = bounds(dims, inside);
    if (!box) return null;
    const [low, high] = box;
    const size = [0, 1, 2].map((a) => high[a] - low[a] + 2); // cells: one more than voxels along each axis
    const number = new Int32Array(size[0] * size[1] * size[2]).fill(-1);
    const at = (x, y, z) => (z * size[1] + y) * size[0] + x;
    const voxel = (x, y, z) => // of cell (x, y, z) the corner with the lowest indices
      x >= low[0] && y >= low[1] && z >= low[2] && x <= high[0] && y <= high[1] && z <= high[2] && inside(x, y, z) ? 1 : 0;

    const cells = [];
    for (let z = 0; z < size[2]; z++)
      for (let y = 0; y < size[1]; y++)
        for (let x = 0; x < size[0]; x++) {
          let filled = 0;
          for (let k = 0; k < 8; k++) filled += voxel(low[0] + x - 1 + (k & 1), low[1] + y - 1 + ((k >> 1) & 1), low[2] + z - 1 + (k >> 2));
          if (filled > 0 && filled < 8) {
            number[at(x, y, z)] = cells.length / 3;
            cells.push(x, y, z);
          }
        }

    const triangles = faces(size, number, at, (x, y, z) => voxel(low[0] + x - 1, low[1] + y - 1, low[2] + z - 1));
    const relaxed = relax(cells, size, number, at);
    const points = new Float32Array(relaxed.length);
    for (let n = 0; n < relaxed.length; n += 3) {
      const centre = [0, 1, 2].map((a) => low[a] - 1 + relaxed[n + a] + 0.5); // cell c lies between voxels c − 1 and c
      for (let r = 0; r < 3; r++) points[n + r] = toMm[r][0] * centre[0] + toMm[r][1] * centre[1] + toMm[r][2] * centre[2] + toMm[r][3];
    }
    return { points, triangles: outwards(points, triangles) };
  }

  function bounds(dims, inside) {
    const low = [...dims], high = [-1, -1, -1];
    for (let z = 0; z < dims[2]; z++)
      for (let y = 0; y < dims[1]; y++)
        for (let x = 0; x < dims[0]; x++)
          if (inside(x, y, z))
            [x, y, z].forEach((n, a) => {
              if (n < low[a]) low[a] = n;
              if (n > high[a]) high[a] = n;
            });
    return high[0] < 0 ? null : [low, high];
  }

  // Two triangles for each pair of neighbouring voxels of which one is inside: the four cells round them.
  function faces(size, number, at, voxel) {
    const found = [];
    for (let z = 0; z < size[2]; z++)
      for (let y = 0; y < size[1]; y++)
        for (let x = 0; x < size[0]; x++) {
          const here = voxel(x, y, z);
          for (const [dx, dy, dz] of [[1, 0, 0], [0, 1, 0], [0, 0, 1]]) {
            const there = voxel(x + dx, y + dy, z + dz);
            if (here === there) continue;
            // the edge from voxel (x, y, z) to its neighbour belongs to four cells
            const [p, q] = dx ? [[0, 1, 0], [0, 0, 1]] : dy ? [[0, 0, 1], [1, 0, 0]] : [[1, 0, 0], [0, 1, 0]];
            const base = [x - p[0] - q[0], y - p[1] - q[1], z - p[2] - q[2]];
            const corner = (i, j) => number[at(base[0] + i * p[0] + j * q[0], base[1] + i * p[1] + j * q[1], base[2] + i * p[2] + j * q[2])];
            const [a, b, c, d] = [corner(0, 0), corner(1, 0), corner(1, 1), corner(0, 1)];
            if (here) found.push(a, b, c, a, c, d);
            else found.push(a, c, b, a, d, c);
          }
        }
    return new Uint32Array(found);
  }

  function relax(cells, size, number, at) {
    let now = Float32Array.from(cells);
    for (let round = 0; round < ROUNDS; round++) {
      const after = new Float32Array(now.length);
      for (let n = 0; n < cells.length; n += 3) {
        const sum = [0, 0, 0];
        let count = 0;
        for (const [dx, dy, dz] of [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) {
          const [x, y, z] = [cells[n] + dx, cells[n + 1] + dy, cells[n + 2] + dz];
          if (x < 0 || y < 0 || z < 0 || x >= size[0] || y >= size[1] || z >= size[2]) continue;
          const other = number[at(x, y, z)];
          if (other < 0) continue;
          for (let a = 0; a < 3; a++) sum[a] += now[3 * other + a];
          count++;
        }
        for (let a = 0; a < 3; a++) {
          const wanted = count ? sum[a] / count : now[n + a];
          after[n + a] = Math.min(Math.max(wanted, cells[n + a] - 0.5), cells[n + a] + 0.5);
        }
      }
      now = after;
    }
    return now;
  }

  // NiiVue lights the side that triangles turn their counter-clockwise face to; a grid that mirrors turns them over.
  function outwards(points, triangles) {
    let volume = 0;
    for (let t = 0; t < triangles.length; t += 3) {
      const [a, b, c] = [0, 1, 2].map((k) => points.subarray(3 * triangles[t + k], 3 * triangles[t + k] + 3));
      volume += a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
    }
    if (volume < 0) for (let t = 0; t < triangles.length; t += 3) [triangles[t + 1], triangles[t + 2]] = [triangles[t + 2], triangles[t + 1]];
    return triangles;
  }

  return { surface };
})();
