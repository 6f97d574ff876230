// The test page of the agent: choose a model, ask it something by hand, see what it says.
import { drawnAnswer, tableOf, tableRow } from './answer.js';
import { element } from './dom.js';
import { curlOf, waysFor } from './request.js';

const tokenKey = 'edgeloop-agent-token';
const refreshMs = 10_000;
const [list, place, server] = ['models', 'model', 'server'].map((id) => document.getElementById(id));
let chosen;
let paste;

/** A request with the token, as JSON and how long it took. Throws the reason that the agent gives. */
async function call(path, { method = 'GET', body, type } = {}) {
  const token = sessionStorage.getItem(tokenKey);
  const headers = { ...(token ? { authorization: `Bearer ${token}` } : {}), ...(type ? { 'content-type': type } : {}) };
  const startedMs = performance.now();
  const response = await fetch(path, { method, body, headers });
  const text = await response.text();
  const latencyMs = performance.now() - startedMs;
  const answer = JSON.parse(text || '{}');
  if (!response.ok)
    throw Object.assign(new Error(answer.error ?? response.statusText), { status: response.status, latencyMs });
  return { answer, latencyMs };
}

async function refresh() {
  try {
    const [{ answer: about }, { answer: described }, { answer: index }] = await Promise.all([
      call('/v2'),
      call('/predict'),
      call('/v2/repository/index', { method: 'POST', body: '{}' }),
    ]);
    const count = described.models.length;
    server.textContent = `${about.version} · ${count} ${count === 1 ? 'model' : 'models'} loaded`;
    showModels(described.models, index);
  } catch (error) {
    server.textContent = error.status === 401 ? 'Enter the token of this agent' : `Not reached: ${error.message}`;
    if (error.status === 401) list.replaceChildren();
  }
}

function showModels(models, index) {
  const key = ({ name, version }) => `${name}/${version}`;
  const loaded = new Set(models.map(key));
  const waiting = index.filter((entry) => !loaded.has(key(entry)));
  const items = models.map((model) => {
    const current = chosen !== undefined && key(model) === key(chosen);
    const state = model.active ? badge('ready', 'ok') : badge('loaded, not active', 'wait');
    const button = element(
      'button',
      { type: 'button', onclick: () => choose(model) },
      element('strong', { textContent: model.name }),
      element('span', { className: 'muted', textContent: `version ${model.version} · ${model.task}` }),
      element('span', {}, state),
    );
    button.setAttribute('aria-current', String(current));
    return element('li', {}, button);
  });
  const others = waiting.map(({ name, version, state, reason }) =>
    element('li', { className: 'muted', textContent: `${name} ${version}: ${state} ${reason ?? ''}` }),
  );
  list.replaceChildren(...items, ...others);
  if (items.length === 0)
    place.replaceChildren(element('p', { className: 'muted', textContent: 'No model is loaded.' }));
  else if (chosen === undefined || !loaded.has(key(chosen))) choose(models.find(({ active }) => active) ?? models[0]);
}

function badge(textContent, tone) {
  return element('span', { className: `badge ${tone}`, textContent });
}

function choose(model) {
  chosen = model;
  for (const button of list.querySelectorAll('button')) {
    const name = button.querySelector('strong').textContent;
    const version = button.querySelector('.muted').textContent.startsWith(`version ${model.version} `);
    button.setAttribute('aria-current', String(name === model.name && version));
  }
  const heading = element(
    'div',
    { className: 'row' },
    element('h2', { textContent: model.name }),
    badge(`version ${model.version}`, ''),
  );
  const about = model.description ? element('p', { className: 'muted', textContent: model.description }) : undefined;
  place.replaceChildren(heading, ...(about ? [about] : []), signature(model), trial(model));
}

function signature({ signature: { inputs, outputs }, takes }) {
  const rows = [...inputs.map((spec) => ['input', spec]), ...outputs.map((spec) => ['output', spec])].map(
    ([kind, spec]) =>
      tableRow('td', [
        kind,
        spec.name,
        spec.datatype,
        `[${spec.shape.map((dim) => (dim === -1 ? 'any' : dim)).join(', ')}]`,
      ]),
  );
  const through = takes.length > 0 ? takes.join(', ') : 'nothing: its manifest does not say what its inputs mean';
  return element(
    'details',
    { className: 'card' },
    element('summary', { textContent: `Signature: ${inputs.length} in, ${outputs.length} out` }),
    tableOf(['', 'name', 'type', 'shape'], rows),
    element('p', { className: 'muted', textContent: `/predict takes ${through}` }),
  );
}

/** The ways to ask, and the answer below. */
function trial(model) {
  const ways = waysFor(model);
  const form = element('form', { className: 'card' });
  const result = element('div', { className: 'model' });
  const tabs = element('div', { className: 'tabs', attributes: { role: 'tablist' } });
  const holder = element('div', { className: 'holder' });
  let current;
  const show = (way) => {
    current = way;
    paste = way.paste;
    holder.replaceChildren(way.node);
    for (const tab of tabs.children) tab.setAttribute('aria-selected', String(tab.textContent === way.name));
  };
  for (const way of ways) {
    const tab = element('button', { type: 'button', textContent: way.name, onclick: () => show(way) });
    tab.setAttribute('role', 'tab');
    tabs.append(tab);
  }
  show(ways[0]);
  const send = element('button', { type: 'submit', className: 'primary', textContent: 'Predict' });
  form.append(tabs, holder, element('div', { className: 'row' }, send));
  const ask = async () => {
    send.disabled = true;
    await answerInto(result, current.request(), model);
    send.disabled = false;
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    ask();
  });
  form.addEventListener('chosen', ask);
  return element('div', { className: 'model' }, form, result);
}

async function answerInto(result, request, model) {
  if (!request) return result.replaceChildren(element('p', { className: 'bad', textContent: 'Choose a file first.' }));
  const curl = curlCard(request);
  try {
    const { answer, latencyMs } = await call(request.path, {
      method: 'POST',
      body: bodyOf(request),
      type: request.fields ? undefined : request.type,
    });
    const timing = element('p', {
      className: 'muted',
      textContent: `answered in ${latencyMs.toFixed(1)} ms, seen from this browser`,
    });
    const raw = element(
      'details',
      { className: 'card' },
      element('summary', { textContent: 'Answer as JSON' }),
      element('pre', { textContent: JSON.stringify(answer, null, 2) }),
    );
    result.replaceChildren(drawnAnswer(answer, request.file), timing, feedback(answer, model), raw, curl);
  } catch (error) {
    const status = error.status === undefined ? '' : `${error.status}: `;
    result.replaceChildren(
      element('p', { className: 'card bad', textContent: `${status}${error.message}`, role: 'alert' }),
      curl,
    );
  }
}

function bodyOf({ body, file, fields }) {
  if (!fields) return file ?? body;
  const form = new FormData();
  form.append('file', file);
  for (const [name, value] of fields) form.append(name, value);
  return form;
}

function curlCard(request) {
  const command = curlOf(request, sessionStorage.getItem(tokenKey) !== null);
  const copy = element('button', {
    type: 'button',
    textContent: 'Copy',
    onclick: () => navigator.clipboard.writeText(command),
  });
  const head = element('div', { className: 'row' }, element('h3', { textContent: 'The same request with curl' }), copy);
  return element('div', { className: 'card' }, head, element('pre', { textContent: command }));
}

/** Tells the agent the truth, so that accuracy can be watched. */
function feedback({ id, label }, { labels }) {
  if (id === undefined) return element('span');
  const said = element('span', { className: 'muted', attributes: { role: 'status' } });
  const tell = async (truth) => {
    try {
      await call(`/feedback/${encodeURIComponent(id)}`, {
        method: 'POST',
        type: 'application/json',
        body: JSON.stringify({ label: truth }),
      });
      said.textContent = `Thank you: it was ${truth}.`;
    } catch (error) {
      said.textContent = error.message;
    }
  };
  const other = element('input', { placeholder: 'the truth', ariaLabel: 'The truth' });
  const choices = element('datalist', { id: 'labels' }, ...(labels ?? []).map((value) => element('option', { value })));
  other.setAttribute('list', 'labels');
  const correct =
    label === undefined
      ? undefined
      : element('button', { type: 'button', textContent: `Right: ${label}`, onclick: () => tell(label) });
  const wrong = element('button', { type: 'submit', textContent: 'Send' });
  const form = element(
    'form',
    { className: 'row' },
    element('span', { textContent: 'Feedback' }),
    correct,
    other,
    choices,
    wrong,
    said,
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (other.value.trim() !== '') tell(other.value.trim());
  });
  return element('div', { className: 'card' }, form);
}

document.getElementById('access').addEventListener('submit', (event) => {
  event.preventDefault();
  const { value } = document.getElementById('token');
  if (value) sessionStorage.setItem(tokenKey, value);
  else sessionStorage.removeItem(tokenKey);
  refresh();
});
document.addEventListener('paste', (event) => {
  const [file] = event.clipboardData.files;
  if (file && paste) paste(file);
});
refresh();
setInterval(refresh, refreshMs);
