// A rollout's plan as it is typed in: what is sent for it, and the same for the command line.
import { RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { windowOfText } from '@edgeloop/shared/maintenance-window';
import { approveBefore, parseWaves } from '@edgeloop/shared/wave-text';

const { bakeSeconds, gates, onFailure } = RolloutPlan.parse({});

/** The fields that are options of the command line, and what each is without. */
const fields = {
  selector: { option: '--selector', usual: '' },
  waves: { option: '--waves', usual: '10,50,100' },
  approvals: { option: '--approval-before', usual: '' },
  bake: { option: '--bake', usual: String(bakeSeconds) },
  evidenceTimeout: { option: '--evidence-timeout', usual: String(gates.evidenceTimeoutSeconds) },
  maxFailedDevices: { option: '--max-failed-devices', usual: String(gates.maxFailedDevices) },
  maxErrorRate: { option: '--max-error-rate', usual: String(gates.maxErrorRate) },
  minRequests: { option: '--min-requests', usual: String(gates.minRequests) },
  maxLoss: { option: '--max-loss', usual: String(gates.accuracy.maxLoss) },
  minLabels: { option: '--min-labels', usual: String(gates.accuracy.minLabels) },
  maxRatio: { option: '--max-ratio', usual: String(gates.latency.maxRatio) },
  onFailure: { option: '--on-failure', usual: onFailure },
  fetchWindow: { option: '--fetch-window', usual: '' },
  activateWindow: { option: '--activate-window', usual: '' },
  maxHold: { option: '--max-hold', usual: '' },
} as const;

export type PlanField = keyof typeof fields;
/** Texts, as they stand in their fields; an empty one is left to its default. */
export type PlanForm = Record<PlanField | 'model' | 'version', string>;

/** Options that may be given several times, in one field. */
const several: readonly PlanField[] = ['approvals', 'fetchWindow', 'activateWindow'];
const separator = ';';

const planFields = Object.keys(fields).filter((key): key is PlanField => key in fields);

export function usualForm(model = '', version = ''): PlanForm {
  const form: Partial<PlanForm> = { model, version };
  for (const field of planFields) form[field] = fields[field].usual;
  return form as PlanForm;
}

/** @throws AppError `invalid_request` naming the field that cannot be read */
export function bodyOf(form: PlanForm) {
  const { model, version, selector, onFailure } = form;
  const waves = listed(form.approvals).reduce(approveBefore, parseWaves(form.waves));
  const fetch = listed(form.fetchWindow).map(windowOf);
  const activate = listed(form.activateWindow).map(windowOf);
  return {
    ...{ model, version: /^\d+$/.test(version) ? Number(version) : version, selector, waves, onFailure },
    bakeSeconds: numberOf(form.bake, 'Bake'),
    gates: {
      evidenceTimeoutSeconds: numberOf(form.evidenceTimeout, 'Wait for evidence'),
      maxFailedDevices: numberOf(form.maxFailedDevices, 'Failed devices'),
      maxErrorRate: numberOf(form.maxErrorRate, 'Failed requests'),
      minRequests: numberOf(form.minRequests, 'Requests needed'),
      accuracy: {
        maxLoss: numberOf(form.maxLoss, 'Accuracy lost'),
        minLabels: numberOf(form.minLabels, 'Labels needed'),
      },
      latency: { maxRatio: numberOf(form.maxRatio, 'Latency grows') },
    },
    windows: fetch.length + activate.length === 0 ? undefined : { fetch, activate },
    maxHoldSeconds: numberOf(form.maxHold, 'Longest hold'),
  };
}

/** What does the same on a terminal; options that say what holds without them are left out. */
export function commandOf(form: PlanForm): string {
  const words = ['edgeloop', 'rollouts', 'create', form.model, form.version];
  for (const field of planFields) {
    const { option, usual } = fields[field];
    const text = form[field].trim();
    if (text === '' || text === usual) continue;
    for (const value of several.includes(field) ? listed(text) : [text]) words.push(option, value);
  }
  return words.map(quoted).join(' ');
}

function listed(text: string): string[] {
  return text.split(separator).flatMap((each) => each.trim() || []);
}

function numberOf(text: string, name: string): number | undefined {
  if (text.trim() === '') return undefined;
  const value = Number(text);
  if (Number.isFinite(value)) return value;
  throw new AppError('invalid_request', `${name}: "${text}" is no number`);
}

function windowOf(text: string) {
  const window = windowOfText(text);
  if (window !== undefined) return window;
  throw new AppError('invalid_request', `the window "${text}" must have the form 22:00-04:00 or sat,sun 22:00-04:00`);
}

/** As a shell takes it. */
function quoted(word: string): string {
  return /^[\w.,:=%/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
