"use strict";
// Shows the state of a run. Strings of the run only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";
const COLORS = ["--test", "--good", "--third", "--fourth", "--train", "--bad"];
const RANKS = ["--train", ...COLORS.filter(color => color !== "--train")];
const $ = id => document.getElementById(id);

let state = JSON.parse($("state").textContent);
let received = performance.now();   // when
let lost = null;                    // since when the driver does not answer
let closed = false;                 // the run is over, and the driver serves no page any more
const scales = {};                  // by chart, whether the viewer wants it logarithmic
let cursor = null;                  // {chart, iteration} under the pointer

// ---- words and numbers

function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(Math.max(1, digits - 2)).replace("e+", "e");
  return String(+value.toPrecision(digits)).replace(/^(-?\d+)(?=\.|$)/, whole => whole.replace(/\B(?=(\d{3})+$)/g, "\u202f"));
}
const whole = value => value === null || value === undefined ? "–" : number(Math.round(value), 12);
const percent = share => share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`;

function clock(seconds) {
  const s = Math.max(0, Math.round(seconds)), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  const two = n => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// ---- the whole

const over = () => ["finished", "stopped", "failed"].includes(state.phase);
const now = () => state.seconds + (state.live && !over() && !lost ? (performance.now() - received) / 1000 : 0);

function words() {
  if (state.phase === "training") return "training";
  if (state.phase === "starting") return state.doing || "starting";
  return state.phase;
}

function show() {
  const share = state.max_iter ? Math.min(1, state.iteration / state.max_iter) : 0;
  document.title = `${lost ? "?" : over() ? state.phase : `${Math.floor(100 * share)} %`} · ${state.name}`;
  document.body.className = state.phase;
  $("name").textContent = state.name;
  $("phase").textContent = lost ? "no connection" : words();
  $("phase").className = `pill ${lost ? "lost" : state.phase}`;
  $("about").textContent = [state.cluster, state.model && `model ${state.model}`].filter(Boolean).join(" · ");
  $("lost").hidden = !lost;
  if (lost) $("lost").textContent =
    `The driver has not answered since ${lost.toLocaleTimeString()}: it has ended, or cannot be reached. ` +
    "This is what was known then.";
  $("error").hidden = !state.error;
  $("error").textContent = state.error;
  $("count").replaceChildren(
    make("b", {}, `iteration ${whole(state.iteration)}`), ` of ${whole(state.max_iter)}`,
    ` · ${Math.floor(100 * share)} %`, state.epoch ? ` · epoch ${number(state.epoch, 3)}` : "");
  $("bar").style.width = `${100 * share}%`;
  tick();
  tiles();
  charts();
  ranks();
  const notes = state.notes.slice().reverse().map(([at, text]) =>
    make("li", {}, make("time", {}, clock(at)), make("span", {}, text)));
  $("notes").hidden = !notes.length;
  $("notes").querySelector("ol").replaceChildren(...notes);
  const settings = Object.entries({...state.settings, ...state.solver});
  $("settings").hidden = !settings.length;
  $("settings").querySelector("table").replaceChildren(...settings.map(([name, value]) =>
    make("tr", {}, make("td", {}, name), make("td", {}, Array.isArray(value) ? value.join(", ") : String(value)))));
}

// what changes by itself from second to second
function tick() {
  const times = [];
  if (state.left !== null && !lost)
    times.push(make("b", {}, `${clock(state.left - (performance.now() - received) / 1000)} left`), " · ");
  if (state.phase === "stopped" || state.phase === "failed") times.push(`${state.phase} after `);
  if (state.phase === "finished") times.push(state.stopped === "patience" ? "stopped early after " : "finished after ");
  times.push(clock(now()), over() ? "" : " so far");
  $("time").replaceChildren(...times);
  const since = `started ${new Date(1000 * state.begun).toLocaleString()}`;
  if (!state.live) $("foot").textContent = `caffeonspark · ${since}`;
  else if (over()) $("foot").textContent = `${since} · ` +
    (closed ? "the run is over; this page shows its end" : "the run is over");
  else $("foot").textContent = `${since} · live` + silence();
}

// a run that says nothing is shown as one
function silence() {
  const heard = state.ranks.map(rank => rank.heard).filter(at => at !== undefined);
  const quiet = now() - Math.max(...heard);
  return state.phase === "training" && quiet > 5 ? ` · no rank has reported for ${Math.round(quiet)} s` : "";
}

// what `lr` is: L-BFGS finds how far it goes itself
const rate = () => state.solver.type === "LBFGS" ? "Step length" : "Learning rate";

function tiles() {
  const train = state.train, last = train.smooth.length - 1;
  const shown = [["training loss", last < 0 ? null : number(train.smooth[last])],
    [rate().toLowerCase(), last < 0 ? null : number(train.lr[last])],
    ["samples/s", state.samples_per_second === null ? null : whole(state.samples_per_second)]];
  for (const test of state.tests.slice(0, 6)) {
    const point = test.points[test.points.length - 1];
    if (point) shown.push([`${test.name} at ${whole(point[0])}`, number(point[1])]);
  }
  $("tiles").replaceChildren(...shown.map(([name, value]) =>
    make("div", {class: "tile"}, make("span", {}, name), make("b", {}, value === null ? "–" : value))));
}

function computes(machine) {
  if (!machine) return "–";
  const count = (number, one) => `${Number(number)} ${one}${Number(number) === 1 ? "" : "s"}`;
  const how = machine.kernel ? `${machine.kernel}, ${count(machine.threads, "thread")}, ` : "";
  return `${how}${count(machine.cores, "core")}`;
}

function ranks() {
  const rows = state.ranks;
  $("ranks").hidden = !rows.length;
  const slow = rows.find(row => row.slowest);
  $("slowest").hidden = !slow;
  if (slow) {
    const others = rows.filter(row => row !== slow);
    const mean = others.reduce((sum, row) => sum + row.waiting_share, 0) / others.length;
    $("slowest").replaceChildren("Slowest: ", make("b", {}, `rank ${slow.rank} on ${slow.host}`),
      `. It waits ${percent(slow.waiting_share)} of its time for the others; ` +
      `${others.length > 1 ? "they wait" : "the other waits"} ${percent(mean)}.`);
  }
  const apart = rows.some(row => row.loss !== undefined);   // only while the ranks' models differ
  const head = make("tr", {},
    ...[["rank", ""], ["host", "left"], ["computes with", "left wide"], ["iteration", ""],
      ...(apart ? [["its loss", ""]] : []), ["samples/s without waiting", "wide"],
      ["training", "wide"], ["waited", "wide"], ["loaded", "wide"], ["its time", "split"]]
      .map(([name, kind]) => make("th", {class: kind}, name)));
  const seconds = value => value === undefined ? "–" : value < 60 ? `${value.toFixed(1)} s` : clock(value);
  const body = rows.map(row => {
    const bar = make("div", {class: "shares"});
    if (row.waiting_share !== null && row.waiting_share !== undefined) {
      const parts = {computing: 1 - row.waiting_share - row.loading_share, loading: row.loading_share, waiting: row.waiting_share};
      bar.title = Object.entries(parts).map(([name, share]) => `${name} ${percent(Math.max(0, share))}`).join(", ");
      for (const [name, share] of Object.entries(parts)) {
        const part = make("div", {class: name});
        part.style.width = `${100 * Math.max(0, share)}%`;
        bar.append(part);
      }
    }
    return make("tr", {class: row.slowest ? "slow" : ""}, make("td", {}, String(row.rank)),
      make("td", {class: "left"}, row.host || "–", ...(row.slowest ? [make("span", {class: "tag"}, "slowest")] : [])),
      make("td", {class: "left wide", title: row.machine ? row.machine.processor : ""}, computes(row.machine)),
      make("td", {}, whole(row.iteration)), ...(apart ? [make("td", {}, number(row.loss))] : []),
      make("td", {class: "wide"}, whole(row.alone)),
      ...["training", "waited", "loading"].map(name => make("td", {class: "wide"}, seconds(row[name]))),
      make("td", {class: "split"}, bar));
  });
  $("ranks").querySelector("table").replaceChildren(head, ...body);
}

// ---- curves

function charts() {
  const train = state.train, x = train.iteration, zip = column => x.map((at, i) => [at, train[column][i]]);
  const losses = state.tests.filter(test => test.loss);
  const found = [{
    title: "Loss", scalable: true,
    curves: [
      {name: "training, every iteration", color: "--train", faint: true, points: zip("loss"),
        band: x.map((at, i) => [at, train.low[i], train.high[i]])},
      {name: "training, smoothed", color: "--train", points: zip("smooth")},
      ...losses.map((test, i) => ({name: test.name, color: COLORS[i % COLORS.length], points: test.points, dots: true})),
    ],
  }];
  if (state.apart && state.apart.length) found.push({title: "Loss of each rank", scalable: true,
    curves: state.apart.map((one, i) => ({...one, color: RANKS[i % RANKS.length]}))});
  const groups = new Map();   // those between 0 and 1 together, the others each in a chart of its own
  for (const test of state.tests.filter(test => !test.loss)) {
    const unit = test.points.every(([, value]) => value === null || (value >= 0 && value <= 1));
    const group = unit ? "Validation" : test.name;
    groups.set(group, [...(groups.get(group) || []), test]);
  }
  for (const [title, tests] of [...groups].slice(0, 6))
    found.push({title, curves: tests.slice(0, 8).map((test, i) =>
      ({name: test.name, color: COLORS[i % COLORS.length], points: test.points, dots: true}))});
  found.push({title: rate(), curves: [{name: rate() === "Step length" ? "step length" : "lr", color: "--train",
    points: zip("lr"), step: true}]});
  if (train.norm.some(value => value !== null)) found.push({title: "Gradient norm", scalable: true,
    curves: [{name: "gradient norm", color: "--third", points: zip("norm")}]});
  if (train.passes.some(value => value !== null)) found.push({title: "Passes in an iteration", floor: 0,
    curves: [{name: "passes through the data", color: "--fourth", points: zip("passes"), step: true}]});
  found.push({title: "Samples per second", floor: 0,
    curves: [{name: "samples/s", color: "--good", points: zip("speed")}]});
  const place = $("charts");
  place.hidden = !found.some(chart => chart.curves.some(one => one.points.length));
  while (place.children.length > found.length) place.lastChild.remove();
  while (place.children.length < found.length) place.append(make("div", {class: "card chart"}));
  found.forEach((chart, i) => curve(place.children[i], chart));
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(n => n * power).find(n => n >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(+at.toPrecision(12));
  return found;
}

function logTicks(low, high) {
  const found = [], span = Math.log10(high / low), parts = span > 3 ? [1] : span > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const part of parts) {
      const at = +(part * 10 ** power).toPrecision(3);
      if (at >= low * 0.999 && at <= high * 1.001) found.push(at);
    }
  return found;
}

function curve(card, chart) {
  const wide = Math.max(240, card.clientWidth - 28), tall = 230;
  const left = 52, right = 10, top = 8, bottom = 26;
  const values = [], inner = [];
  for (const one of chart.curves) {
    for (const [, value] of one.points) if (value !== null) (one.faint ? inner : values).push(value);
    if (one.band) for (const [, low, high] of one.band) inner.push(low, high);
  }
  const all = [...values, ...inner];
  const x0 = Math.min(...chart.curves.flatMap(one => one.points.length ? [one.points[0][0]] : []));
  const x1 = Math.max(x0 + 1, state.iteration, ...chart.curves.flatMap(one => one.points.length ? [one.points[one.points.length - 1][0]] : []));
  const empty = !all.length;
  let low = Math.min(...all), high = Math.max(...all);
  const can = chart.scalable && !empty && low > 0;
  const spread = values.length ? Math.max(...values) / Math.min(...values) : 1;
  const log = can && (scales[chart.title] === undefined ? spread > 20 : scales[chart.title]);
  if (chart.floor !== undefined) low = Math.min(low, chart.floor);
  if (low === high) { high += Math.abs(high) * 0.1 || 1; if (chart.floor === undefined) low -= Math.abs(low) * 0.1 || 1; }
  const f = log ? Math.log : v => v;
  const pad = 0.04 * (f(high) - f(low));
  const bottomValue = f(low) - (chart.floor === low ? 0 : pad), topValue = f(high) + pad;
  const X = at => left + (at - x0) / (x1 - x0) * (wide - left - right);
  const Y = value => top + (topValue - f(value)) / (topValue - bottomValue) * (tall - top - bottom);
  const svg = draw("svg", {viewBox: `0 0 ${wide} ${tall}`, height: tall, role: "img"});
  svg.append(draw("title", {}, chart.title));

  const legend = make("div", {class: "legend"});
  if (empty) svg.append(draw("text", {x: wide / 2, y: tall / 2, "text-anchor": "middle"}, "nothing yet"));
  else {
    const inverse = log ? Math.exp : v => v;
    for (const at of log ? logTicks(inverse(bottomValue), inverse(topValue)) : ticks(bottomValue, topValue, 5)) {
      svg.append(draw("line", {x1: left, x2: wide - right, y1: Y(at), y2: Y(at), class: "grid"}));
      svg.append(draw("text", {x: left - 7, y: Y(at) + 4, "text-anchor": "end"}, number(at)));
    }
    for (const at of ticks(x0, x1, Math.max(2, Math.floor(wide / 110))).filter(Number.isInteger))
      svg.append(draw("text", {x: X(at), y: tall - 8, "text-anchor": "middle"}, whole(at)));
    svg.append(draw("line", {x1: left, x2: wide - right, y1: tall - bottom, y2: tall - bottom, class: "axis"}));
    marks(svg, legend, X, x0, x1, top, tall - bottom);
    for (const one of chart.curves.slice().reverse()) line(svg, one, X, Y);
    for (const one of chart.curves.slice().reverse()) {
      if (!one.points.length) continue;
      const key = make("i");
      key.style.background = `var(${one.color})`;
      key.style.opacity = one.faint ? 0.35 : 1;
      legend.prepend(make("span", {}, key, one.name));
    }
  }
  const parts = [make("h2", {}, chart.title)];
  if (can) {
    const button = make("button", {type: "button", "aria-pressed": String(log)}, "log scale");
    button.onclick = () => { scales[chart.title] = !log; charts(); };
    parts.push(button);
  }
  card.replaceChildren(...parts, legend, svg);
  if (empty) return;
  svg.onpointermove = event => {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * wide;
    cursor = {chart: chart.title, iteration: x0 + (at - left) / (wide - left - right) * (x1 - x0)};
    point(card, svg, chart, X, top, tall - bottom, wide);
  };
  svg.onpointerleave = () => { cursor = null; point(card, svg, chart, X, top, tall - bottom, wide); };
  point(card, svg, chart, X, top, tall - bottom, wide);
}

function line(svg, one, X, Y) {
  const style = `stroke: var(${one.color})`;
  if (one.band && one.band.some(([, low, high]) => high > low)) {
    const there = one.band.map(([at, , high]) => `${X(at).toFixed(1)},${Y(high).toFixed(1)}`);
    const back = one.band.map(([at, low]) => `${X(at).toFixed(1)},${Y(low).toFixed(1)}`).reverse();
    svg.append(draw("polygon", {points: [...there, ...back].join(" "), style: `fill: var(${one.color}); opacity: .22`}));
  }
  let path = "", before = null;
  for (const [at, value] of one.points) {
    if (value === null) { before = null; continue; }
    const x = X(at).toFixed(1), y = Y(value).toFixed(1);
    path += before === null ? `M${x} ${y}` : one.step ? `H${x}V${y}` : `L${x} ${y}`;
    before = value;
  }
  svg.append(draw("path", {d: path, style: style + (one.faint ? "; opacity: .35; stroke-width: 1.2" : "")}));
  const drawn = one.points.filter(([, value]) => value !== null);
  if ((one.dots && drawn.length <= 60) || drawn.length === 1)
    for (const [at, value] of drawn)
      svg.append(draw("circle", {cx: X(at), cy: Y(value), r: 3, style: `fill: var(${one.color})`}));
}

function marks(svg, legend, X, x0, x1, top, bottom) {
  const kinds = new Map();
  for (const mark of state.marks) {
    if (mark.iteration < x0 || mark.iteration > x1) continue;
    const x = X(mark.iteration);
    if (mark.kind === "snapshot") {
      svg.append(draw("path", {d: `M${x} ${bottom}l-4 7h8z`, style: "fill: var(--faint); stroke: none"}));
      kinds.set("snapshot", ["▲", "--faint"]);
    } else if (mark.kind === "restart" || mark.kind === "resumed") {
      const color = mark.kind === "restart" ? "--bad" : "--faint";
      svg.append(draw("path", {d: `M${x} ${top}V${bottom}`, style: `stroke: var(${color}); stroke-dasharray: 5 4; stroke-width: 1.3`}));
      kinds.set(mark.kind, ["┆", color]);
    }
  }
  const best = state.marks.filter(mark => mark.kind === "best model").pop();
  if (best && best.iteration >= x0 && best.iteration <= x1) {
    svg.append(draw("path", {d: `M${X(best.iteration)} ${top}V${bottom}`, style: "stroke: var(--good); stroke-dasharray: 1 4; stroke-width: 2"}));
    kinds.set("best model", ["┊", "--good"]);
  }
  for (const [name, [sign, color]] of kinds) {
    const key = make("i", {class: "mark"}, sign);
    key.style.color = `var(${color})`;
    legend.append(make("span", {}, key, name));
  }
}

function point(card, svg, chart, X, top, bottom, wide) {
  card.querySelectorAll(".tip").forEach(old => old.remove());
  svg.querySelectorAll(".cursor").forEach(old => old.remove());
  if (!cursor || cursor.chart !== chart.title) return;
  const near = points => points.reduce((best, one) =>
    !best || Math.abs(one[0] - cursor.iteration) < Math.abs(best[0] - cursor.iteration) ? one : best, null);
  const main = near((chart.curves.find(one => !one.dots && one.points.length) || chart.curves.find(one => one.points.length)).points);
  const x = X(main[0]);
  svg.append(draw("line", {x1: x, x2: x, y1: top, y2: bottom, class: "cursor"}));
  const tip = make("div", {class: "tip"}, make("b", {}, `iteration ${whole(main[0])}`));
  for (const one of chart.curves) {
    const found = near(one.points);
    if (!found) continue;
    const where = one.dots && found[0] !== main[0] ? ` (at ${whole(found[0])})` : "";
    tip.append(make("br"), `${one.name}: ${number(found[1])}${where}`);
  }
  card.append(tip);
  const place = svg.offsetLeft || 14, at = place + x * svg.clientWidth / wide;
  tip.style.top = `${svg.getBoundingClientRect().top - card.getBoundingClientRect().top + 12}px`;
  tip.style.left = `${at + 12 + tip.offsetWidth > card.clientWidth ? Math.max(4, at - 12 - tip.offsetWidth) : at + 12}px`;
}

// ---- news

const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));

async function follow() {
  const token = new URLSearchParams(location.search).get("token");
  const page = Math.random().toString(36).slice(2);
  while (!closed) {
    try {
      const query = new URLSearchParams({after: state.version, page, ...(token ? {token} : {})});
      const answer = await fetch(`state?${query}`);
      if (!answer.ok) throw new Error(answer.statusText);
      state = await answer.json();
      received = performance.now();
      lost = null;
    } catch (error) {
      if (over()) closed = true;
      else lost = lost || new Date();
      await pause(1500);
    }
    show();
    await pause(400);
  }
}

show();
addEventListener("resize", charts);
if (state.live) {
  setInterval(tick, 1000);
  follow();
}
