(() => {
'use strict';
const root = document.documentElement;
root.classList.add('js');
const one = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const data = JSON.parse(one('#data').textContent);
// What the tests ask: the charts that the script has drawn, with how many values each shows.
const drawn = window.openloop = { charts: [], views: [], waiting: 0 };

const make = (tag, attributes = {}, ...children) => {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
};
const colour = name => getComputedStyle(root).getPropertyValue('--' + name).trim();
const say = text => { one('#said').textContent = text; };
const thousands = n => String(n).replace(/\B(?=(\d{3})+$)/g, ',');
const three = v => {
  if (v == null || !isFinite(v)) return '–';
  const a = Math.abs(v);
  return a >= 1000 ? thousands(Math.round(v)) : a >= 99.95 ? v.toFixed(0) : a >= 9.995 ? v.toFixed(1) : v.toFixed(2);
};
const ms = s => s < 0.00995 ? (s * 1e3).toFixed(1) + ' ms' : three(s * 1e3) + ' ms';

// Light and dark.
const theme = one('#theme');
const remembered = { get() { try { return localStorage.getItem('openloop-theme'); } catch { return null; } },
  set(v) { try { localStorage.setItem('openloop-theme', v); } catch { /* not remembered, then */ } } };
const system = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => root.dataset.theme ? root.dataset.theme === 'dark' : system.matches;
const recolour = () => {
  theme.textContent = isDark() ? 'light' : 'dark';
  theme.setAttribute('aria-label', 'change to ' + theme.textContent + ' colours');
  for (const v of drawn.views) v.recolour();
};
if (['light', 'dark'].includes(remembered.get())) root.dataset.theme = remembered.get();
recolour();
theme.hidden = false;
theme.addEventListener('click', () => {
  root.dataset.theme = isDark() ? 'light' : 'dark';
  remembered.set(root.dataset.theme);
  recolour();
});
system.addEventListener('change', recolour);
const print = one('#print');
print.hidden = false;
print.addEventListener('click', () => window.print());

// What stands beside the pointer.
const tip = one('#tip');
const showTip = (text, x, y) => {
  if (!text) { tip.hidden = true; return; }
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 6)) + 'px';
  tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 16) + 'px';
};
for (const mark of all('.pt')) {
  const title = one('title', mark);
  mark.dataset.tip = title.textContent;
  title.remove(); // the browser would show it too, and late
  mark.addEventListener('pointermove', e => showTip(mark.dataset.tip, e.clientX, e.clientY));
  mark.addEventListener('pointerleave', () => showTip());
}
for (const chart of all('svg.chart')) drawn.charts.push({ element: chart, points: all('.pt', chart).length });
addEventListener('scroll', () => showTip(), { passive: true });

// Copying.
const copied = async text => {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* no permission, or no secure page */ }
  const area = make('textarea', { readonly: '', style: 'position:fixed;top:0;left:0;opacity:0' });
  area.value = text;
  document.body.append(area);
  area.select();
  let ok = false;
  try { ok = document.execCommand('copy'); } catch { /* the text is there to be marked by hand */ }
  area.remove();
  return ok;
};
for (const button of all('.copy')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const ok = await copied(one('code', button.parentElement).textContent);
    button.textContent = ok ? 'copied ✔' : 'not allowed';
    say(ok ? 'copied' : 'the browser does not allow copying');
    setTimeout(() => { button.textContent = 'copy'; }, 2000);
  });
}

// Sorting.
for (const table of all('table.sortable')) {
  const heads = all('thead th', table), body = one('tbody', table);
  heads.forEach((head, column) => one('button', head).addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    heads.forEach(h => h.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const key = row => row.cells[column].dataset.sort;
    const rows = [...body.rows];
    const numbers = rows.every(r => key(r) === '' || isFinite(key(r)));
    rows.sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === '' || y === '') return (x === '') - (y === ''); // what has no value stands last
      return (numbers ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
    });
    body.append(...rows);
  }));
}

const left = 56, right = 18; // of every plot of the timeline, so that their axes agree
let made = 0;

// Stages.
for (const article of all('article.run')) {
  const run = +article.dataset.run;
  const rows = all('.sortable tbody tr', article), sections = all('.stage', article);
  const show = (stage, go) => {
    for (const e of [...rows, ...sections]) e.classList.toggle('open', +e.dataset.stage === stage);
    const section = sections.find(s => +s.dataset.stage === stage);
    if (!section) return;
    timeline(one('.timeline', section), data.runs[run].stages[stage]);
    if (go) {
      section.scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
      section.focus({ preventScroll: true });
    }
  };
  for (const row of rows) row.addEventListener('click', e => { e.preventDefault(); show(+row.dataset.stage, true); });
  for (const mark of all('.charts .pt[data-stage]', article)) mark.addEventListener('click', () => show(+mark.dataset.stage, true));
  const first = rows.find(r => r.classList.contains('at')) || rows[rows.length - 1];
  if (first) show(+first.dataset.stage, false);
}

// unpack reads the columns that data.go packs, and gives every request a lane of its own while it is in flight.
async function unpack(packed) {
  const text = atob(packed.packed), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const n = packed.shown;
  const column = c => {
    const v = new Uint32Array(n), at = 4 * c * n;
    for (let i = 0; i < n; i++) {
      v[i] = planes[at + i] | planes[at + n + i] << 8 | planes[at + 2 * n + i] << 16 | planes[at + 3 * n + i] << 24;
    }
    return v;
  };
  const [gap, delay, first, decode, rest, status, prompt, output] = [0, 1, 2, 3, 4, 5, 6, 7].map(column);
  const r = { n, delay, status, prompt, output, sent: new Float64Array(n), first: new Float64Array(n),
    last: new Float64Array(n), end: new Float64Array(n), lane: new Uint32Array(n), lanes: [], until: 0 };
  let now = 0;
  for (let i = 0; i < n; i++) {
    now += gap[i];
    r.sent[i] = now / 1e4;
    r.first[i] = first[i] ? (now + first[i] - 1) / 1e4 : NaN;
    r.last[i] = first[i] ? r.first[i] + decode[i] / 1e4 : r.sent[i];
    r.end[i] = r.last[i] + rest[i] / 1e4;
    r.until = Math.max(r.until, r.end[i]);
  }
  const busy = heap((a, b) => r.end[a] - r.end[b]), free = heap((a, b) => a - b);
  for (let i = 0; i < n; i++) {
    while (busy.size() && r.end[busy.top()] <= r.sent[i]) free.push(r.lane[busy.pop()]);
    const lane = free.size() ? free.pop() : r.lanes.length;
    if (lane === r.lanes.length) r.lanes.push([]);
    r.lane[i] = lane;
    r.lanes[lane].push(i);
    busy.push(i);
  }
  return r;
}

function heap(compare) {
  const a = [];
  return {
    size: () => a.length, top: () => a[0],
    push(v) {
      let i = a.push(v) - 1;
      for (let up; i > 0 && compare(a[i], a[up = (i - 1) >> 1]) < 0; i = up) [a[i], a[up]] = [a[up], a[i]];
    },
    pop() {
      const top = a[0], last = a.pop();
      if (a.length) {
        a[0] = last;
        for (let i = 0; ;) {
          let least = i;
          for (const c of [2 * i + 1, 2 * i + 2]) if (c < a.length && compare(a[c], a[least]) < 0) least = c;
          if (least === i) break;
          [a[i], a[least]] = [a[least], a[i]];
          i = least;
        }
      }
      return top;
    },
  };
}

// timeline draws a stage over time into an element, once.
async function timeline(host, stage) {
  if (host.dataset.drawn || 'none' in host.dataset) return;
  host.dataset.drawn = 'yes';
  host.textContent = '';
  let requests = null, note = '';
  drawn.waiting++;
  if (!stage.requests) note = 'The file does not hold the requests of this stage one by one.';
  else if (typeof DecompressionStream === 'undefined') note = 'This browser is too old to unpack the requests.';
  else {
    requests = await unpack(stage.requests);
    if (stage.requests.step > 1) {
      note = `Of ${thousands(stage.requests.of)} requests, one in ${stage.requests.step} is drawn.`;
    }
  }
  const series = stage.series, engine = stage.engine;
  const until = Math.max(stage.sending, requests ? requests.until : 0, series ? series.sent.length * series.step_s : 0, 0.01);
  const view = { host, from: 0, to: until, plots: [], lanes: null, requests, ready: false };
  drawn.views.push(view);

  let pending = false;
  const redraw = () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      for (const u of view.plots) u.setScale('x', { min: view.from, max: view.to });
      if (view.lanes) view.lanes.draw();
    });
  };
  view.range = (from, to) => {
    const width = Math.min(Math.max(to - from, 0.002), until);
    view.from = Math.min(Math.max(0, from), until - width);
    view.to = view.from + width;
    redraw();
  };
  view.zoom = (factor, at = (view.from + view.to) / 2) =>
    view.range(at - (at - view.from) * factor, at + (view.to - at) * factor);
  view.pan = share => view.range(view.from + share * (view.to - view.from), view.to + share * (view.to - view.from));
  view.reset = () => view.range(0, until);

  const button = (text, label, act) => {
    const b = make('button', { type: 'button', 'aria-label': label, title: label }, text);
    b.addEventListener('click', act);
    return b;
  };
  const keys = (...pairs) => pairs.map(([name, text]) => make('span', { class: 'key' },
    make('i', { style: `background:var(--${name})` }), text));
  const tools = make('div', { class: 'tools2' }, button('+', 'zoom in', () => view.zoom(0.5)),
    button('−', 'zoom out', () => view.zoom(2)), button('◀', 'earlier', () => view.pan(-0.5)),
    button('▶', 'later', () => view.pan(0.5)), button('all', 'the whole stage', view.reset));
  host.append(make('h3', {}, 'Over time'), tools);
  if (requests) {
    tools.append(...keys(['waiting', 'until the first token'], ['decoding', 'decode'], ['fail', 'failed'], ['unfinished', 'unfinished'],
      ['limit', 'sent late']), make('span', { class: 'key' }, 'drag to zoom, double-click for all'));
    view.lanes = lanes(view, stage);
    host.append(view.lanes.element);
    drawn.charts.push({ element: view.lanes.element, points: requests.n });
  }
  if (note) host.append(make('p', { class: 'note' }, note));
  if (series || engine) rows(view, stage);
  else host.append(make('p', { class: 'note' }, 'The file holds no series over time for this stage.'));
  view.recolour = () => {
    for (const u of view.plots) u.destroy();
    view.plots = [];
    all('.row', host).forEach(r => r.remove());
    drawn.charts = drawn.charts.filter(c => !c.row || !host.contains(c.host));
    if (series || engine) rows(view, stage);
    redraw();
  };
  new ResizeObserver(() => {
    for (const u of view.plots) if (host.clientWidth) u.setSize({ width: host.clientWidth, height: u.height });
    redraw();
  }).observe(host);
  redraw();
  requestAnimationFrame(() => requestAnimationFrame(() => { view.ready = true; drawn.waiting--; }));
}

// lanes draws the requests, each as a bar in a lane of its own while it was in flight. Only what is in sight is looked
// at, and pixels are set one by one: 100,000 bars take a few milliseconds.
function lanes(view, stage) {
  const r = view.requests, height = Math.max(60, Math.min(260, r.lanes.length * 10)), least = 3;
  const thick = Math.max(least, Math.min(12, height / r.lanes.length));
  const inSight = Math.floor(height / thick);
  let top = 0;
  const canvas = make('canvas', { tabindex: '0', role: 'img', height: String(height),
    'aria-label': `${thousands(r.n)} requests over time, at most ${r.lanes.length} in flight at once. `
      + 'Plus and minus zoom, arrows move, 0 shows all.' });
  canvas.style.height = height + 'px';
  const drag = make('div', { class: 'drag', hidden: '' });
  const element = make('div', { class: 'lanes' }, canvas, drag);
  const furthest = Math.max(0, r.lanes.length - inSight);
  let slider = null;
  if (furthest > 0) {
    slider = make('input', { type: 'range', min: '0', max: String(furthest), value: '0', 'aria-label': 'lanes in sight' });
    slider.style.height = height + 'px';
    slider.addEventListener('input', () => scroll(+slider.value));
    element.append(slider);
  }
  const scroll = to => {
    top = Math.max(0, Math.min(furthest, Math.round(to)));
    if (slider) slider.value = top;
    draw();
  };
  const context = canvas.getContext('2d', { alpha: false });
  const pixel = name => { // as a canvas has it in memory: blue before green before red
    const v = parseInt(colour(name).slice(1), 16);
    return (0xff000000 | (v & 0xff) << 16 | v & 0xff00 | v >> 16) >>> 0;
  };
  const width = () => canvas.clientWidth - left - right;
  const timeAt = x => view.from + (x - left) / width() * (view.to - view.from);

  // firstOf is the place in a lane of the first request that ended after a time.
  const firstOf = (lane, time) => {
    let lo = 0, hi = lane.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (r.end[lane[mid]] < time) lo = mid + 1; else hi = mid;
    }
    return lo;
  };

  function draw() {
    const ratio = devicePixelRatio || 1, w = Math.round(width() * ratio), h = Math.round(height * ratio);
    if (w <= 0) return;
    const whole = Math.round(canvas.clientWidth * ratio);
    if (canvas.width !== whole || canvas.height !== h) { canvas.width = whole; canvas.height = h; }
    const image = context.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    pixels.fill(pixel('surface'));
    const wait = pixel('waiting'), decode = pixel('decoding'), failed = pixel('fail'), unfinished = pixel('unfinished'),
      late = pixel('limit'), edge = pixel('ink');
    const scale = w / (view.to - view.from);
    const gap = thick >= 2.5 ? 1 : 0;
    let bars = 0;
    for (let lane = top; lane < Math.min(r.lanes.length, top + inSight + 1); lane++) {
      const list = r.lanes[lane];
      const y0 = Math.round((lane - top) * thick * ratio), y1 = Math.min(h, Math.round((lane - top + 1) * thick * ratio) - gap);
      const fill = (from, to, c) => {
        const a = Math.max(0, Math.floor((from - view.from) * scale));
        const b = Math.min(w, Math.max(a + 1, Math.floor((to - view.from) * scale)));
        for (let y = y0; y < y1; y++) pixels.fill(c, y * w + a, y * w + b);
      };
      for (let k = firstOf(list, view.from); k < list.length && r.sent[list[k]] <= view.to; k++) {
        const i = list[k], kind = r.status[i] & 3;
        bars++;
        const late1 = r.sent[i] - r.delay[i] / 1e4;
        if ((r.sent[i] - late1) * scale >= 1) fill(late1, r.sent[i], late);
        if (kind === 1) { fill(r.sent[i], r.end[i], failed); continue; }
        if (isNaN(r.first[i])) { fill(r.sent[i], r.end[i], kind === 2 ? unfinished : wait); continue; }
        fill(r.sent[i], r.first[i], wait);
        fill(r.first[i], r.end[i], kind === 2 ? unfinished : decode);
        if ((r.end[i] - r.sent[i]) * scale > 12 * ratio && thick >= 4) {
          fill(r.first[i], r.first[i] + ratio / scale, edge);
        }
      }
    }
    context.fillStyle = colour('surface');
    context.fillRect(0, 0, canvas.width, h);
    context.putImageData(image, Math.round(left * ratio), 0);
    context.fillStyle = colour('quiet');
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    const steps = Math.max(1, Math.ceil(inSight / 5 / 5) * 5);
    for (let lane = top; lane < Math.min(r.lanes.length, top + inSight); lane++) {
      if ((lane + 1) % steps === 0 && (lane - top + 1) * thick < height - 4) context.fillText(lane + 1, (left - 6) * ratio, ((lane - top) * thick + thick / 2) * ratio);
    }
    view.bars = bars;
  }

  // under is the request under a place, −1 for none.
  const under = (x, y) => {
    const lane = r.lanes[top + Math.floor(y / thick)];
    if (!lane) return -1;
    const time = timeAt(x), slack = 2 * (view.to - view.from) / width();
    const k = firstOf(lane, time - slack);
    return k < lane.length && r.sent[lane[k]] <= time + slack ? lane[k] : -1;
  };
  const describe = i => {
    const kind = r.status[i] & 3, error = stage.requests.errors[(r.status[i] >> 2) - 1];
    const lines = [`sent at ${r.sent[i].toFixed(3)} s` + (r.delay[i] ? `, ${ms(r.delay[i] / 1e4)} late` : '')];
    if (!isNaN(r.first[i])) lines.push(`first token after ${ms(r.first[i] - r.sent[i])}, decode ${ms(r.last[i] - r.first[i])}`);
    const tokens = [];
    if (r.prompt[i]) tokens.push(`${r.prompt[i] - 1} prompt`);
    if (r.output[i]) tokens.push(`${r.output[i]} output`);
    if (tokens.length) lines.push(tokens.join(' and ') + ' tokens');
    if (kind === 1) lines.push(`failed after ${ms(r.end[i] - r.sent[i])}: ${error || 'not known why'}`);
    if (kind === 2) lines.push('unfinished');
    return lines.join('\n');
  };
  let pressed = null;
  const place = e => { const b = canvas.getBoundingClientRect(); return [e.clientX - b.left, e.clientY - b.top]; };
  canvas.addEventListener('pointerdown', e => {
    if (e.button === 0) { pressed = place(e)[0]; if (e.pointerType !== 'touch') canvas.setPointerCapture(e.pointerId); }
  });
  canvas.addEventListener('pointermove', e => {
    const [x, y] = place(e);
    if (pressed !== null && e.pointerType !== 'touch' && Math.abs(x - pressed) > 4) {
      drag.hidden = false;
      drag.style.left = Math.max(left, Math.min(x, pressed)) + 'px';
      drag.style.width = Math.abs(x - pressed) + 'px';
    }
    const i = under(x, y);
    showTip(i < 0 ? '' : describe(i), e.clientX, e.clientY);
  });
  const release = e => {
    const x = place(e)[0];
    if (e.type === 'pointerup' && pressed !== null && !drag.hidden) view.range(timeAt(Math.min(x, pressed)), timeAt(Math.max(x, pressed)));
    pressed = null;
    drag.hidden = true;
  };
  canvas.addEventListener('pointerup', release);
  canvas.addEventListener('pointercancel', release);
  canvas.addEventListener('pointerleave', () => showTip());
  canvas.addEventListener('dblclick', view.reset);
  canvas.addEventListener('wheel', e => {
    if (e.ctrlKey || e.metaKey) view.zoom(Math.exp(e.deltaY / 200), timeAt(place(e)[0]));
    else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) view.pan((e.deltaX || e.deltaY) / width());
    else if (furthest > 0 && (e.deltaY > 0 ? top < furthest : top > 0)) scroll(top + Math.sign(e.deltaY) * Math.max(1, Math.abs(e.deltaY) / thick));
    else return;
    e.preventDefault();
  }, { passive: false });
  canvas.addEventListener('keydown', e => {
    const act = { '+': () => view.zoom(0.5), '=': () => view.zoom(0.5), '-': () => view.zoom(2), '0': view.reset, Home: view.reset,
      ArrowLeft: () => view.pan(-0.2), ArrowRight: () => view.pan(0.2),
      ArrowUp: () => scroll(top - 5), ArrowDown: () => scroll(top + 5) }[e.key];
    if (!act || e.ctrlKey || e.metaKey || e.altKey) return;
    act();
    e.preventDefault();
  });
  return { element, draw };
}

// rows draws what was counted and measured second by second, and what the engine said of itself, on the same axis.
function rows(view, stage) {
  const s = stage.series, e = stage.engine, key = 'openloop-' + made++;
  const figures = list => (list || []).map(v => typeof v === 'number' ? v : null);
  const times = s ? s.sent.map((_, i) => (i + 0.5) * s.step_s) : [];
  const bySecond = list => list.map(v => v / s.step_s);
  const own = (label, name, list, dash) => ({ label, name, x: times, y: figures(list), dash });
  const theirs = (label, name, list, dash) => ({ label, name, x: e.at, y: figures(list), dash });
  const plan = [];
  if (s) {
    const lines = [own('sent', 'main', bySecond(s.sent)), own('done', 'third', bySecond(s.done), [5, 3])];
    if (s.errors.some(v => v > 0)) lines.push(own('failed', 'fail', bySecond(s.errors)));
    plan.push({ title: 'requests/s', lines });
  }
  const flight = s ? [own('client', 'main', s.in_flight)] : [];
  if (e) flight.push(theirs('engine running', 'second', e.running, [5, 3]), theirs('engine waiting', 'fail', e.waiting));
  plan.push({ title: 'in flight', lines: flight });
  const percent = list => list.map(v => v === null ? null : 100 * v);
  const each = (of) => stage.engines.map((d, i) => ({ label: d.name, name: ['main', 'second', 'third', 'high', 'low'][i], x: d.at, y: figures(of(d)) }));
  if (stage.engines) {
    plan.push({ title: 'waiting by engine', lines: each(d => d.waiting) });
    plan.push({ title: 'KV cache in use by engine, %', lines: each(d => percent(d.kv)) });
  } else if (e) plan.push({ title: 'KV cache in use, %', lines: [theirs('KV', 'high', percent(e.kv))] });
  if (e && e.preemptions.some(v => v > 0)) plan.push({ title: 'preemptions', lines: [theirs('preemptions', 'fail', e.preemptions)] });
  if (s) {
    plan.push({ title: 'TTFT, ms', lines: [own('p95', 'main', s.ttft_p95_ms), own('p50', 'low', s.ttft_p50_ms, [2, 3])], bound: stage.ttft });
    plan.push({ title: 'TPOT, ms', lines: [own('p95', 'second', s.tpot_p95_ms), own('p50', 'third', s.tpot_p50_ms, [2, 3])], bound: stage.tpot });
    plan.push({ title: 'output tokens/s', lines: [own('tokens', 'third', bySecond(s.output_tokens))] });
    if (stage.open) plan.push({ title: 'send delay, ms', lines: [own('p99', 'limit', s.send_delay_p99_ms)] });
  }
  const shown = plan.map(p => ({ ...p, lines: p.lines.filter(l => l.y.some(v => v !== null)) })).filter(p => p.lines.length);
  shown.forEach((p, i) => {
    const bottom = i === shown.length - 1;
    const values = make('span');
    const element = make('div', { class: 'row' }, make('h4', {}, make('b', {}, p.title), ' ', values));
    view.host.append(element);
    const sameTimes = p.lines.every(l => l.x === p.lines[0].x);
    const table = sameTimes ? [p.lines[0].x, ...p.lines.map(l => l.y)] : uPlot.join(p.lines.map(l => [l.x, l.y]));
    const lines = p.lines.map(l => ({ label: l.label, stroke: colour(l.name), width: 1.6, dash: l.dash, spanGaps: !sameTimes,
      points: { show: table[0].length < 3 ? true : undefined, size: 4 } }));
    if (typeof p.bound === 'number') {
      table.push(table[0].map(() => p.bound));
      lines.push({ label: 'SLO', stroke: colour('limit'), width: 1.2, dash: [5, 3], points: { show: false } });
    }
    const named = index => p.lines.map((l, k) => {
      let at = index;
      while (at > 0 && !sameTimes && table[k + 1][at] == null) at--;
      return l.label + (index == null ? '' : ' ' + three(table[k + 1][at]));
    }).join(', ') + (typeof p.bound === 'number' ? ', SLO ' + three(p.bound) : '');
    values.textContent = named(null);
    const quiet = colour('quiet'), grid = { stroke: colour('grid'), width: 1 };
    const font = '11px system-ui, sans-serif';
    const u = new uPlot({
      width: Math.max(200, view.host.clientWidth), height: bottom ? 112 : 80, padding: [8, right, bottom ? 0 : 6, 0], legend: { show: false },
      cursor: { sync: { key }, drag: { x: true, y: false, setScale: false }, points: { size: 6 }, y: false,
        bind: { dblclick: () => () => { view.reset(); return null; } } },
      scales: { x: { time: false, range: (_, min, max) => [min, max] }, y: { range: (_, min, max) => [0, (max > 0 ? max : 1) * 1.12] } },
      axes: [
        { show: bottom, stroke: quiet, grid, ticks: grid, font, size: 36, label: 'seconds since the stage began', labelSize: 16, labelFont: font, labelGap: 0 },
        { stroke: quiet, grid, ticks: { show: false }, font, size: left, gap: 6, splits: (_, _a, min, max) => {
          const raw = (max - min) / 2.4, unit = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find(f => f * unit >= raw) * unit;
          const at = [];
          for (let v = 0; v <= max; v += step) at.push(+v.toPrecision(10));
          return at;
        }, values: (_, splits) => splits.map(v => v >= 1000 ? thousands(v) : String(v)) },
      ],
      series: [{}, ...lines],
      hooks: {
        setSelect: [u => {
          if (u.select.width > 4) view.range(u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x'));
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        }],
        setCursor: [u => { values.textContent = named(u.cursor.idx); }],
      },
    }, table, element);
    u.setScale('x', { min: view.from, max: view.to });
    view.plots.push(u);
    drawn.charts.push({ element, host: element, row: true, points: p.lines.reduce((n, l) => n + l.y.filter(v => v !== null).length, 0) });
  });
}
})();
