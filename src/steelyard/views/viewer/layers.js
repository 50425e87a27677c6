// What lies over the image: outlines and fills of organs, and the map of errors, drawn as sharp as the screen allows.
"use strict";

const Layers = (() => {
  const REFERENCE_WIDTH = 2, PREDICTION_WIDTH = 1.6, HALO = 1.6; // CSS pixels
  const DASH = [5, 4];
  const SCALE_MM = 50;
  const CROSSHAIR_GAP = 10; // CSS pixels on each side
  const PREDICTION_STROKE = "#ffffff";
  const ERRORS = ["missed", "spilled", "wrong"];

  // `maps`: {reference, prediction} as {labels, at(x, y, z)} or null; `organs` and `colours` as in the page's index.
  function create(canvas, { organs, errorColours }) {
    const context = canvas.getContext("2d");
    let outlines = new Map();
    let maps = { reference: null, prediction: null };

    function show(shown) {
      maps = shown;
      outlines = new Map();
    }

    function draw(tiles, state, source) {
      if (canvas.width !== source.width || canvas.height !== source.height) {
        canvas.width = source.width;
        canvas.height = source.height;
      }
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      const ratio = canvas.clientWidth ? canvas.width / canvas.clientWidth : 1;
      for (const tile of tiles) {
        context.save();
        context.beginPath();
        context.rect(...tile.box);
        context.clip();
        const seen = organs.filter((organ) => state.organs.has(organ.name));
        const errors = state.errors && maps.reference && maps.prediction;
        if (errors) drawErrors(tile, seen, state.opacity.errors);
        for (const kind of ["reference", "prediction"]) {
          if (!state[kind] || !maps[kind]) continue;
          for (const organ of seen) {
            const curves = outlineOf(kind, organ, tile);
            if (!curves.length) continue;
            trace(curves, tile);
            if (!errors && state.opacity[kind] > 0) {
              context.globalAlpha = state.opacity[kind];
              context.fillStyle = css(organ.colour);
              context.fill("evenodd");
              context.globalAlpha = 1;
            }
            const dashed = kind === "prediction";
            stroke(dashed ? PREDICTION_STROKE : css(organ.colour), (dashed ? PREDICTION_WIDTH : REFERENCE_WIDTH) * ratio, dashed, ratio);
          }
        }
        drawCrosshair(tile, ratio);
        context.restore();
      }
      if (tiles.length) drawScale(tiles[0], ratio);
    }

    function drawCrosshair({ voxel, across, up, toScreen: [a, b, c, d, e, f], box: [left, top, width, height] }, ratio) {
      const u = voxel[across] + 0.5, v = voxel[up] + 0.5;
      const x = a * u + c * v + e, y = b * u + d * v + f, gap = CROSSHAIR_GAP * ratio;
      context.fillStyle = "rgba(255, 255, 255, 0.5)";
      for (const [from, to] of [[left, x - gap], [x + gap, left + width]]) context.fillRect(from, y - ratio / 2, to - from, ratio);
      for (const [from, to] of [[top, y - gap], [y + gap, top + height]]) context.fillRect(x - ratio / 2, from, ratio, to - from);
    }

    // Five centimetres, at the foot of the first slice.
    function drawScale(tile, ratio) {
      const length = (SCALE_MM / tile.stepMm) * Math.hypot(tile.toScreen[0], tile.toScreen[1]);
      const [left, top, , height] = tile.box;
      const x = left + 12 * ratio, y = top + height - 12 * ratio;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.fillStyle = "#ffffff";
      context.fillRect(x, y, length, 2 * ratio);
      context.font = `${12 * ratio}px system-ui, sans-serif`;
      context.fillText(`${SCALE_MM / 10} cm`, x, y - 5 * ratio);
    }

    function drawErrors(tile, seen, opacity) {
      const shown = new Set(seen.map((organ) => organ.index));
      ERRORS.forEach((name, number) => {
        const key = `errors ${number} ${tile.through} ${tile.slice} ${[...shown]}`;
        if (!outlines.has(key)) {
          const is = (u, v) => {
            const [x, y, z] = voxel(tile, u, v);
            const kind = errorKind(maps.reference.at(x, y, z), maps.prediction.at(x, y, z), shown);
            return kind === number;
          };
          outlines.set(key, Contours.runs(tile.width, tile.height, is));
        }
        const runs = outlines.get(key);
        if (!runs.length) return;
        context.setTransform(...tile.toScreen);
        context.beginPath();
        for (const [u, v, length] of runs) context.rect(u, v, length, 1);
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.globalAlpha = opacity;
        context.fillStyle = css(errorColours[name]);
        context.fill();
        context.globalAlpha = 1;
      });
    }

    function outlineOf(kind, organ, tile) {
      const key = `${kind} ${organ.index} ${tile.through} ${tile.slice}`;
      if (!outlines.has(key)) {
        const { at } = maps[kind];
        outlines.set(key, Contours.outline(tile.width, tile.height, (u, v) => at(...voxel(tile, u, v)) === organ.index));
      }
      return outlines.get(key);
    }

    // The path is laid in canvas pixels, so that a line is as wide on every zoom and in every direction.
    function trace(curves, tile) {
      context.setTransform(...tile.toScreen);
      context.beginPath();
      for (const curve of curves) {
        context.moveTo(curve[0], curve[1]);
        for (let n = 2; n < curve.length; n += 2) context.lineTo(curve[n], curve[n + 1]);
        context.closePath();
      }
      context.setTransform(1, 0, 0, 1, 0, 0);
    }

    function stroke(colour, width, dashed, ratio) {
      context.lineJoin = "round";
      context.setLineDash(dashed ? DASH.map((n) => n * ratio) : []);
      context.strokeStyle = "rgba(0, 0, 0, 0.55)";
      context.lineWidth = width + HALO * ratio;
      context.stroke();
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
      context.setLineDash([]);
    }

    return { show, draw };
  }

  // 0 missed, 1 spilled, 2 another organ; −1 for no error among the shown organs.
  function errorKind(reference, prediction, shown) {
    if (reference === prediction) return -1;
    if (prediction === 0) return shown.has(reference) ? 0 : -1;
    if (reference === 0) return shown.has(prediction) ? 1 : -1;
    return shown.has(reference) || shown.has(prediction) ? 2 : -1;
  }

  function voxel(tile, u, v) {
    const place = [0, 0, 0];
    place[tile.across] = u;
    place[tile.up] = v;
    place[tile.through] = tile.slice;
    return place;
  }

  const css = ([red, green, blue]) => `rgb(${red}, ${green}, ${blue})`;

  return { create, errorKind, ERRORS };
})();
