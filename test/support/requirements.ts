// Programs that some tests need and not every machine has. A test that misses one is skipped by name; where
// EDGELOOP_REQUIRE_ALL is set it fails instead.
import { accessSync, constants } from 'node:fs';

export interface Requirement {
  /** Where it is, or undefined. */
  path: string | undefined;
  /** For the test's name: why it is skipped. */
  reason: string;
}

export function chromium(): Requirement {
  const candidates = [
    process.env.EDGELOOP_CHROMIUM,
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  ];
  return found('Chromium', candidates, 'install chromium, or set EDGELOOP_CHROMIUM');
}

/** Of Debian's package `prometheus`: says what is wrong with an exposition. */
export function promtool(): Requirement {
  return found(
    'promtool',
    [process.env.EDGELOOP_PROMTOOL, '/usr/bin/promtool'],
    'install prometheus, or set EDGELOOP_PROMTOOL',
  );
}

function found(name: string, candidates: (string | undefined)[], hint: string): Requirement {
  const path = candidates.find((each) => each !== undefined && isExecutable(each));
  if (path === undefined && process.env.EDGELOOP_REQUIRE_ALL !== undefined)
    throw new Error(`${name} was not found and EDGELOOP_REQUIRE_ALL is set: ${hint}`);
  return { path, reason: path === undefined ? ` (skipped: no ${name}; ${hint})` : '' };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
