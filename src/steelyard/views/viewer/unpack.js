// Images and label maps lie in the page gzipped, in base64; they are unpacked when their case is chosen.
"use strict";

const Unpack = (() => {
  async function bytes(id) {
    const text = atob(document.getElementById(id).textContent.trim());
    const packed = new Uint8Array(text.length);
    for (let n = 0; n < text.length; n++) packed[n] = text.charCodeAt(n);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Grey values: low bytes, then high bytes, of the differences along each row of `columns` (sign in the lowest bit).
  async function image(id, columns) {
    const planes = await bytes(id);
    const count = planes.length / 2;
    const voxels = new Uint16Array(count);
    for (let n = 0, value = 0; n < count; n++) {
      const folded = planes[n] | (planes[count + n] << 8);
      const step = (folded >> 1) ^ -(folded & 1);
      value = n % columns === 0 ? step : value + step;
      voxels[n] = value;
    }
    return voxels;
  }

  return { bytes, image };
})();
