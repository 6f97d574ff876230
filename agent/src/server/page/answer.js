// Answers as people see them: bars of scores, boxes over the picture, values, a table of rows.
import { drawing, element, short } from './dom.js';

const colours = ['#00e5c3', '#ffb020', '#7aa2ff', '#ff5d8f', '#b6e03b', '#cf92f0'];
const shownScores = 12;
const shownRows = 200;

/** What the answer says, drawn; `file` is the picture that was sent. */
export function drawnAnswer(answer, file) {
  if (answer.windows) return timeline(answer);
  if (answer.detections) return detections(answer, file);
  if (answer.segments) return segments(answer);
  if (answer.predictions) return table(answer.predictions);
  if (answer.scores) return scores(answer);
  if ('score' in answer) return anomaly(answer);
  if ('value' in answer) return element('p', { className: 'figure', textContent: short(answer.value) });
  if (answer.values) return values(answer.values);
  if (answer.embedding)
    return outputs([{ name: 'embedding', datatype: '', shape: [answer.embedding.length], data: answer.embedding }]);
  return outputs(answer.outputs ?? []);
}

function scores({ label, score, scores: byLabel }) {
  const best = Object.entries(byLabel).sort(([, a], [, b]) => b - a);
  const probabilities = best.every(([, value]) => value >= 0 && value <= 1);
  const [highest, lowest] = [best[0]?.[1] ?? 1, Math.min(0, best.at(-1)?.[1] ?? 0)];
  const share = (value) => (probabilities ? value : (value - lowest) / (highest - lowest || 1));
  const bars = best
    .slice(0, shownScores)
    .flatMap(([name, value], place) => bar(name, value, share(value), place === 0));
  const rest = best.length - shownScores;
  return element(
    'div',
    { className: 'card' },
    element('p', { className: 'figure', textContent: label }),
    element('p', {
      className: 'muted',
      textContent: probabilities ? `score ${percent(score)}` : `score ${short(score)}`,
    }),
    element('div', { className: 'bars' }, ...bars),
    rest > 0 ? element('p', { className: 'muted', textContent: `and ${rest} more` }) : undefined,
  );
}

function bar(name, value, share, best) {
  const filled = element('i', { className: best ? 'best' : '' });
  filled.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return [
    element('span', { className: 'name', textContent: name }),
    element('span', { className: 'bar' }, filled),
    element('span', { textContent: value >= 0 && value <= 1 ? percent(value) : short(value) }),
  ];
}

function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

function anomaly({ score, threshold, anomalous }) {
  const word = anomalous === undefined ? short(score) : anomalous ? 'anomalous' : 'normal';
  const most = Math.max(score, threshold ?? 0) * 1.25 || 1;
  const filled = element('i', { className: anomalous ? 'over' : 'best' });
  filled.style.width = `${Math.max(0, Math.min(1, score / most)) * 100}%`;
  const limit = element('b');
  limit.style.left = `${((threshold ?? 0) / most) * 100}%`;
  const told =
    threshold === undefined ? `score ${short(score)}` : `score ${short(score)}, threshold ${short(threshold)}`;
  return element(
    'div',
    { className: 'card' },
    element('p', { className: `figure ${anomalous ? 'bad' : ''}`, textContent: word }),
    element('div', { className: 'bar' }, filled, threshold === undefined ? undefined : limit),
    element('p', { className: 'muted', textContent: told }),
  );
}

function detections({ image, detections: found, warnings = [] }, file) {
  const picture = element('img', { src: URL.createObjectURL(file), alt: `${found.length} detections in ${file.name}` });
  const labels = [...new Set(found.map(({ label }) => label))];
  const marks = found.map((each) => mark(each, image, colours[labels.indexOf(each.label) % colours.length]));
  const overlay = drawing('svg', { viewBox: `0 0 ${image.width} ${image.height}`, 'aria-hidden': 'true' });
  overlay.append(...marks.flat());
  const rows = found.map(({ label, score, box }, place) => {
    const where = `${Math.round(box.x)}, ${Math.round(box.y)}, ${Math.round(box.width)} × ${Math.round(box.height)}`;
    const toggle = (on) => () => marks[place][0].classList.toggle('chosen', on);
    const row = tableRow('td', [label, percent(score), where]);
    row.addEventListener('pointerenter', toggle(true));
    row.addEventListener('pointerleave', toggle(false));
    return row;
  });
  const count = labels.map((label) => `${found.filter((each) => each.label === label).length} × ${label}`).join(', ');
  return element(
    'div',
    { className: 'card' },
    element('p', { className: 'figure', textContent: count || 'nothing found' }),
    ...warnings.map((textContent) => element('p', { className: 'muted', textContent })),
    element('div', { className: 'scene' }, picture, overlay),
    found.length > 0 ? tableOf(['what', 'score', 'x, y, width × height'], rows) : undefined,
  );
}

function mark({ label, score, box }, image, colour) {
  const frame = drawing('rect', { ...box, stroke: colour });
  frame.append(drawing('title', {}, `${label} ${percent(score)}`));
  // A name on every small box of a crowd would hide the crowd.
  if (box.width < image.width / 14) return [frame];
  const size = Math.max(image.width, image.height) / 36;
  const inside = box.y < size * 1.4;
  const at = { x: box.x + size * 0.2, y: inside ? box.y + size : box.y - size * 0.35 };
  const style = { 'font-size': size, 'stroke-width': size / 6 };
  return [frame, drawing('text', { ...at, ...style }, `${label} ${percent(score)}`)];
}

function segments({ segments: found }) {
  const rows = found.map(({ label, share }) => tableRow('td', [label, percent(share)]));
  return element('div', { className: 'card' }, tableOf(['what', 'share of the picture'], rows));
}

/** Segments of a recording, or its windows where there are none. */
function timeline({ recording, windows, segments: found }) {
  const spans = (found ?? windows).slice(0, shownRows);
  const columns = ['label', 'score', 'value'].filter((name) => name in (spans[0] ?? {}));
  const rows = spans.map((span) =>
    tableRow('td', [
      `${span.start.toFixed(2)} – ${span.end.toFixed(2)}`,
      ...columns.map((column) => short(span[column])),
    ]),
  );
  const told = `${recording.seconds.toFixed(2)} s, ${windows.length} windows${found ? `, ${found.length} segments` : ''}`;
  return element(
    'div',
    { className: 'card' },
    element('p', { className: 'muted', textContent: told }),
    tableOf(['seconds', ...columns], rows),
  );
}

function values(named) {
  const rows = Object.entries(named).map(([name, value]) => tableRow('td', [name, short(value)]));
  return element('div', { className: 'card' }, tableOf(['name', 'value'], rows));
}

function table(predictions) {
  const columns = ['label', 'score', 'value', 'anomalous', 'values'].filter((name) => name in (predictions[0] ?? {}));
  const cell = (value) => (typeof value === 'object' ? JSON.stringify(value) : short(value));
  const rows = predictions
    .slice(0, shownRows)
    .map((row, at) => tableRow('td', [String(at + 1), ...columns.map((column) => cell(row[column]))]));
  const more = predictions.length > shownRows ? `, the first ${shownRows} shown` : '';
  return element(
    'div',
    { className: 'card' },
    element('p', { className: 'muted', textContent: `${predictions.length} rows${more}` }),
    tableOf(['row', ...columns], rows),
  );
}

function outputs(tensors) {
  const shown = tensors.map(({ name, datatype, shape, data }) => {
    const more = data.length > 64 ? ` … ${data.length} values` : '';
    return element(
      'div',
      {},
      element('h3', { textContent: `${name}  ${datatype} [${shape}]` }),
      element('pre', { textContent: data.slice(0, 64).map(short).join(', ') + more }),
    );
  });
  return element('div', { className: 'card' }, ...shown);
}

/** A table that scrolls by itself when it is too wide. */
export function tableOf(titles, rows) {
  const head = element('thead', {}, tableRow('th', titles));
  return element('div', { className: 'wide' }, element('table', {}, head, element('tbody', {}, ...rows)));
}

/** One row of texts. */
export function tableRow(tag, texts) {
  return element('tr', {}, ...texts.map((textContent) => element(tag, { textContent })));
}
