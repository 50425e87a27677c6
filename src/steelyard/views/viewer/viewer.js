// The page's own logic: which case is shown, with which layers, and what the keys do. Draws nothing itself.
"use strict";

(() => {
  const index = JSON.parse(document.getElementById("index").textContent);
  const organs = index.organs;
  const $ = (id) => document.getElementById(id);
  const ALL = "all organs";
  const PAGE_STEP = 5; // slices that PageUp and PageDown leap

  const state = {
    reference: true, prediction: true, errors: false,
    opacity: { reference: 0, prediction: 0.3, errors: 0.85 },
    organs: new Set(organs.map((organ) => organ.name)),
    layout: "all",
  };
  let chosen = null; // {entry, prediction, maps, grid, window}
  let opened = null; // what was unpacked of the case before, so that another prediction of it comes at once
  let turn = 0; // of the choices, so that a slow one does not overtake a later one
  let scene = null, layers = null;

  const rows = [...document.querySelectorAll("#cases tbody tr")];

  async function start() {
    fillPredictions();
    if (!index.cases.length) return;
    if (typeof DecompressionStream === "undefined" || !Adapter.isPossible()) {
      $("unable").hidden = false;
      $("stage").hidden = true;
      $("panel").hidden = true;
      listRows(wanted().prediction);
      return;
    }
    layers = Layers.create($("over"), { organs, errorColours: index.errorColours });
    scene = await Adapter.attach($("slices"), $("surfaces"), { moved: tellPlace, drawn: drawLayers, windowed: tellWindow });
    setLayout("all");
    listen();
    await open();
    document.body.dataset.ready = "yes";
  }

  // ---- which case

  function wanted() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const first = index.cases.find((entry) => entry.id === worstRow()) ?? index.cases[0];
    const entry = index.cases.find((e) => e.id === asked.get("case")) ?? first;
    const named = entry.predictions.find((p) => p.name === asked.get("prediction"));
    const before = entry.predictions.find((p) => p.name === $("choice").value);
    return { entry, prediction: named ?? before ?? entry.predictions[0] ?? null, organ: asked.get("organ") };
  }

  // Of the prediction in the list: its rows stand worst first.
  function worstRow() {
    return rows.find((row) => row.dataset.prediction === $("choice").value)?.dataset.case;
  }

  function address(entry, prediction, organ) {
    const parts = { case: entry.id, ...(prediction ? { prediction: prediction.name } : {}), ...(organ ? { organ } : {}) };
    return "#" + Object.entries(parts).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
  }

  function go(entry, prediction, organ) {
    const there = address(entry, prediction, organ);
    if (location.hash === there) return open();
    location.hash = there; // the browser's back button then leads back
    return undefined;
  }

  async function open() {
    const own = ++turn;
    const { entry, prediction, organ } = wanted();
    document.body.dataset.shown = "";
    say(`reading ${entry.id} …`);
    if (opened?.entry !== entry) {
      const voxels = await Unpack.image(entry.image, entry.shape[2]);
      if (own !== turn) return;
      opened = { entry, voxels, labels: new Map(), surfaces: new Map(), shown: false };
    }
    const reference = entry.reference ? await labelsOf(entry.reference) : null;
    const predicted = prediction ? await labelsOf(prediction.block) : null;
    if (own !== turn) return;

    const isSameImage = opened.shown;
    if (!isSameImage) {
      await scene.showImage({ voxels: opened.voxels, shape: entry.shape, affine: entry.affine, slope: entry.slope, inter: entry.inter }, entry.window);
      if (own !== turn) return;
      opened.shown = true;
    }
    const grid = scene.grid();
    chosen = {
      entry, prediction, grid,
      maps: { reference: mapOf(reference, grid), prediction: mapOf(predicted, grid) },
      window: isSameImage ? chosen.window : [...entry.window],
    };
    layers.show(chosen.maps);
    $("choice").value = prediction?.name ?? "";
    listRows(prediction);
    fillNumbers();
    tellWindow(...chosen.window);
    for (const [layer, has] of [["reference", reference], ["errors", reference && predicted], ["prediction", predicted]])
      $(layer).disabled = !has;
    const named = organs.find((o) => o.name === organ);
    if (named) jump(named);
    else if (!isSameImage) jump(firstPresent());
    else scene.redraw();
    tellPlace();
    say(`${entry.id}${prediction ? `, prediction ${prediction.name}` : ""}`);
    document.title = `${entry.id} · ${index.title}`;
    document.body.dataset.shown = `${entry.id}|${prediction?.name ?? ""}`;
    setTimeout(() => own === turn && showSurfaces(), 30); // the slices first
  }

  async function labelsOf(block) {
    const { labels } = opened;
    if (!labels.has(block)) labels.set(block, await Unpack.bytes(block));
    return labels.get(block);
  }

  function mapOf(labels, grid) {
    if (!labels) return null;
    const [sx, sy, sz] = grid.step;
    return { labels, at: (x, y, z) => labels[grid.start + x * sx + y * sy + z * sz] };
  }

  function neighbour(step) {
    const shown = rows.filter((row) => !row.hidden).map((row) => row.dataset.case);
    const id = shown[(shown.indexOf(chosen.entry.id) + step + shown.length) % shown.length];
    go(index.cases.find((entry) => entry.id === id), chosen.prediction);
  }

  // ---- where to look

  const fullest = (is) => Counts.fullest(chosen.grid.dims, chosen.maps, is);

  function jump(organ) {
    if (!organ) return;
    const found = fullest((r) => r === organ.index) ?? fullest((_, p) => p === organ.index);
    if (!found) return say(`${organ.title} is in neither label map of this case`);
    scene.moveTo(found.voxel);
    say(`${organ.title}: its largest slice`);
  }

  function jumpToWorst(organ) {
    if (!chosen.maps.reference || !chosen.maps.prediction) return say("no reference: errors are not known");
    const found = fullest((r, p) => r !== p && (organ === undefined || r === organ.index || p === organ.index));
    if (!found) return say(`no error in ${organ?.title ?? ALL}`);
    scene.moveTo(found.voxel);
    say(`${organ?.title ?? ALL}: the slice with most errors, ${found.count} pixels`);
  }

  function firstPresent() {
    return organs.find((organ) => fullest((r, p) => r === organ.index || p === organ.index));
  }

  function stepSlices(axis, by) {
    const { voxel } = scene.crosshair();
    voxel[axis] += by;
    scene.moveTo(voxel);
  }

  // ---- what is drawn

  function drawLayers() {
    if (chosen && scene) layers.draw(scene.tiles(), state, $("slices"));
  }

  async function showSurfaces() {
    if (!chosen) return;
    const { maps, grid, entry, prediction } = chosen;
    const both = state.reference && state.prediction && maps.reference && maps.prediction;
    const shown = [];
    for (const kind of ["reference", "prediction"]) { // where both lie in one place, the later is seen
      if (!state[kind] || !maps[kind]) continue;
      const block = kind === "reference" ? entry.reference : prediction.block;
      if (!opened.surfaces.has(block)) opened.surfaces.set(block, surfacesOf(maps[kind], grid, entry));
      for (const organ of organs.filter((o) => state.organs.has(o.name))) {
        const surface = opened.surfaces.get(block).get(organ.index);
        if (surface) shown.push({ ...surface, colour: kind === "reference" && both ? organ.colour.map(pale) : organ.colour });
      }
    }
    await scene.setSurfaces(shown);
    $("surface-note").hidden = !both;
    document.body.dataset.surfaces = String(shown.length);
  }

  const pale = (part) => Math.round(255 - 0.35 * (255 - part));

  function surfacesOf({ at }, grid, entry) {
    const found = new Map();
    for (const [label, box] of Surfaces.boxes(grid.dims, at))
      found.set(label, Surfaces.surface(box, (x, y, z) => at(x, y, z) === label, rasOf(grid, entry)));
    return found;
  }

  // From voxel centres in RAS order to mm: the file's own affine, walked along the axes in RAS order.
  function rasOf(grid, { affine, shape }) {
    const [, rows, columns] = shape;
    const file = (raw) => [raw % columns, Math.floor(raw / columns) % rows, Math.floor(raw / (columns * rows))];
    const mm = (ijk) => affine.slice(0, 3).map((row) => row[0] * ijk[0] + row[1] * ijk[1] + row[2] * ijk[2] + row[3]);
    const origin = file(grid.start);
    const columnsOf = grid.step.map((step) => {
      const axis = Math.abs(step) === 1 ? 0 : Math.abs(step) === columns ? 1 : 2;
      return affine.slice(0, 3).map((row) => row[axis] * Math.sign(step));
    });
    return mm(origin).map((offset, r) => [columnsOf[0][r], columnsOf[1][r], columnsOf[2][r], offset]);
  }

  function toggle(layer, on = !state[layer]) {
    if ($(layer).disabled) return;
    state[layer] = on;
    $(layer).checked = on;
    scene.redraw();
    if (layer !== "errors") showSurfaces();
  }

  function setLayout(name) {
    state.layout = name;
    $("stage").dataset.layout = name;
    document.querySelectorAll("[data-view]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === name)));
    scene.setLayout(name);
    window.dispatchEvent(new Event("resize"));
  }

  // ---- what is said

  function say(words) {
    $("said").textContent = words;
  }

  function tellPlace() {
    if (!chosen || !scene) return;
    const { voxel, mm } = scene.crosshair();
    const { grid, entry, maps } = chosen;
    const raw = grid.start + voxel[0] * grid.step[0] + voxel[1] * grid.step[1] + voxel[2] * grid.step[2];
    const [slices, rows, columns] = entry.shape;
    const side = (value, plus, minus) => `${value < 0 ? minus : plus} ${Math.abs(value).toFixed(1)}`;
    $("place").textContent = [side(mm[0], "R", "L"), side(mm[1], "A", "P"), side(mm[2], "S", "I")].join(" · ") + " mm";
    $("slice-number").textContent = `slice ${Math.floor(raw / (rows * columns)) + 1} of ${slices}`;
    $("value").textContent = `value ${Number((opened.voxels[raw] * entry.slope + entry.inter).toPrecision(6))}`;
    const named = (map) => (map ? organs.find((o) => o.index === map.labels[raw])?.title ?? "background" : "none");
    $("here").textContent = `reference ${named(maps.reference)}, prediction ${named(maps.prediction)}`;
  }

  function tellWindow(low, high) {
    if (!chosen) return;
    chosen.window = [low, high];
    $("low").value = Number(low.toPrecision(4));
    $("high").value = Number(high.toPrecision(4));
  }

  function fillPredictions() {
    const names = [...new Set(index.cases.flatMap((entry) => entry.predictions.map((p) => p.name)))];
    for (const name of names) $("choice").add(new Option(name, name));
    $("choice").disabled = names.length < 2;
  }

  // Rows of the shown prediction, and of cases that lack it.
  function listRows(prediction) {
    const having = new Set(rows.filter((row) => row.dataset.prediction === prediction?.name).map((row) => row.dataset.case));
    const seen = new Set();
    for (const row of rows) {
      const { case: id, prediction: name } = row.dataset;
      row.hidden = having.has(id) ? name !== prediction?.name : seen.has(id);
      seen.add(id);
      const isShown = chosen?.entry.id === id;
      row.classList.toggle("shown", isShown);
      row.querySelector("a").toggleAttribute("aria-current", isShown);
      if (isShown && !row.hidden) row.scrollIntoView({ block: "nearest" });
    }
    document.querySelector("#cases table").classList.add("one");
  }

  function fillNumbers() {
    const { entry, prediction, maps } = chosen;
    const ml = (count) => (count * entry.voxelMl).toFixed(1);
    const { tally, kinds } = Counts.tally(organs, maps);
    for (const organ of organs) {
      const own = tally.get(organ.index), scores = prediction?.scores[organ.name] ?? {};
      const both = maps.reference && maps.prediction;
      const cells = {
        reference: maps.reference ? ml(own.reference) : "–", prediction: maps.prediction ? ml(own.prediction) : "–",
        missed: both ? ml(own.missed) : "–", spilled: both ? ml(own.spilled) : "–",
        dice: scores.dice?.toFixed(3) ?? "–", iou: scores.iou?.toFixed(3) ?? "–", hd95_mm: scores.hd95_mm?.toFixed(1) ?? "–",
      };
      const ownRows = `#organs tr[data-organ="${CSS.escape(organ.name)}"]`;
      for (const [name, text] of Object.entries(cells)) document.querySelector(`${ownRows} [data-cell="${name}"]`).textContent = text;
    }
    Layers.ERRORS.forEach((name, number) => {
      $(`ml-${name}`).textContent = maps.reference && maps.prediction ? `${ml(kinds[number])} ml` : "";
    });
  }

  // ---- what the user does

  function listen() {
    window.addEventListener("hashchange", open);
    let byPointer = false;
    $("choice").addEventListener("pointerdown", () => (byPointer = true));
    $("choice").addEventListener("keydown", () => (byPointer = false));
    $("choice").addEventListener("change", () => {
      if (byPointer) $("slices").focus(); // so that letters are keys again, and not the list's
      const { entry } = chosen;
      go(entry, entry.predictions.find((p) => p.name === $("choice").value) ?? chosen.prediction);
    });
    for (const layer of ["reference", "prediction", "errors"]) $(layer).addEventListener("change", (event) => toggle(layer, event.target.checked));
    for (const slider of document.querySelectorAll("[data-opacity]"))
      slider.addEventListener("input", () => {
        state.opacity[slider.dataset.opacity] = slider.value / 100;
        scene.redraw();
      });
    for (const box of document.querySelectorAll("[data-show]"))
      box.addEventListener("change", () => {
        state.organs[box.checked ? "add" : "delete"](box.dataset.show);
        scene.redraw();
        showSurfaces();
      });
    const organ = (button) => organs.find((o) => o.name === button.closest("tr").dataset.organ);
    document.querySelectorAll("[data-jump]").forEach((b) => b.addEventListener("click", () => jump(organ(b))));
    document.querySelectorAll("[data-worst]").forEach((b) => b.addEventListener("click", () => jumpToWorst(organ(b))));
    document.querySelectorAll("[data-view]").forEach((b) => b.addEventListener("click", () => setLayout(b.dataset.view)));
    for (const id of ["low", "high"])
      $(id).addEventListener("change", () => {
        const [low, high] = [Number($("low").value), Number($("high").value)];
        if (low < high) {
          chosen.window = [low, high];
          scene.setWindow(low, high);
        }
      });
    $("window-reset").addEventListener("click", () => {
      scene.setWindow(...chosen.entry.window);
      tellWindow(...chosen.entry.window);
    });
    $("centre").addEventListener("click", () => scene.centre());
    $("help-button").addEventListener("click", () => $("help").showModal());
    window.addEventListener("keydown", onKey, true); // before NiiVue, which has keys of its own
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (event.target.matches?.("input[type=number], select")) return;
    if (event.target.matches?.("input[type=range]") && event.key.length > 1) return; // arrows move it
    const action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  function actionOf({ key, code, shiftKey }) {
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(code)?.[1];
    if (digit) {
      const organ = organs[digit - 1];
      return organ && (() => (shiftKey ? jumpToWorst(organ) : jump(organ)));
    }
    const through = { coronal: 1, sagittal: 0 }[state.layout] ?? 2; // the slices of the only plane, else the axial ones
    const actions = {
      ArrowUp: () => stepSlices(through, 1), ArrowDown: () => stepSlices(through, -1),
      PageUp: () => stepSlices(through, PAGE_STEP), PageDown: () => stepSlices(through, -PAGE_STEP),
      ArrowLeft: () => stepSlices(0, 1), ArrowRight: () => stepSlices(0, -1), // as on screen: the patient's right is left
      r: () => toggle("reference"), p: () => toggle("prediction"), e: () => toggle("errors"),
      n: () => neighbour(1), b: () => neighbour(-1), w: () => jumpToWorst(),
      "?": () => $("help").showModal(),
    };
    return actions[key.length === 1 ? key.toLowerCase() : key];
  }

  start().catch((error) => {
    $("unable").hidden = false;
    $("unable").textContent = `The viewer could not start (${error.message}). The scores are still listed; try another browser for the images.`;
    $("stage").hidden = true;
    $("panel").hidden = true;
  });
})();
