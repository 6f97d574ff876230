// What a device does to stay within its budgets of the link and of the disk: what it can do without gives first. Pure.

/** Shares of a budget: 1 is all of it. Undefined without a budget, or while nothing is known. */
export interface Pace {
  /** Sent this month, over what the part of the month that is gone allows. */
  sent: number | undefined;
  /** Sent this month, over the whole of it. */
  sentOfAll: number | undefined;
  /** Written a day at the present rate. */
  written: number | undefined;
}

export interface Saving {
  /** Captured samples are uploaded. */
  uploads: boolean;
  /** How many times longer a window is. */
  windows: number;
  /** The share of inputs that are kept only for the case that a label comes. */
  keptForLabels: number;
  /** For people. */
  words: string[];
}

const mostTimes = 60;
/** A little above the even pace of a month is no reason yet: traffic has its days. */
const paceAllowed = 1.2;

export function savingOf({ sent = 0, sentOfAll = 0, written = 0 }: Pace): Saving {
  const uploads = sent <= paceAllowed && sentOfAll < 0.9;
  const forLink = sentOfAll >= 1 ? mostTimes : sent > 2 * paceAllowed ? 10 : 1;
  const forDisk = written > 1 ? Math.min(mostTimes, Math.ceil(written)) : 1;
  const windows = Math.max(forLink, forDisk);
  const keptForLabels = written > 1 ? 1 / written : 1;
  return { uploads, windows, keptForLabels, words: wordsFor({ uploads, forLink, forDisk, keptForLabels }) };
}

function wordsFor(of: { uploads: boolean; forLink: number; forDisk: number; keptForLabels: number }): string[] {
  const link = 'to stay within EDGELOOP_MB_PER_MONTH';
  const disk = 'to stay within EDGELOOP_WRITES_MB_PER_DAY';
  return [
    ...(of.uploads ? [] : [`captured samples wait on the device ${link}`]),
    ...(of.forLink === 1 ? [] : [`windows are ${of.forLink} times as long ${link}`]),
    ...(of.forDisk === 1 ? [] : [`windows are ${of.forDisk} times as long ${disk}`]),
    ...(of.keptForLabels === 1
      ? []
      : [`${Math.round(of.keptForLabels * 100)} % of the inputs that wait for labels are kept ${disk}`]),
  ];
}

/** Whether the window that is open since `ageMs` is to be closed: with little in it, it may wait. */
export function isWindowOver(open: { ageMs: number; requests: number; failed: number }, bounds: WindowBounds): boolean {
  const { usualMs, mostMs, times } = bounds;
  const isQuiet = open.requests < quietRequests && open.failed === 0;
  return open.ageMs >= (isQuiet ? Math.max(mostMs, usualMs) : usualMs) * times;
}

export interface WindowBounds {
  usualMs: number;
  /** Of a window with few requests, none of which failed. */
  mostMs: number;
  times: number;
}

const quietRequests = 10;
