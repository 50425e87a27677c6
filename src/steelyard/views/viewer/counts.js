// What is counted of two label maps: voxels of organs and errors, and the slice that shows most of something.
"use strict";

const Counts = (() => {
  // Of every axial slice the voxels for which `is(reference, prediction)` holds; of the slice with most, its middle:
  // {count, voxel}, null where there is none. A map that is not there counts as background.
  function fullest([nx, ny, nz], { reference, prediction }, is) {
    let best = null;
    for (let z = 0; z < nz; z++) {
      let count = 0, sx = 0, sy = 0;
      for (let y = 0; y < ny; y++)
        for (let x = 0; x < nx; x++)
          if (is(reference ? reference.at(x, y, z) : 0, prediction ? prediction.at(x, y, z) : 0)) {
            count++;
            sx += x;
            sy += y;
          }
      if (count && (!best || count > best.count)) best = { count, voxel: [Math.round(sx / count), Math.round(sy / count), z] };
    }
    return best;
  }

  // Voxels per organ index ({reference, prediction, missed, spilled}), and per kind of error.
  function tally(organs, { reference, prediction }) {
    const found = new Map(organs.map((o) => [o.index, { reference: 0, prediction: 0, missed: 0, spilled: 0 }]));
    const kinds = [0, 0, 0];
    const every = new Set(organs.map((o) => o.index));
    const count = (reference ?? prediction)?.labels.length ?? 0;
    for (let n = 0; n < count; n++) {
      const r = reference ? reference.labels[n] : 0, p = prediction ? prediction.labels[n] : 0;
      if (!r && !p) continue;
      if (r) found.get(r).reference++;
      if (p) found.get(p).prediction++;
      if (r === p || !reference || !prediction) continue;
      if (r) found.get(r).missed++;
      if (p) found.get(p).spilled++;
      kinds[Layers.errorKind(r, p, every)]++;
    }
    return { tally: found, kinds };
  }

  return { fullest, tally };
})();
