// The ways to ask a model: a form of its features, CSV, JSON, or a file. Each makes one request to send or to copy.
import { element, short } from './dom.js';

/** Ways that this model takes, the handiest first: `{name, node, request()}`. */
export function waysFor(model) {
  const path = `/predict/${encodeURIComponent(model.name)}/versions/${model.version}`;
  const takes = (type) => model.takes.includes(type);
  const ways = [];
  if (model.pictures.length + model.sounds.length > 0) ways.push(fileWay(model, path));
  if (takes('text/plain')) ways.push(textWay(path));
  if (takes('application/json') && model.features.length > 0) ways.push(formWay(model, path));
  if (takes('text/csv')) ways.push(csvWay(model, path));
  if (takes('application/json')) ways.push(jsonWay(path, exampleOf(model)));
  if (ways.length === 0) {
    const raw = `/v2/models/${encodeURIComponent(model.name)}/versions/${model.version}/infer`;
    ways.push(jsonWay(raw, { inputs: model.signature.inputs.map(zeros) }));
  }
  return ways;
}

/** The request as a command; the token stays out of it. */
export function curlOf({ path, type, body, file, fields }, needsToken) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const data =
    fields !== undefined
      ? [`-F file=@${quoted(file.name)}`, ...fields.map(([name, value]) => `-F ${quoted(`${name}=${value}`)}`)]
      : [`-H ${quoted(`Content-Type: ${type}`)}`, `--data-binary ${file ? `@${quoted(file.name)}` : quoted(body)}`];
  const token = needsToken ? ['-H "Authorization: Bearer $EDGELOOP_AGENT_TOKEN"'] : [];
  return ['curl', ...token, ...data, quoted(location.origin + path)].join(' \\\n  ');
}

function formWay(model, path) {
  const { node, values } = featureFields(model.features);
  const request = () => ({ path, type: 'application/json', body: JSON.stringify({ features: values() }) });
  return { name: 'Form', node, request };
}

/** A field for each feature, filled with the middle of its reference. */
function featureFields(features) {
  const known = features.some(({ reference }) => reference !== undefined);
  const fields = features.map((feature) => ({ feature, input: inputFor(feature) }));
  const each = (value) => {
    for (const { feature, input } of fields) {
      if (feature.reference === undefined) continue;
      input.value = short(value(feature.reference));
      input.dispatchEvent(new Event('input'));
    }
  };
  const buttons = element(
    'div',
    { className: 'row' },
    element('button', { type: 'button', textContent: 'Typical values', onclick: () => each(({ middle }) => middle) }),
    element('button', {
      type: 'button',
      textContent: 'Random values',
      onclick: () => each(({ low, high }) => low + Math.random() * (high - low)),
    }),
  );
  const labels = fields.map(({ feature, input }) =>
    element('label', { className: 'field' }, element('span', { textContent: feature.name }), input, hintFor(feature)),
  );
  const node = element(
    'div',
    { className: 'way' },
    known ? buttons : undefined,
    element('div', { className: 'fields' }, ...labels),
  );
  // fromEntries defines names such as `__proto__` like any other.
  const values = () =>
    Object.fromEntries(fields.map(({ feature, input }) => [feature.name, numberIn(feature, input.value)]));
  return { node, values };
}

function inputFor({ name, datatype, reference }) {
  const input = element('input', { value: reference ? short(reference.middle) : datatype === 'BYTES' ? '' : '0' });
  input.setAttribute('aria-label', name);
  if (datatype !== 'BYTES') input.inputMode = 'decimal';
  input.addEventListener('input', () => {
    const value = Number(input.value);
    input.classList.toggle('unusual', reference !== undefined && (value < reference.low || value > reference.high));
  });
  return input;
}

function hintFor({ reference }) {
  const text = reference ? `${short(reference.low)} … ${short(reference.high)}` : undefined;
  return text === undefined ? undefined : element('span', { className: 'muted', textContent: text });
}

/** What is no number goes as it is, so that the agent says which feature is wrong. */
function numberIn({ datatype }, text) {
  const trimmed = text.trim();
  if (datatype === 'BYTES') return text;
  if (trimmed === '') return null;
  const value = Number(trimmed);
  return Number.isNaN(value) || (/INT64$/.test(datatype) && !Number.isSafeInteger(value)) ? trimmed : value;
}

function csvWay(model, path) {
  const cell = (text) => (/[",\n;\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const header = model.features.map(({ name }) => cell(name)).join(',');
  const middle = model.features.map(({ reference }) => (reference ? short(reference.middle) : '0')).join(',');
  const area = element('textarea', { value: `${header}\n${middle}\n`, spellcheck: false, ariaLabel: 'CSV' });
  const file = element('input', {
    type: 'file',
    accept: '.csv,text/csv',
    ariaLabel: 'CSV file',
    onchange: async () => {
      if (file.files[0]) area.value = await file.files[0].text();
    },
  });
  const node = element('div', { className: 'way' }, area, file);
  return { name: 'CSV', node, request: () => ({ path, type: 'text/csv', body: area.value }) };
}

function textWay(path) {
  const area = element('textarea', { ariaLabel: 'Text' });
  const node = element('div', { className: 'way' }, area);
  return { name: 'Text', node, request: () => ({ path, type: 'text/plain', body: area.value }) };
}

function jsonWay(path, example) {
  const text = JSON.stringify(example, null, 2);
  const area = element('textarea', { value: text, spellcheck: false, ariaLabel: 'JSON' });
  const node = element('div', { className: 'way' }, area);
  return { name: 'JSON', node, request: () => ({ path, type: 'application/json', body: area.value }) };
}

function exampleOf({ features, texts, constants, signature }) {
  if (texts) return { text: '' };
  if (features.length > 0) {
    return { features: Object.fromEntries(features.map(({ name, reference }) => [name, reference?.middle ?? 0])) };
  }
  const inputs = signature.inputs.filter(({ name }) => !constants.includes(name));
  return { inputs: Object.fromEntries(inputs.map(({ name }) => [name, 0])) };
}

function zeros({ name, datatype, shape }) {
  const dims = shape.map((dim) => (dim === -1 ? 1 : dim));
  const count = dims.reduce((product, dim) => product * dim, 1);
  const zero = datatype === 'BYTES' ? '' : datatype === 'BOOL' ? false : 0;
  return { name, datatype, shape: dims, data: count > 4096 ? [] : new Array(count).fill(zero) };
}

function fileWay(model, path) {
  const picture = model.pictures[0];
  const accept = picture ? 'image/jpeg,image/png,image/webp' : '.wav,audio/wav';
  const wanted = picture
    ? `JPEG, PNG or WebP; the model sees ${picture.width} × ${picture.height}`
    : `WAV; the model hears ${model.sounds[0].sampleRate} samples a second`;
  let file;
  const preview = element('div');
  const chooser = element('input', { type: 'file', accept, ariaLabel: 'File', onchange: () => take(chooser.files[0]) });
  const zone = element(
    'div',
    { className: 'drop' },
    preview,
    element('p', { textContent: 'Drop a file here, paste one, or choose one' }),
    chooser,
    element('p', { className: 'muted', textContent: wanted }),
  );
  const fields = model.features.length > 0 ? featureFields(model.features) : undefined;
  const node = element('div', { className: 'way' }, zone, fields?.node);
  const take = (chosen) => {
    if (!chosen) return;
    file = chosen;
    preview.replaceChildren(previewOf(chosen, URL.createObjectURL(chosen)));
    node.dispatchEvent(new CustomEvent('chosen', { bubbles: true }));
  };
  takeDropped(zone, take);
  const request = () => {
    if (!file) return undefined;
    const extra = fields && [['features', JSON.stringify(fields.values())]];
    return { path, type: file.type || (picture ? 'image/jpeg' : 'audio/wav'), file, fields: extra };
  };
  return { name: picture ? 'Picture' : 'Recording', node, request, paste: take };
}

function previewOf(file, url) {
  const caption = element('p', {
    className: 'muted',
    textContent: `${file.name} · ${Math.ceil(file.size / 1024)} KiB`,
  });
  const audio = file.type.startsWith('audio/');
  const shown = audio ? element('audio', { controls: true, src: url }) : element('img', { src: url, alt: file.name });
  return element('div', {}, shown, caption);
}

function takeDropped(zone, take) {
  const over = (event) => {
    event.preventDefault();
    zone.classList.toggle('over', event.type === 'dragover');
  };
  zone.addEventListener('dragover', over);
  zone.addEventListener('dragleave', over);
  zone.addEventListener('drop', (event) => {
    over(event);
    take(event.dataTransfer.files[0]);
  });
}
