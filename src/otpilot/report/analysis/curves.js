// Curves as the page's data holds them: decoded when first drawn, smoothed, put on one x axis.
"use strict";
const Curves = (() => {
  const bytes = (text) => {
    const raw = atob(text);
    const out = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) out[at] = raw.charCodeAt(at);
    return out.buffer;
  };
  const views = { u2: Uint16Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array };
  const once = (make) => {
    const known = new WeakMap();
    return (key) => {
      if (!known.has(key)) known.set(key, make(key));
      return known.get(key);
    };
  };

  const steps = once((axis) => {
    const { n, first, by, gaps, type } = axis.steps;
    const out = new Array(n);
    const jump = gaps === undefined ? null : new views[type](bytes(gaps));
    for (let at = 0, step = first; at < n; at++) {
      out[at] = step;
      step += jump ? jump[at] : by;
    }
    return out;
  });

  const times = once((axis) => {
    if (!axis.times) return null;
    const { low, high, codes } = axis.times;
    const scale = (high - low) / 65535;
    return Array.from(new Uint16Array(bytes(codes)), (code) => low + code * scale);
  });

  // What is not finite becomes null: a gap.
  const values = once((curve) => {
    const data = bytes(curve.data);
    if (curve.as === "f4") return Array.from(new Float32Array(data), (value) => (Number.isNaN(value) ? null : value));
    const codes = new Uint16Array(data);
    const { low, high } = curve;
    const decode = curve.as === "lin"
      ? (code) => low + (code / 65533) * (high - low)
      : (code) => (code === 0 ? 0 : curve.sign * 2 ** (low + ((code - 1) / 65532) * (high - low)));
    return Array.from(codes, (code) => (code === 65535 ? null : decode(code)));
  });

  // Exponential mean, corrected at its beginning as Adam's moments are; gaps stay gaps.
  const smooth = (list, weight) => {
    if (!weight) return list;
    let mean = 0;
    let mass = 0;
    return list.map((value) => {
      if (value === null) return null;
      mean = weight * mean + (1 - weight) * value;
      mass = weight * mass + (1 - weight);
      return mean / mass;
    });
  };

  const positive = (list) => list.map((value) => (value > 0 ? value : null));

  // [x, y of the first curve, ...]: null is a gap, undefined a step that only other runs have.
  const table = (columns) => {
    const [head] = columns;
    if (columns.every(({ x }) => x === head.x)) return [head.x, ...columns.map(({ y }) => y)];
    return uPlot.join(columns.map(({ x, y }) => [x, y]));
  };

  return { steps, times, values, smooth, positive, table };
})();
