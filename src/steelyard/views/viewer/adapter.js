// The only file that talks to NiiVue: slices of an image, surfaces of organs, and where a voxel is on the screen.
"use strict";

const Adapter = (() => {
  const PLANES = { axial: 0, coronal: 1, sagittal: 2 };
  const ALONG = [[0, 1, 2], [0, 2, 1], [1, 2, 0]]; // of each plane: voxel axes across, up, and through the slices
  const UINT16 = 512; // NIfTI's code
  const LAYOUTS = {
    all: [["axial", [0, 0, 0.62, 1]], ["coronal", [0.62, 0, 0.38, 0.34]], ["sagittal", [0.62, 0.34, 0.38, 0.33]]],
    axial: [["axial", [0, 0, 1, 1]]],
    coronal: [["coronal", [0, 0, 1, 1]]],
    sagittal: [["sagittal", [0, 0, 1, 1]]],
    surfaces: [["axial", [0, 0, 1, 1]]],
  };
  const FROM_THE_FRONT = [180, 8]; // azimuth, elevation in degrees
  const QUIET = { // NiiVue's own keys would fight with ours, its console lines are no one's, nothing is to be dropped on it
    logLevel: "silent", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "", dragAndDropEnabled: false,
    backColor: [0, 0, 0, 1], fontColor: [1, 1, 1, 1], loadingText: "",
  };

  function isPossible() {
    const canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2");
    if (gl) gl.getExtension("WEBGL_lose_context")?.loseContext();
    return Boolean(gl);
  }

  // `told`: moved() when the crosshair is elsewhere, drawn() after every redraw, windowed(low, high) after a drag.
  async function attach(sliceCanvas, surfaceCanvas, told) {
    const slices = new niivue.Niivue({
      ...QUIET,
      isRadiologicalConvention: true, sagittalNoseLeft: true, showAllOrientationMarkers: true, crosshairWidth: 0,
      isForceMouseClickToVoxelCenters: true, multiplanarPadPixels: 4,
      multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
    });
    let surfaces = null; // attached with the first surfaces, so that the slices are there sooner
    await slices.attachToCanvas(sliceCanvas, true);
    const { crosshair, windowing, pan } = niivue.DRAG_MODE;
    slices.setMouseEventConfig({ leftButton: { primary: crosshair, withShift: pan, withCtrl: pan }, rightButton: windowing, centerButton: pan });

    let window = []; // as last told: NiiVue's own dragging tells nobody
    const draw = slices.drawScene.bind(slices);
    slices.drawScene = () => {
      const said = draw();
      told.drawn();
      const { cal_min: low, cal_max: high } = slices.volumes[0] ?? {};
      if (low !== undefined && (low !== window[0] || high !== window[1])) told.windowed(...(window = [low, high]));
      return said;
    };
    slices.onLocationChange = () => told.moved();

    const image = () => slices.volumes[0];

    return {
      // `voxels`: stored uint16 values, i fastest; `affine` maps (i, j, k) to RAS mm; value = stored · slope + inter.
      async showImage({ voxels, shape, affine, slope, inter }, [low, high]) {
        const file = nifti(voxels, shape, affine, slope, inter);
        const read = await niivue.NVImage.new(file, "image.nii", "gray", 1, null, low, high);
        read.cal_min = low;
        read.cal_max = high;
        while (slices.volumes.length) slices.removeVolumeByIndex(0);
        slices.addVolume(read);
        slices.setPan2Dxyzmm([0, 0, 0, 1]);
      },

      // How to find a voxel of RAS order (x to the left ear … z to the head) in an array in the file's order.
      grid() {
        const { dimsRAS, img2RASstart, img2RASstep } = image();
        return {
          dims: dimsRAS.slice(1, 4),
          start: img2RASstart[0] + img2RASstart[1] + img2RASstart[2],
          step: Array.from(img2RASstep),
        };
      },

      crosshair() {
        const frac = slices.scene.crosshairPos;
        const dims = image().dimsRAS;
        const voxel = [0, 1, 2].map((a) => Math.min(Math.max(Math.floor(frac[a] * dims[a + 1]), 0), dims[a + 1] - 1));
        return { voxel, mm: Array.from(slices.frac2mm(frac, 0, true)).slice(0, 3) };
      },

      moveTo(voxel) {
        const dims = image().dimsRAS;
        slices.scene.crosshairPos = voxel.map((v, a) => (Math.min(Math.max(v, 0), dims[a + 1] - 1) + 0.5) / dims[a + 1]);
        slices.drawScene();
        told.moved();
      },

      setWindow(low, high) {
        image().cal_min = low;
        image().cal_max = high;
        slices.updateGLVolume();
      },

      setLayout(name) {
        slices.setCustomLayout(LAYOUTS[name].map(([plane, position]) => ({ sliceType: PLANES[plane], position })));
      },

      centre() {
        slices.setPan2Dxyzmm([0, 0, 0, 1]);
        if (!surfaces) return;
        surfaces.setRenderAzimuthElevation(...FROM_THE_FRONT);
        surfaces.setScale(1);
      },

      redraw() {
        slices.drawScene();
      },

      // The slices on screen. `toScreen` = [a, b, c, d, e, f] takes (u, v), in voxels from the plane's corner, to canvas
      // pixels (a u + c v + e, b u + d v + f); `across`, `up`, `through` are RAS axes; `slice` lies along `through`;
      // `voxel` is the crosshair's, `stepMm` a voxel's width across.
      tiles() {
        if (!slices.volumes.length) return [];
        const dims = image().dimsRAS;
        return slices.screenSlices.flatMap((tile, number) => {
          const [across, up, through] = ALONG[tile.axCorSag] ?? [];
          if (across === undefined) return [];
          const [first, top, signed, height] = tile.leftTopWidthHeight; // mirrored tiles have a negative width
          const left = Math.min(first, first + signed), width = Math.abs(signed);
          const probe = (x, y) => { // well inside the tile: NiiVue answers nothing beyond its edge
            const frac = slices.screenXY2TextureFrac(left + x * width, top + y * height, number, false);
            return [frac[across] * dims[across + 1], frac[up] * dims[up + 1]];
          };
          const o = probe(0.25, 0.25), x = probe(0.75, 0.25), y = probe(0.25, 0.75);
          const [a, b, c, d] = [(x[0] - o[0]) / width, (x[1] - o[1]) / width, (y[0] - o[0]) / height, (y[1] - o[1]) / height].map((n) => 2 * n);
          const determinant = a * d - b * c;
          if (!determinant) return [];
          const inverse = [d / determinant, -b / determinant, -c / determinant, a / determinant];
          const toScreen = [
            ...inverse,
            left + 0.25 * width - inverse[0] * o[0] - inverse[2] * o[1],
            top + 0.25 * height - inverse[1] * o[0] - inverse[3] * o[1],
          ];
          const { voxel } = this.crosshair();
          return [{ voxel, slice: voxel[through], across, up, through, toScreen, box: [left, top, width, height], width: dims[across + 1], height: dims[up + 1], stepMm: image().pixDimsRAS[across + 1] }];
        });
      },

      // Surfaces as {points (RAS mm), triangles, colour [r, g, b]}; they replace those before.
      async setSurfaces(shown) {
        if (!surfaces) {
          surfaces = new niivue.Niivue({ ...QUIET, sliceType: niivue.SLICE_TYPE.RENDER, isOrientCube: true });
          await surfaces.attachToCanvas(surfaceCanvas, true);
          surfaces.setRenderAzimuthElevation(...FROM_THE_FRONT);
        }
        while (surfaces.meshes.length) surfaces.removeMesh(surfaces.meshes[0]);
        for (const { points, triangles, colour } of shown) {
          const rgba = new Uint8Array([...colour, 255]);
          surfaces.addMesh(new niivue.NVMesh(points, triangles, "organ", rgba, 1, true, surfaces.gl));
        }
        surfaces.drawScene();
      },
    };
  }

  // A NIfTI-1 file in memory, for NiiVue's own reader.
  function nifti(voxels, [slices, rows, columns], affine, slope, inter) {
    const file = new ArrayBuffer(352 + voxels.byteLength);
    const header = new DataView(file);
    header.setInt32(0, 348, true);
    [3, columns, rows, slices, 1, 1, 1, 1].forEach((n, k) => header.setInt16(40 + 2 * k, n, true));
    header.setInt16(70, UINT16, true);
    header.setInt16(72, 16, true);
    const edge = (axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]);
    [1, edge(0), edge(1), edge(2), 1, 1, 1, 1].forEach((n, k) => header.setFloat32(76 + 4 * k, n, true));
    header.setFloat32(108, 352, true);
    header.setFloat32(112, slope, true);
    header.setFloat32(116, inter, true);
    header.setUint8(123, 2); // mm
    header.setInt16(254, 1, true); // sform: scanner
    affine.slice(0, 3).forEach((row, r) => row.forEach((n, c) => header.setFloat32(280 + 16 * r + 4 * c, n, true)));
    [0x6e, 0x2b, 0x31, 0].forEach((byte, k) => header.setUint8(344 + k, byte)); // "n+1"
    new Uint16Array(file, 352).set(voxels);
    return file;
  }

  return { isPossible, attach };
})();
