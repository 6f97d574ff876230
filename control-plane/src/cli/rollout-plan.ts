// A rollout's plan as options of a command: waves, gates, windows.
import { kindOf, type PlannedWave } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { windowOfText } from '@edgeloop/shared/maintenance-window';
import { approveBefore, parseWaves } from '@edgeloop/shared/wave-text';
import type { Command } from 'commander';
import { numeric } from './command.ts';

export interface PlanOptions {
  selector: string;
  waves: string;
  shadow?: boolean;
  minAgreement?: number;
  minCompared?: number;
  canary?: string[];
  spread?: string;
  rate?: string;
  maxUnavailable?: string;
  bake: number;
  deployTimeout?: number;
  approval?: boolean;
  approvalBefore?: string[];
  fetchWindow?: string[];
  activateWindow?: string[];
  maxHold?: number;
  bandwidth?: number;
  maxErrorRate: number;
  minRequests: number;
  maxFailedDevices?: number;
  minHealthyDevices?: number;
  maxLoss?: number;
  minLabels?: number;
  maxRatio?: number;
  evidenceTimeout?: number;
  drift?: string;
  backtestMode?: string;
  backtestDays?: number;
  backtestSamples?: number;
  maxChanged?: number;
  backtestLoss?: number;
  onFailure: string;
  rollbackOf?: string;
  offline?: string;
  offlineAfter?: number;
  offlineWait?: number;
  priority?: number;
  alias?: string;
}

const collect = (value: string, former: string[] = []) => [...former, value];

export function addPlanOptions(command: Command): Command {
  return command
    .option('--selector <selector>', 'which devices; all without it', '')
    .option(
      '--waves <waves>',
      'growing percentages, and numbers of devices as 5n; the last is 100; with names: pilot:10,fleet:100. In front: shadow:10 runs it beside what answers on 10 percent and compares, split:10:0.2 lets it answer a fifth of the requests there',
      '10,50,100',
    )
    .option('--shadow', 'a shadow wave in front, on the devices of the first wave that serves')
    .option('--min-agreement <share>', 'answers of the shadow that must agree, 0 to 1', numeric)
    .option('--min-compared <n>', 'answers that must be compared before a shadow wave passes', numeric)
    .option('--canary <selector>', 'a group that comes before the waves; may be given again', collect)
    .option('--spread <label>', 'each wave takes the same share of the devices of each value of the label')
    .option('--rate <rate>', 'devices a minute, as 10 or start:factor:growAfter:cap, as 10:2:50:500')
    .option('--max-unavailable <label=n>', 'so many devices of one value of the label under way at a time')
    .option('--bake <seconds>', 'how long a device must serve healthily', numeric, 600)
    .option('--deploy-timeout <seconds>', 'how long a reachable device may take to serve', numeric)
    .option('--max-error-rate <share>', 'gate, 0 to 1', numeric, 0.02)
    .option('--min-requests <n>', 'requests needed before a wave is judged', numeric, 20)
    .option('--max-loss <share>', 'accuracy that may be lost, 0 to 1', numeric)
    .option('--min-labels <n>', 'labels needed where labels come', numeric)
    .option('--max-ratio <factor>', 'growth of the latency that is allowed', numeric)
    .option('--evidence-timeout <seconds>', 'how long gates wait for evidence before the rollout pauses', numeric)
    .option('--drift <mode>', 'of predicted classes: gate, warn or off')
    .option('--backtest-mode <mode>', 'of captured samples, before any device is told: gate, warn or off')
    .option('--backtest-days <days>', 'samples of so many last days', numeric)
    .option('--backtest-samples <n>', 'samples without which the backtest says nothing', numeric)
    .option('--backtest-loss <share>', 'accuracy that may be lost on labelled samples, 0 to 1', numeric)
    .option('--max-changed <share>', 'samples that may be answered otherwise than now, 0 to 1', numeric)
    .option('--max-failed-devices <share>', 'gate, 0 to 1', numeric)
    .option('--min-healthy-devices <share>', 'of a wave, offline ones among them, 0 to 1', numeric)
    .option('--on-failure <policy>', 'rollback or pause', 'rollback')
    .option('--rollback-of <which>', 'touched (what this rollout gave) or all that run the version')
    .option('--offline <policy>', 'skip or wait')
    .option(
      '--offline-after <seconds>',
      'with skip: how long a device is offline before a wave ends without it',
      numeric,
    )
    .option('--offline-wait <seconds>', 'with wait: for how long; a week when unset', numeric)
    .option('--priority <n>', '-100 to 100; the highest under way has a device', numeric)
    .option('--alias <name>', 'the name that is moved to the version when it completes')
    .option('--approval', 'wait for `edgeloop rollouts approve`')
    .option(
      '--approval-before <wave>',
      'the wave of this name waits for approval; as fleet, fleet:admin (by this role) or fleet:admin:four-eyes (by another key than yours); may be given again',
      collect,
    )
    .option('--fetch-window <window>', 'when devices may fetch, as "22:00-04:00" or "sat,sun 08:00-20:00"', collect)
    .option('--activate-window <window>', 'when they may begin to answer with it, by their own clocks', collect)
    .option('--max-hold <seconds>', 'how long software on a device may hold it back', numeric)
    .option('--bandwidth <kbps>', 'kilobits a second at which a device fetches at most', numeric);
}

/** What is sent to create or to rehearse a rollout. */
export function bodyOf(model: string, version: string, options: PlanOptions) {
  return { model, version: /^\d+$/.test(version) ? numeric(version) : version, ...planOf(options) };
}

function planOf(options: PlanOptions) {
  const { maxErrorRate, minRequests, maxFailedDevices, minHealthyDevices } = options;
  const { maxLoss, minLabels, maxRatio, drift } = options;
  const canaries = (options.canary ?? []).map((selector): PlannedWave => ({ selector }));
  const given = parseWaves(options.waves);
  const tries = given.filter((wave) => kindOf(wave) !== 'serve');
  const all = [...tries, ...canaries, ...given.filter((wave) => !tries.includes(wave))];
  const waves = (options.approvalBefore ?? []).reduce(approveBefore, all);
  return {
    selector: options.selector,
    waves,
    shadow: options.shadow,
    spread: options.spread,
    rate: options.rate === undefined ? undefined : rateOf(options.rate),
    maxUnavailable: options.maxUnavailable === undefined ? undefined : unavailableOf(options.maxUnavailable),
    bakeSeconds: options.bake,
    deployTimeoutSeconds: options.deployTimeout,
    gates: {
      ...{ maxErrorRate, minRequests, maxFailedDevices, minHealthyDevices },
      evidenceTimeoutSeconds: options.evidenceTimeout,
      accuracy: { maxLoss, minLabels },
      latency: { maxRatio },
      drift: { mode: drift },
      backtest: {
        ...{ mode: options.backtestMode, days: options.backtestDays, minSamples: options.backtestSamples },
        ...{ maxLoss: options.backtestLoss, maxChanged: options.maxChanged },
      },
      shadow: { minAgreement: options.minAgreement, minCompared: options.minCompared },
    },
    onFailure: options.onFailure,
    rollbackOf: options.rollbackOf,
    offlineDevices: options.offline,
    offlineAfterSeconds: options.offlineAfter,
    offlineWaitSeconds: options.offlineWait,
    priority: options.priority,
    alias: options.alias,
    approval: options.approval === true,
    windows: windowsOf(options),
    maxHoldSeconds: options.maxHold,
    bandwidthKbps: options.bandwidth,
  };
}

function rateOf(text: string) {
  const [start, factor, growAfter, cap] = text.split(':').map((part) => numeric(part));
  return { start, factor, growAfter, cap };
}

function unavailableOf(text: string) {
  const at = text.indexOf('=');
  if (at < 1)
    throw new AppError('invalid_request', `--max-unavailable "${text}" must have the form label=n, as site=2`);
  return { label: text.slice(0, at), devices: numeric(text.slice(at + 1)) };
}

function windowsOf({ fetchWindow = [], activateWindow = [] }: PlanOptions) {
  if (fetchWindow.length + activateWindow.length === 0) return undefined;
  return { fetch: fetchWindow.map(windowOf), activate: activateWindow.map(windowOf) };
}

/** What is wrong with days and times, the server says. */
function windowOf(text: string) {
  const window = windowOfText(text);
  if (window === undefined)
    throw new AppError('invalid_request', `the window "${text}" must have the form 22:00-04:00 or sat,sun 22:00-04:00`);
  return window;
}
